"""What can go wrong on the one-machine cluster itself, apart from what its API answers.

VirtError
└── LocalError
    ├── StoreError
    │   ├── StoreLocked     another process has the store open
    │   ├── StoreDamaged    SQLite can't read the file, or it was written by a newer version
    │   ├── WriteFailed     a commit failed (disk full, I/O error): nothing of it was stored
    │   ├── WrongRevision   a guarded write met another revision; the API answers 409
    │   └── Compacted       a revision older than the kept history was asked for; the API answers 410
    ├── PkiError            certificates in the state directory can't be read or written
    ├── RunDirError         the state or run directory can't be used
    ├── AddressInUse        somebody else listens where the API should
    ├── HostError           libvirt or a program the node needs isn't there
    ├── StartFailed         the supervisor ended, or wasn't ready in time; the hint names its log
    ├── StopFailed          it did not end in time
    ├── NotRunning          nothing runs that could be asked
    └── FillError           a DataVolume's claim can't be filled; see datavolumes/errors.py
"""

from __future__ import annotations

from virt_types.errors import VirtError


class LocalError(VirtError):
    reason = "LocalError"


class StoreError(LocalError):
    reason = "StoreError"


class StoreLocked(StoreError):
    reason = "StoreLocked"


class StoreDamaged(StoreError):
    reason = "StoreDamaged"


class WriteFailed(StoreError):
    reason = "WriteFailed"


class WrongRevision(StoreError):
    """`current` is the revision found, 0 when there is no such object."""

    reason = "WrongRevision"

    def __init__(self, message: str, *, current: int) -> None:
        super().__init__(message)
        self.current = current


class Compacted(StoreError):
    """`oldest` is the revision the kept history begins after."""

    reason = "Compacted"

    def __init__(self, message: str, *, oldest: int) -> None:
        super().__init__(message)
        self.oldest = oldest


class PkiError(LocalError):
    reason = "PkiError"


class RunDirError(LocalError):
    reason = "RunDirError"


class AddressInUse(LocalError):
    reason = "AddressInUse"


class HostError(LocalError):
    reason = "HostError"


class StartFailed(LocalError):
    reason = "StartFailed"


class StopFailed(LocalError):
    reason = "StopFailed"


class NotRunning(LocalError):
    reason = "NotRunning"
