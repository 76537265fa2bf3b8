"""What this machine offers to guests, asked once from libvirt: the `Host` every domain is rendered for."""

from __future__ import annotations

import asyncio
import platform
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from virt_handler.libvirt_host import LibvirtHost
from virt_handler.model import Accelerator, Host, NumaCell

MEMINFO = Path("/proc/meminfo")
FIRMWARE = Path("/usr/share/OVMF")
# libvirt refuses more on a PC without an IOMMU whose interrupts carry longer processor numbers; our domains have none.
MOST_VCPUS_OF_A_PC = 255


async def describe(libvirt: LibvirtHost, node: str, accelerator: Accelerator) -> Host:
    """The host as libvirt and its firmware directory show it; raises HypervisorError."""
    arch = platform.machine()

    def ask(connection: object) -> str:
        capabilities: str = connection.getDomainCapabilities(None, arch, "q35", accelerator, 0)  # type: ignore[attr-defined]
        return capabilities

    capabilities = await libvirt.call("read the domain capabilities", ask)
    host_xml = await libvirt.call("read the host's capabilities", lambda connection: connection.getCapabilities())
    libvirt_version, qemu_version = await libvirt.versions()
    return Host(
        name=node,
        accelerator=accelerator,
        arch=arch,
        libvirt_version=libvirt_version,
        qemu_version=qemu_version,
        machines=read_machines(host_xml, arch),
        firmware_dir=str(FIRMWARE),
        firmware_files=await asyncio.to_thread(_firmware_files),
        cpu_modes=read_cpu_modes(capabilities),
        cells=read_cells(host_xml),
        shared_processors=True,
        **read_devices(capabilities),
    )


def free_memory() -> int:
    """Bytes that can be used without pushing others out."""
    for line in MEMINFO.read_text().splitlines():
        name, _, amount = line.partition(":")
        if name == "MemAvailable":
            return int(amount.removesuffix("kB")) << 10
    return 0


def _firmware_files() -> frozenset[str]:
    return frozenset(path.name for path in FIRMWARE.glob("*.fd"))


def read_machines(capabilities: str, arch: str) -> frozenset[str]:
    """Machine types, aliases included, of a capabilities document."""
    root = ET.fromstring(capabilities)  # noqa: S314  written by libvirt
    return frozenset(
        machine.text for machine in root.iterfind(f"guest/arch[@name='{arch}']//machine") if machine.text is not None
    )


def read_cells(capabilities: str) -> tuple[NumaCell, ...]:
    """The NUMA cells of a capabilities document, processors grouped by core."""
    root = ET.fromstring(capabilities)  # noqa: S314  written by libvirt
    return tuple(_cell(cell) for cell in root.iterfind("host/topology/cells/cell"))


def _cell(cell: ET.Element) -> NumaCell:
    cores = dict.fromkeys(_siblings(cpu.get("siblings", "")) for cpu in cell.iterfind("cpus/cpu"))
    distances = ((int(it.get("id", "0")), int(it.get("value", "0"))) for it in cell.iterfind("distances/sibling"))
    return NumaCell(int(cell.get("id", "0")), tuple(sorted(core for core in cores if core)), tuple(distances))


def _siblings(text: str) -> tuple[int, ...]:
    """`0-1,8` as libvirt writes sets of processors; empty for one that is offline."""
    ends = ([int(end) for end in part.split("-")] for part in text.split(",") if part)
    return tuple(cpu for span in ends for cpu in range(span[0], span[-1] + 1))


def read_cpu_modes(capabilities: str) -> frozenset[str]:
    """CPU modes a domain capabilities document calls supported."""
    root = ET.fromstring(capabilities)  # noqa: S314  written by libvirt
    return frozenset(mode.get("name", "") for mode in root.iterfind("cpu/mode") if mode.get("supported") == "yes")


def read_devices(capabilities: str) -> dict[str, Any]:
    """Fields of `Host` that a domain capabilities document answers; what an old libvirt does not say is left out."""
    root = ET.fromstring(capabilities)  # noqa: S314  written by libvirt
    found: dict[str, Any] = {
        "video_models": _values(root, "devices/video/enum[@name='modelType']/value"),
    }
    if (vcpu := root.find("vcpu")) is not None:
        found["max_vcpus"] = min(int(vcpu.get("max", "0")), MOST_VCPUS_OF_A_PC)
    if (tpm := root.find("devices/tpm")) is not None:
        found["tpm"] = tpm.get("supported") == "yes" and "emulator" in _values(tpm, "enum[@name='backendModel']/value")
    if (sev := root.find("features/sev")) is not None:
        found["sev"] = sev.get("supported") == "yes"
    return found


def _values(root: ET.Element, path: str) -> frozenset[str]:
    return frozenset(value.text for value in root.iterfind(path) if value.text)
