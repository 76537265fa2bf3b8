"""Our verdict on every recorded instance (../shared/data/domainxml) against KubeVirt's admission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstance
from virt_types.validation import validate_vmi

# Taken here, refused by KubeVirt.
WIDER = {
    "fs-virtiofs-hugepages": "the gate is open in this product",
    "vol-hostdisk": "the gate is open in this product",
}
# Refused here, taken by KubeVirt.
STRICTER = {
    "disk-shareable-bad-cache": "libvirt refuses it",
    "random-01": "a guest reads one cloud-init disk, whichever it finds first",
    "random-13": "a guest reads one cloud-init disk, whichever it finds first",
}


def causes(path: Path) -> list[Any]:
    obj = yaml.load(path.read_text(), yaml.CSafeLoader)
    return validate_vmi(from_builtins(obj, VirtualMachineInstance))


def test_verdicts(shared_data: Path) -> None:
    folder = shared_data / "domainxml"
    refused = {
        path.stem for path in (folder / "admission").glob("*.json") if not json.loads(path.read_text())["allowed"]
    }
    ours = {path.stem: causes(path) for path in (folder / "defaulted").glob("*.yaml")}
    assert len(ours) > 200
    assert len(refused) > 25
    stricter = {name: found for name, found in ours.items() if found and name not in refused}
    assert {name: found for name, found in stricter.items() if name not in STRICTER} == {}
    assert STRICTER.keys() == stricter.keys()
    assert {name for name in refused if name in ours and not ours[name]} == WIDER.keys()
