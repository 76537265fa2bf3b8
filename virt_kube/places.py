"""Where a one-machine cluster is by default: STATE and RUN of docs/architecture.md, root's or one user's own.

Said once for its command line, its components and whoever looks for its kubeconfig. Standard library only, and not even
pathlib, which costs every command of virtctl 8 ms.
"""

from __future__ import annotations

import os


def state_dir() -> str:
    """`/var/lib/virtctl` for root, else below $XDG_STATE_HOME."""
    if os.geteuid() == 0:
        return "/var/lib/virtctl"
    return f"{os.environ.get('XDG_STATE_HOME') or os.path.expanduser('~/.local/state')}/virtctl"  # noqa: PTH111


def run_dir() -> str:
    """`/run/virtctl` for root, else below $XDG_RUNTIME_DIR."""
    if os.geteuid() == 0:
        return "/run/virtctl"
    return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{os.geteuid()}'}/virtctl"
