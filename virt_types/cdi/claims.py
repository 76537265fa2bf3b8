"""Whether a claim may be used: CDI says in a claim's annotations who fills it and how far that is.

Read by whoever provisions, fills or attaches claims, so that a half-filled one never becomes a disk.
"""

from __future__ import annotations

from collections.abc import Mapping

from virt_types import labels

FILLED = "Succeeded"
# Below a claim's directory on a node: where the files are that guests share (the disk image is beside the first).
SHARED = ("files", "root")


def is_filled_by_cdi(annotations: Mapping[str, str]) -> bool:
    """Whether something is to be written into the claim before a guest may have it."""
    return labels.CLAIM_CREATED_FOR in annotations or labels.UPLOAD_TARGET in annotations


def awaits_filling(annotations: Mapping[str, str]) -> bool:
    """Whether that has not been done yet: no guest may have the claim."""
    return is_filled_by_cdi(annotations) and annotations.get(labels.CLAIM_FILL_PHASE) != FILLED
