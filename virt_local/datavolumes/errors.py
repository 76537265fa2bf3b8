"""Why a claim was not filled. Except for the fatal ones it is tried again, for ever, after a while.

LocalError
└── FillError
    ├── SourceFailed           a server, registry or claim does not give the bytes
    │   └── SourceNotReady     the other side is not ready: a claim in use, a secret missing
    ├── ContentRefused         what came is no image, or one that may not be opened here
    ├── TooLarge               more than the claim may hold
    ├── NotExpected            nobody waits for what was brought
    ├── NoSpace                the state directory's file system is full
    ├── ChecksumMismatch fatal the bytes are not those the DataVolume asks for
    └── NotSupported     fatal a source or option that this machine has nothing for
"""

from __future__ import annotations

from typing import ClassVar

from virt_local.errors import LocalError


class FillError(LocalError):
    reason = "FillFailed"
    fatal: ClassVar[bool] = False


class SourceFailed(FillError):
    reason = "SourceFailed"


class SourceNotReady(SourceFailed):
    reason = "SourceNotReady"


class ContentRefused(FillError):
    reason = "ContentRefused"


class TooLarge(FillError):
    reason = "TooLarge"


class NotExpected(FillError):
    reason = "NotExpected"


class NoSpace(FillError):
    reason = "NoSpace"


class ChecksumMismatch(FillError):
    reason = "ChecksumMismatch"
    fatal = True


class NotSupported(FillError):
    reason = "NotSupported"
    fatal = True
