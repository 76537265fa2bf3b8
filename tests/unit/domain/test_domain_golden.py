"""Whole domains, as a reviewer reads them: golden/NAME.yaml becomes golden/NAME.xml, byte for byte.

After a wanted change, `UPDATE_GOLDEN=1 pytest tests/unit/domain` writes them anew; review the diff.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec
import pytest
from domain_guests import GOLDEN, golden_manifest, guest_of

from virt_handler.domain import render
from virt_types.v1 import DomainSpec

NAMES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_golden_domain(name: str) -> None:
    text = render(guest_of(golden_manifest(name)))
    path = GOLDEN / f"{name}.xml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.xml")) == NAMES


def test_rendering_is_repeatable() -> None:
    guest = guest_of(golden_manifest("disks"))
    assert render(guest) == render(guest)


# Fields that are nothing of a domain, or of machines this project has no rules for.
NOT_IN_A_DOMAIN = {
    "devices.autoattachInputDevice": "the VM's controller turns it into an input",
    "devices.disks[].changedBlockTracking": "backups are taken elsewhere",
    "devices.disks[].tag": "told to the guest by cloud-init",
    "devices.gpus[].claimName": "dynamic resource allocation",
    "devices.gpus[].requestName": "dynamic resource allocation",
    "devices.gpus[].tag": "told to the guest by cloud-init",
    "devices.hostDevices[].claimName": "dynamic resource allocation",
    "devices.hostDevices[].requestName": "dynamic resource allocation",
    "devices.hostDevices[].tag": "told to the guest by cloud-init",
    "devices.interfaces[].binding": "the node decides how it is connected",
    "devices.interfaces[].dhcpOptions": "a DHCP server's",
    "devices.interfaces[].macvtap": "gone from KubeVirt",
    "devices.interfaces[].passt": "gone from KubeVirt",
    "devices.interfaces[].slirp": "gone from KubeVirt",
    "devices.interfaces[].ports[].name": "a name for people",
    "features.apic.endOfInterrupt": "KubeVirt leaves it out too",
    "cpu.realtime.mask": "scheduling of threads, done outside libvirt",
    "devices.interfaces[].tag": "told to the guest by cloud-init",
    "devices.watchdog.diag288": "s390x",
    "firmware.kernelBoot.container.imagePull": "for whoever pulls the image",
    "firmware.acpi.msdmNameRef": "needs a newer libvirt; tested with the sections",
    "launchSecurity.snp": "needs a newer libvirt; see the recorded domains",
    "launchSecurity.tdx": "needs a newer libvirt; see the recorded domains",
    "resources.overcommitGuestOverhead": "for the scheduler",
}


# A feature or timer that is mentioned is on; the flag only says it aloud.
FLAGS = ("enabled", "present")


def fields_of(type_: Any, path: str = "") -> Iterator[str]:
    """Every field of a Struct, as `devices.disks[].cdrom.bus`."""
    inner = [arg for arg in get_args(type_) if arg is not type(None)]
    if get_origin(type_) is list:
        yield from fields_of(inner[0], f"{path}[]")
    elif isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        for field in msgspec.structs.fields(type_):
            yield from fields_of(field.type, f"{path}.{field.encode_name}".lstrip("."))
        if path:
            yield path
    elif isinstance(type_, UnionType) and any(isinstance(arg, type) or get_origin(arg) for arg in inner):
        yield from fields_of(inner[0], path)
    else:
        yield path


def fields_in(node: Any, path: str = "") -> Iterator[str]:
    if path:
        yield path
    if isinstance(node, dict):
        for key, child in node.items():
            yield from fields_in(child, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for child in node:
            yield from fields_in(child, f"{path}[]")


def test_every_field_of_the_domain_is_in_a_golden_file() -> None:
    used: set[str] = set()
    for name in NAMES:
        spec = golden_manifest(name)["spec"]
        used.update(fields_in(spec.get("template", {}).get("spec", spec)["domain"]))
    known = {field.removesuffix("[]") for field in used} | {f"{field}.{flag}" for field in used for flag in FLAGS}
    missing = {field.removesuffix("[]") for field in fields_of(DomainSpec)} - known
    assert {field for field in missing if not field.startswith(tuple(NOT_IN_A_DOMAIN))} == set()
