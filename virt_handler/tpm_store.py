"""Where swtpm keeps the keys that sign TPMs, and whether it may still use them.

libvirt runs `swtpm_setup` as the account of its package, or as root when that account was not there yet when the daemon
started. What root then writes is closed to the account from the daemon's next start on, and no guest with a TPM starts.
Called by `libvirt_host` when a start fails for that, and by `virt_local.doctor` before one does.
"""

from __future__ import annotations

import contextlib
import pwd
from pathlib import Path

STORE = Path("/var/lib/swtpm-localca")
# As Debian's package names it, and as others do.
ACCOUNTS = ("tss", "swtpm")
# What libvirt says when swtpm_setup failed, whatever for.
SETUP_FAILED = "swtpm_setup'. exitstatus"


def trap(store: Path = STORE, accounts: tuple[str, ...] = ACCOUNTS) -> str:
    """Why no new TPM can be made (`way_out` mends it); "" when nothing stands against it, or it can't be told."""
    account = _account(accounts)
    if account is None:
        return ""
    try:
        closed = sorted(path.name for path in store.iterdir() if path.stat().st_uid != account.pw_uid)
    except OSError:
        return ""
    return f"{store} holds files that its owner {account.pw_name} may not use: {', '.join(closed)}" if closed else ""


def way_out(store: Path = STORE, accounts: tuple[str, ...] = ACCOUNTS) -> str:
    """The command that gives the store back to its owner."""
    account = _account(accounts)
    return f"chown -R {account.pw_name if account else accounts[0]} {store}"


def _account(names: tuple[str, ...]) -> pwd.struct_passwd | None:
    for name in names:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None
