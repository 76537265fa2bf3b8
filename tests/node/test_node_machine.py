"""What a machine has beside disks and networks: processors of its own, a kernel from an image, state that lasts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from examples.demo import guest as demo
from examples.demo import image, packages
from virt_handler import kept
from virt_handler.libvirt_host import LibvirtHost
from virt_kube.resources import VIRTUAL_MACHINES

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]


def domain_of(**changes: Any) -> dict[str, Any]:
    """The test guest's `spec.domain` with some of it changed."""
    domain = {
        "firmware": {"uuid": "7a2f0b6e-4f0f-4bd8-9d0e-31c1d2a3b4c5"},
        "machine": {"type": "q35"},
        "memory": {"guest": "64Mi"},
        "cpu": {"cores": 1, "sockets": 1, "threads": 1, "model": "qemu64"},
        "devices": {"disks": [{"name": "boot", "disk": {"bus": "virtio"}}]},
    }
    return {"domain": {**domain, **changes}}


def says(log: Path, text: bytes) -> bool:
    return log.exists() and text in log.read_bytes()


def leave(variables: Path, mark: bytes) -> None:
    """In the last bytes of the flash, which the firmware does not use."""
    with variables.open("r+b") as file:
        file.seek(-len(mark), os.SEEK_END)
        file.write(mark)


async def test_a_dedicated_processor_is_one_guests_alone(cluster: Any, connection: Any) -> None:
    processors = connection.getInfo()[2]
    if processors < 2:
        pytest.skip("this machine has no processor to give away")
    most = {"cores": processors - 1, "sockets": 1, "threads": 1, "dedicatedCpuPlacement": True}
    spec = domain_of(cpu=most)
    await cluster.create("own", spec=spec)
    await cluster.until_phase("own", "Running")
    pins = connection.lookupByName("default_own").vcpuPinInfo()
    assert [[cpu for cpu, allowed in enumerate(pin) if allowed] for pin in pins] == [[n] for n in range(1, processors)]

    spec["domain"]["firmware"] = {"uuid": "7a2f0b6e-4f0f-4bd8-9d0e-31c1d2a3b4c6"}
    await cluster.create("later", spec=spec)

    async def told() -> Any:
        conditions = (await cluster.get("later"))["status"].get("conditions", [])
        return next((item for item in conditions if item.get("reason") == "ProcessorsTaken"), None)

    refusal = await cluster.until(told)
    assert f"{processors - 1} processors wanted, node test-node has 0 that no other guest" in refusal["message"]
    await cluster.delete("own")
    await cluster.until_phase("later", "Running")
    await cluster.delete("later")
    await cluster.until_gone("later")


async def test_a_guest_boots_a_kernel_out_of_an_image(cluster: Any, home: Path) -> None:
    try:
        debs = packages.fetch(packages.kernel_packages(), demo.cache_directory() / "packages")
    except packages.PackageError as error:
        pytest.skip(f"no kernel to boot: {error}")
    kernel = home / "vmlinuz"
    kernel.write_bytes(next(data for path, data in demo.boot_files(debs).items() if path.startswith("boot/vmlinuz-")))
    image.add(home / "layout", "example/kernel:v1", kernel, "boot/vmlinuz")
    boot = {
        "kernelArgs": "console=ttyS0 panic=-1 greeting=hello",
        "container": {"image": "example/kernel:v1", "kernelPath": "/boot/vmlinuz"},
    }
    firmware = {"uuid": "7a2f0b6e-4f0f-4bd8-9d0e-31c1d2a3b4c7", "kernelBoot": boot}
    vmi = await cluster.create("kernel", spec=domain_of(firmware=firmware, memory={"guest": "256Mi"}))
    log = Path(cluster.options.layout.files(vmi["metadata"]["uid"]).serial_log)

    await cluster.until(
        lambda: asyncio.to_thread(says, log, b"Command line: console=ttyS0 panic=-1 greeting=hello"), 90
    )
    assert (home / "vmlinuz").stat().st_uid == 0
    await cluster.delete("kernel")
    await cluster.until_gone("kernel")


@pytest.mark.skipif(shutil.which("swtpm") is None, reason="swtpm is not installed")
async def test_persistent_firmware_and_tpm_outlive_the_instance_but_not_the_machine(
    cluster: Any, connection: Any
) -> None:
    """`efi.persistent` and `tpm.persistent`: the VirtualMachine's, whatever becomes of its instances."""
    template = {"spec": {"domain": {"devices": {}}}}
    vm = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "lasting", "namespace": "default"},
        "spec": {"runStrategy": "Halted", "template": template},
    }
    uid = json.loads(await cluster.admin.create(VIRTUAL_MACHINES, "default", vm))["metadata"]["uid"]
    owner = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "name": "lasting",
        "uid": uid,
        "controller": True,
    }
    uuid = "7a2f0b6e-4f0f-4bd8-9d0e-31c1d2a3b4c8"
    spec = domain_of(
        firmware={"uuid": uuid, "bootloader": {"efi": {"secureBoot": False, "persistent": True}}},
        devices={"disks": [{"name": "boot", "disk": {"bus": "virtio"}}], "tpm": {"persistent": True}},
    )
    layout = cluster.options.layout
    variables, tpm = layout.kept / uid / kept.VARIABLES, Path("/var/lib/libvirt/swtpm") / uuid
    for marker in (b"", b"left by the first"):
        await cluster.create("lasting", spec=spec, metadata={"ownerReferences": [owner]})
        await cluster.until_phase("lasting", "Running")
        if marker:
            assert says(variables, marker)
        await cluster.delete("lasting")
        await cluster.until_gone("lasting")
        await cluster.until(lambda: asyncio.sleep(0, not list(layout.records.glob("*.json"))))
        leave(variables, b"left by the first")
        assert tpm.exists()
    host = LibvirtHost(cluster.options.libvirt_uri, lambda _: None)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(host.run())
        await host.connected.wait()
        await kept.sweep(layout, cluster.admin, host)
        assert variables.exists()
        await cluster.admin.delete(VIRTUAL_MACHINES, "default", "lasting")
        await kept.sweep(layout, cluster.admin, host)
        assert tpm.exists()
        await kept.sweep(layout, cluster.admin, host, lambda: time.time() + kept.MOURNING)
        running.cancel()
    assert not tpm.exists()
    assert list(layout.kept.iterdir()) == []
