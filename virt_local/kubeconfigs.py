"""`virtctl local kubeconfig`: print our kubeconfig, or add it to the one kubectl reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from virt_kube.durable import write_durably
from virt_local.errors import LocalError, NotRunning
from virt_local.settings import Places

SECTIONS = ("clusters", "users", "contexts")
MAX_BYTES = 16 << 20


def read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise NotRunning(f"there is no kubeconfig at {path}", hint="Create the cluster: virtctl local up") from None
    except OSError as err:
        raise LocalError(f"can't read {path}: {err.strerror}", hint="run as the user who started the cluster") from None


def for_user(places: Places, user: str, groups: Sequence[str], lifetime: timedelta) -> str:
    """A kubeconfig with a certificate of its own, that ends. Raises PkiError, NotRunning."""
    from virt_kube.kubeconfig import load
    from virt_local import pki

    read(places.kubeconfig)
    certificate, key = pki.client_certificate(places.state, user, groups, lifetime)
    ca = (places.state / "pki" / "ca.crt").read_bytes()
    return pki.kubeconfig(load(str(places.kubeconfig)).server, ca, user, certificate, key).decode()


def merge_into_default(ours: Path) -> tuple[Path, str]:
    """Add our cluster, user and context; the current context stays unless there was none. Returns file and context."""
    target = Path((os.environ.get("KUBECONFIG") or "").split(os.pathsep)[0] or Path.home() / ".kube" / "config")
    addition = yaml.safe_load(read(ours))
    existing = _load(target)
    for section in SECTIONS:
        added = {entry["name"]: entry for entry in addition[section]}
        kept = [entry for entry in existing.get(section) or () if entry.get("name") not in added]
        existing[section] = [*kept, *added.values()]
    existing.setdefault("apiVersion", "v1")
    existing.setdefault("kind", "Config")
    context = str(addition["current-context"])
    existing["current-context"] = existing.get("current-context") or context
    _write(target, yaml.safe_dump(existing, sort_keys=False))
    return target, context


def _load(target: Path) -> dict[str, Any]:
    if not target.exists():
        return {}
    if target.stat().st_size > MAX_BYTES:
        raise LocalError(f"{target} is larger than {MAX_BYTES} bytes: that is no kubeconfig")
    try:
        loaded = yaml.safe_load(target.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as err:
        raise LocalError(f"can't read {target}: {err}", hint="mend or move it; nothing was changed") from None
    if loaded is not None and not isinstance(loaded, dict):
        raise LocalError(f"{target} holds no kubeconfig", hint="mend or move it; nothing was changed")
    return loaded or {}


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Where it is a link, the file behind it is the one to replace.
        write_durably(target.resolve(), text.encode())
    except OSError as err:
        raise LocalError(f"can't write {target}: {err.strerror}", hint="nothing was changed") from None
