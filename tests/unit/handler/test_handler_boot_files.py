"""Files the firmware or QEMU loads itself, and fields of the VMI as files: own copies, refusals by field."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.demo import image
from virt_handler.errors import ImageError, ObjectNotFound, VolumeError
from virt_handler.images.store import ImageStore
from virt_handler.layout import Layout
from virt_handler.volumes import downward
from virt_handler.volumes.boot_files import BootSource
from virt_handler.volumes.objects import Objects
from virt_kube.api import NotFound
from virt_types import codec
from virt_types.v1 import VirtualMachineInstance

UID = "5f5d0d4e-0000-4000-8000-000000000007"
IGNITION = '{"ignition": {"version": "3.4.0"}}'


class Secrets:
    """An API with one secret."""

    async def get(self, _resource: Any, _namespace: str, name: str) -> bytes:
        if name != "tables":
            raise NotFound(name)
        return json.dumps({"data": {"slic.bin": base64.b64encode(b"SLIC").decode()}}).encode()


def vmi_with(firmware: dict[str, Any] | None = None, **metadata: Any) -> VirtualMachineInstance:
    obj = {
        "metadata": {"name": "vm", "namespace": "default", "uid": UID, **metadata},
        "spec": {
            "domain": {"firmware": firmware or {}, "resources": {"limits": {"memory": "1Gi", "cpu": "1500m"}}},
            "volumes": [{"name": "acpi", "secret": {"secretName": "tables"}}],
        },
    }
    return codec.from_builtins(obj, VirtualMachineInstance)


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    with tempfile.TemporaryDirectory(prefix="vh", dir="/tmp") as run:
        result = Layout(tmp_path / "state", Path(run))
        result.prepare()
        result.make_guest(UID, None)
        yield result


@pytest.fixture
def source(layout: Layout, tmp_path: Path) -> BootSource:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"a kernel")
    image.add(tmp_path / "layout", "example/kernel:v1", kernel, "boot/vmlinuz")
    images = ImageStore(layout.images, {"docker.io": f"oci:{tmp_path / 'layout'}"}, frozenset())
    return BootSource(layout, images, Objects(Secrets()), lambda *_: None)  # type: ignore[arg-type]


def kernel_boot(**container: str) -> dict[str, Any]:
    return {"kernelBoot": {"container": {"image": "example/kernel:v1", **container}}}


def content(path: str) -> bytes:
    """Of a file that is nobody else's to read."""
    assert Path(path).stat().st_mode & 0o777 == 0o600
    return Path(path).read_bytes()


async def test_a_kernel_is_copied_out_of_its_image_again_after_a_failed_start(source: BootSource) -> None:
    for _ in range(2):
        files = await source.prepare(vmi_with(kernel_boot(kernelPath="/boot/vmlinuz")), None)
    assert (content(files.kernel), files.initrd) == (b"a kernel", "")


@pytest.mark.parametrize("path", ["/boot/initrd", "/boot", "/../etc/shadow"])
async def test_a_file_that_the_image_does_not_have_is_refused(source: BootSource, path: str) -> None:
    with pytest.raises(ImageError, match=path):
        await source.prepare(vmi_with(kernel_boot(kernelPath=path)), None)


async def test_tables_and_ignition_become_files(source: BootSource) -> None:
    annotations = {"kubevirt.io/ignitiondata": IGNITION}
    files = await source.prepare(vmi_with({"acpi": {"slicNameRef": "acpi"}}, annotations=annotations), None)
    ((table, path),) = files.acpi_tables
    assert (table, content(path), content(files.ignition)) == ("slic", b"SLIC", IGNITION.encode())


async def test_a_table_that_is_not_there_is_refused_by_field(source: BootSource) -> None:
    with pytest.raises(VolumeError, match=r"msdmNameRef: Secret 'tables' has no key 'msdm.bin'"):
        await source.prepare(vmi_with({"acpi": {"msdmNameRef": "acpi"}}), None)
    gone = vmi_with({"acpi": {"slicNameRef": "acpi"}})
    gone.spec.volumes[0].secret.secret_name = "other"  # type: ignore[union-attr]
    with pytest.raises(ObjectNotFound, match="slicNameRef: Secret default/other"):
        await source.prepare(gone, None)


FIELDS = [
    ({"fieldRef": {"fieldPath": "metadata.name"}}, "vm"),
    ({"fieldRef": {"fieldPath": "metadata.uid"}}, UID),
    ({"fieldRef": {"fieldPath": "metadata.labels"}}, 'a="1"\nb="two \\"2\\""'),
    ({"fieldRef": {"fieldPath": "metadata.labels['b']"}}, 'two "2"'),
    ({"fieldRef": {"fieldPath": "metadata.annotations['x/none']"}}, ""),
    ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "1024"),
    ({"resourceFieldRef": {"resource": "limits.cpu"}}, "2"),
    ({"resourceFieldRef": {"resource": "requests.cpu"}}, "0"),
]


@pytest.mark.parametrize(("item", "text"), FIELDS)
def test_fields_read_as_the_downward_api_shows_them(item: dict[str, Any], text: str) -> None:
    vmi = vmi_with(labels={"b": 'two "2"', "a": "1"})
    found = downward.files(vmi, [codec.from_builtins({"path": "it", **item}, downward.DownwardAPIVolumeFile)], "volume")
    assert found == {"it": text.encode()}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"fieldRef": {"fieldPath": "spec.nodeName"}},
            r"fieldRef\.fieldPath 'spec.nodeName' is not known",
        ),
        ({"resourceFieldRef": {"resource": "memory"}}, r"resourceFieldRef\.resource 'memory' is not known"),
        ({}, r"fields\[0\] names neither"),
    ],
)
def test_fields_nobody_has_are_refused_by_place(item: dict[str, Any], message: str) -> None:
    asked = codec.from_builtins({"path": "it", **item}, downward.DownwardAPIVolumeFile)
    with pytest.raises(VolumeError, match=message):
        downward.files(vmi_with(), [asked], "volume 'v'")
