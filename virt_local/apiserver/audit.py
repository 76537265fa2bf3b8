"""The audit log: who did what and how it ended, as lines of JSON in the shape of Kubernetes' audit events.

Level Metadata: never a body, so no secret and no user data. `door.py` records every request, `inprocess.py` what the
components write. A thread of its own writes the file, and a full disk costs lines of the log, never a request.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from virt_kube.admission import UserInfo
from virt_kube.api import Json
from virt_local.apiserver.rbac import Attributes
from virt_local.errors import LocalError

log = logging.getLogger("virt_local.apiserver")

MAX_BYTES = 100 << 20  # of one file, then it is moved aside
KEPT = 3  # older files: FILE.1 is the newest of them
MAX_WAITING = 10_000  # lines not yet written; more are dropped and counted
_PLAIN_REFUSALS = frozenset({401, 403, 404, 405, 409, 410, 413, 429, 503})
LONGEST_TEXT = 512  # bytes of a client's own words: path, program


class Entry:
    """One request on its way. `user`, `real_user` and `about` become known as it is read."""

    __slots__ = ("about", "address", "agent", "began", "id", "real_user", "uri", "user", "verb")

    def __init__(self, uri: str, verb: str, address: str = "", agent: str = "") -> None:
        self.id = str(uuid.uuid4())
        self.began = time.time()
        self.uri = uri[:LONGEST_TEXT]
        self.verb = verb
        self.address = address
        self.agent = agent[:LONGEST_TEXT]
        self.user: UserInfo | None = None
        self.real_user: UserInfo | None = None
        self.about: Attributes | None = None

    def event(self, stage: str, code: int, status: Json | None) -> Json:
        user = self.real_user or self.user
        found: Json = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": self.id,
            "stage": stage,
            "requestURI": self.uri,
            "verb": self.about.verb if self.about else self.verb,
            "user": _user(user) if user else {},
        }
        if self.real_user is not None and self.user is not None:
            found["impersonatedUser"] = _user(self.user)
        if self.address:
            found["sourceIPs"] = [self.address]
        if self.agent:
            found["userAgent"] = self.agent
        if self.about is not None and not self.about.path:
            found["objectRef"] = _reference(self.about)
        found["responseStatus"] = _response(code, status)
        found["requestReceivedTimestamp"] = _stamp(self.began)
        found["stageTimestamp"] = _stamp(time.time())
        if user is not None:
            decision = "forbid" if code == 403 and (status or {}).get("reason") == "Forbidden" else "allow"
            found["annotations"] = {"authorization.k8s.io/decision": decision}
        return found


class AuditLog:
    """Lines to a file. Opened at once, so that a path that can't be written is an error and not a surprise."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._queue: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        self._lost = 0
        try:
            self._file = _open(path)
        except OSError as error:
            raise LocalError(f"the audit log {path} can't be written: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="audit-log", daemon=True)
        self._thread.start()

    def record(self, entry: Entry, code: int, status: Json | None = None, *, stage: str = "ResponseComplete") -> None:
        """Never waits and never raises."""
        try:
            self._queue.put_nowait(_line(entry.event(stage, code, status)))
        except queue.Full:
            self._lost += 1

    def close(self) -> None:
        """Write what is queued, then let the file go. Blocks: call it in a thread."""
        self._queue.put(None)
        self._thread.join()
        os.close(self._file)

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            lines, ending = [line], False
            while not self._queue.empty() and len(lines) < 1_000:
                more = self._queue.get_nowait()
                if more is None:
                    ending = True
                    break
                lines.append(more)
            self._write(lines)
            if ending:
                return

    def _write(self, lines: list[bytes]) -> None:
        try:
            self._rotate()
            os.write(self._file, b"".join(lines))
        except OSError as error:
            self._lost += len(lines)
            log.warning("audit log not written path=%s lost=%d error=%s", self._path, self._lost, error.strerror)

    def _rotate(self) -> None:
        """A new file when this one is full, or when somebody (logrotate) has moved it."""
        here = os.fstat(self._file)
        try:
            there = self._path.stat()
            moved = (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
        except FileNotFoundError:
            moved = True
        if not moved and here.st_size < self._max_bytes:
            return
        if not moved:
            for number in range(self._kept - 1, 0, -1):
                older = self._path.with_name(f"{self._path.name}.{number}")
                if older.exists():
                    older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        fresh = _open(self._path)
        os.close(self._file)
        self._file = fresh


def _line(event: Json) -> bytes:
    try:
        return msgspec.json.encode(event) + b"\n"
    except UnicodeEncodeError:  # a path or a header of bytes that are no text: nobody hides behind them
        return json.dumps(event).encode() + b"\n"


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _user(user: UserInfo) -> Json:
    found: Json = {"username": user.name, "groups": list(user.groups)}
    return found | {"uid": user.uid} if user.uid else found


def _reference(about: Attributes) -> Json:
    fields = {
        "resource": about.resource,
        "namespace": about.namespace,
        "name": about.name,
        "apiGroup": about.group,
        "apiVersion": about.version,
        "subresource": about.subresource,
    }
    return {name: value for name, value in fields.items() if value}


def _response(code: int, status: Json | None) -> Json:
    """What was refused and why; the words of a refusal only where they can't quote what the client sent."""
    found: Json = {"metadata": {}}
    if status and status.get("status") == "Failure":
        names = ("status", "message", "reason") if code in _PLAIN_REFUSALS else ("status", "reason")
        found |= {name: status[name] for name in names if status.get(name)}
    return found | {"code": code}


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
