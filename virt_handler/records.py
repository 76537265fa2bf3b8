"""One file per VMI the agent has touched: its own proof of what was started, and the memory that survives its restarts.

Written (atomically, fsynced) before anything is done that would have to be undone, removed when nothing is left.
Read by `decide` through the agent; the only other source of truth is libvirt itself.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, Literal

import msgspec

from virt_handler.errors import StateError
from virt_handler.layout import checked_uid
from virt_kube.durable import LEFTOVERS, write_durably

log = logging.getLogger("virt_handler.records")

Stage = Literal["preparing", "starting", "started"]
FinalPhase = Literal["Succeeded", "Failed"]
MAX_RECORD = 1 << 20


class Lease(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one interface got: its MAC, and the address reserved for it ("" where nothing reserves)."""

    mac: str
    ip: str = ""


class ShutdownClock(msgspec.Struct, frozen=True):
    """When the shutdown was first asked for, in seconds since the host booted: no clock change moves it."""

    since: float
    grace_seconds: int


class Freeze(msgspec.Struct, frozen=True, omit_defaults=True):
    """The guest's file systems stand still; `thaw_at` in seconds since the host booted, None is until told."""

    thaw_at: float | None = None


class End(msgspec.Struct, frozen=True):
    """How a guest ended. `at` is Unix seconds."""

    phase: FinalPhase
    reason: str
    message: str
    at: float


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """`stage`: preparing = no domain yet; starting = a domain may exist; started = QEMU has run."""

    uid: str
    namespace: str
    name: str
    domain_uuid: str
    boot_id: str
    stage: Stage = "preparing"
    grace_seconds: int = 30
    interfaces: dict[str, Lease] = {}
    shutdown: ShutdownClock | None = None
    end: End | None = None
    cpuset: tuple[int, ...] = ()  # host processors the guest has for itself
    frozen: Freeze | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class Records:
    """The directory of records, held in memory too; one agent owns it (`app` locks it), any thread may use it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._records: dict[str, Record] = {}
        self._decoder = msgspec.json.Decoder(Record)
        self._writing = threading.Lock()

    def load(self) -> list[Record]:
        """Read every record; one that can't be read is named in the log and left in place."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                record = self._decoder.decode(_read(path))
            except (OSError, msgspec.MsgspecError) as error:
                log.error("unreadable record path=%s error=%s", path, error)  # noqa: TRY400  one line, no traceback
                continue
            if path.name == f"{record.uid}.json":
                self._records[record.uid] = record
            else:
                log.error("record under a foreign name path=%s uid=%s", path, record.uid)
        for leftover in self._directory.glob(LEFTOVERS):
            leftover.unlink(missing_ok=True)
        return [*self._records.values()]

    def get(self, uid: str) -> Record | None:
        return self._records.get(uid)

    def all(self) -> tuple[Record, ...]:
        return tuple(self._records.values())

    def macs(self) -> list[str]:
        """The MACs of all interfaces on record."""
        return [lease.mac for record in self.all() for lease in record.interfaces.values()]

    def processors(self, *, without: str) -> set[int]:
        """Host processors that guests other than `without` (a uid) have for themselves."""
        records = [record for record in self.all() if record.uid != without]
        return {processor for record in records for processor in record.cpuset}

    def of(self, namespace: str, name: str) -> list[Record]:
        """Every record of a VMI of this name, whatever its uid."""
        return [record for record in self.all() if record.key == (namespace, name)]

    def put(self, record: Record) -> None:
        """Durable when it returns; raises StateError. Does nothing when nothing changed."""
        with self._writing:
            self._put(record)

    def change(self, uid: str, **changes: Any) -> Record | None:
        """Set fields of the record as it is now, for who does not work the VMI's key; None when it is gone."""
        with self._writing:
            record = self._records.get(uid)
            if record is None:
                return None
            changed = msgspec.structs.replace(record, **changes)
            self._put(changed)
            return changed

    def _put(self, record: Record) -> None:
        if self._records.get(record.uid) == record:
            return
        path = self._directory / f"{checked_uid(record.uid)}.json"
        try:
            write_durably(path, msgspec.json.encode(record))
        except OSError as error:
            raise StateError(f"can't write {path}: {error.strerror}", hint="is the disk full?") from None
        self._records[record.uid] = record

    def remove(self, uid: str) -> None:
        """Forget; a record that isn't there is fine."""
        path = self._directory / f"{checked_uid(uid)}.json"
        with self._writing:  # a change on its way must not bring it back
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StateError(f"can't remove {path}: {error.strerror}") from None
            self._records.pop(uid, None)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_RECORD)
