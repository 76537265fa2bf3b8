"""How long replicas lived, and when one that ended may be replaced.

A replica that never ran, or ended within a minute of it, failed to last. Its replacement carries the count of such
lives in a row in an annotation and waits as a VM's next start does (10·n² s, at most 300). Until then the VMI that
ended stays: it is what a person looks at, and the memory that survives a restart of this program. (KubeVirt replaces at
once, for ever.)
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from virt_controller.backoff import STABLE_SECONDS, backoff
from virt_controller.members import created_at
from virt_controller.phase import RUNNING, has_run, phase, since
from virt_types import labels
from virt_types.v1 import VirtualMachineInstance


class Ended(NamedTuple):
    """A VMI that ended. `failures`: lives in a row, this one included, that did not last; `due`: Unix seconds."""

    vmi: VirtualMachineInstance
    failures: int
    due: float


def ended(vmi: VirtualMachineInstance) -> Ended:
    end = since(vmi, phase(vmi)) or created_at(vmi)
    began = since(vmi, RUNNING)
    if has_run(vmi) and began is not None and end - began >= STABLE_SECONDS:
        return Ended(vmi, 0, end)
    failures = failures_before(vmi) + 1
    rest = backoff(failures - 1 if has_run(vmi) else failures, _jitter(vmi.metadata.uid))
    return Ended(vmi, failures, end + rest)


def failures_before(vmi: VirtualMachineInstance) -> int:
    """What the annotation says; a text that is no number counts as none."""
    text = vmi.metadata.annotations.get(labels.REPLICA_FAILURES, "")
    return int(text) if text.isdecimal() and len(text) < 7 else 0


def _jitter(uid: str) -> float:
    """From 0 up to 1 and always the same for one VMI, so that looking twice does not move the time."""
    return zlib.crc32(uid.encode()) / 2**32
