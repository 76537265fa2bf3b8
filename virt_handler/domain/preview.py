"""The guest KubeVirt's launcher would see: its paths, its libvirt, and a node nobody has asked.

Called by `virt-handler render`, which has no node at hand, and by the comparison with KubeVirt's own converter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from virt_handler.domain.cpu import dedicated_processors
from virt_handler.errors import RenderError
from virt_handler.model import (
    BootFiles,
    DiskSource,
    Guest,
    GuestFiles,
    Host,
    HostDeviceSource,
    NicSource,
    NumaCell,
)
from virt_types.v1 import Disk, Firmware, Interface, VirtualMachineInstance, Volume

PRIVATE = "/var/run/kubevirt-private"
EPHEMERAL = "/var/run/kubevirt-ephemeral-disks"
CONTAINER_DISKS = "/var/run/kubevirt/container-disks"
EMPTY_DISKS = "/var/run/libvirt/empty-disks"
HOTPLUG = "/var/run/kubevirt/hotplug-disks"
MATCHED_BLOCK = 4096  # what statfs says of nearly every file system
PLUGGED_PHASES = ("Ready", "MountedToPod")
MEDIATED = ("mdev", "vgpu", "grid")

# Two cells of eight cores with two threads each: the node KubeVirt's own tests assume.
CELLS = (
    NumaCell(0, tuple((n, n + 16) for n in range(8)), ((0, 10), (1, 21))),
    NumaCell(1, tuple((n, n + 16) for n in range(8, 16)), ((0, 21), (1, 10))),
)
# A node as new as KubeVirt's launcher image, with its firmware.
NODE = Host(
    name="preview",
    libvirt_version=11_010_000,
    qemu_version=10_001_000,
    firmware_files=frozenset(
        {
            "OVMF_CODE.secboot.fd",
            "OVMF_VARS.fd",
            "OVMF_VARS.secboot.fd",
            "OVMF_CODE.cc.fd",
            "OVMF.amdsev.fd",
            "OVMF.inteltdx.fd",
            "OVMF.inteltdx.secboot.fd",
            "AAVMF_CODE.fd",
            "AAVMF_VARS.fd",
        }
    ),
    cpu_modes=frozenset({"custom", "host-model", "host-passthrough", "maximum"}),
    cells=CELLS,
)


def preview(vmi: VirtualMachineInstance, *, node: Host = NODE) -> Guest:
    """The VMI with KubeVirt's paths on an assumed node; raises RenderError where its converter refuses."""
    run = f"{PRIVATE}/{vmi.metadata.uid or 'UID'}"
    return Guest(
        vmi=vmi,
        host=node,
        files=GuestFiles(
            serial_socket=f"{run}/virt-serial0",
            serial_log=f"{run}/virt-serial0-log",
            vnc_socket=f"{run}/virt-vnc",
            nvram=f"{PRIVATE}/libvirt/qemu/nvram/{vmi.metadata.name}_VARS.fd",
        ),
        disks=dict(_disks(vmi)),
        nics={it.name: _nic(it, vmi) for it in vmi.spec.domain.devices.interfaces if _is_attached(it)},
        host_devices=_host_devices(vmi),
        cpuset=_cpuset(vmi, node),
        boot=_boot(vmi),
        shares=frozenset(it.name for it in vmi.spec.domain.devices.filesystems),
    )


PRIMARY_INTERFACE = "eth0"  # of a pod
# Network binding plugins that end in a tap device; the others attach nothing themselves.
TAP_PLUGINS = ("l2bridge", "macvtapplugin")


def _is_attached(interface: Interface) -> bool:
    return interface.sriov is None and (interface.binding is None or interface.binding.name in TAP_PLUGINS)


def _nic(interface: Interface, vmi: VirtualMachineInstance) -> NicSource:
    """A tap device the launcher has made, or passt beside one of the pod's interfaces."""
    if interface.passt_binding is None:
        return NicSource("ethernet")
    status = next((it for it in vmi.status.interfaces if it.name == interface.name), None)
    return NicSource("vhostuser", (status.pod_interface_name if status else None) or PRIMARY_INTERFACE)


def _disks(vmi: VirtualMachineInstance) -> Iterator[tuple[str, DiskSource]]:
    specs = {disk.name: disk for disk in vmi.spec.domain.devices.disks}
    waiting = {status.name for status in vmi.status.volume_status if status.phase not in PLUGGED_PHASES}
    for number, volume in enumerate(vmi.spec.volumes):
        claim = volume.persistent_volume_claim or volume.data_volume
        if claim and claim.hotpluggable:
            if volume.name not in waiting:
                yield volume.name, _hotplugged(volume.name)
        elif source := _source(vmi, volume, number):
            yield volume.name, _for_device(volume, source, specs.get(volume.name))


def _for_device(volume: Volume, source: DiskSource, disk: Disk | None) -> DiskSource:
    """Block sizes as measured, and discard as KubeVirt's converter sets it: on a CD-ROM some kinds of volume only."""
    sizes = (MATCHED_BLOCK,) * 3 if disk and disk.block_size else None
    kinds = (
        volume.container_disk,
        volume.ephemeral,
        volume.empty_disk,
        volume.persistent_volume_claim,
        volume.data_volume,
    )
    on_cdrom = disk is not None and disk.cdrom is not None
    return source._replace(block_sizes=sizes, discard=not on_cdrom or any(kind is not None for kind in kinds))


def _hotplugged(name: str) -> DiskSource:
    if _is_block(name):
        return DiskSource(f"{HOTPLUG}/{name}", block=True, direct_io=True)
    return DiskSource(f"{HOTPLUG}/{name}.img", direct_io=True)


def _is_block(name: str) -> bool:
    """Nobody can be asked for the claim's volumeMode: the name says it."""
    return name.startswith("block")


def _source(vmi: VirtualMachineInstance, volume: Volume, number: int) -> DiskSource | None:
    name = volume.name
    image = f"{PRIVATE}/vmi-disks/{name}/disk.img"
    overlay = f"{EPHEMERAL}/disk-data/{name}/disk.qcow2"
    if volume.container_disk:
        backing = DiskSource(f"{CONTAINER_DISKS}/disk_{number}.img", "qcow2", readonly=True)
        return DiskSource(overlay, "qcow2", backing=backing, direct_io=True)
    if volume.ephemeral:
        return DiskSource(overlay, "qcow2", backing=_claim(name, image), direct_io=True)
    if volume.persistent_volume_claim or volume.data_volume:
        return _claim(name, image)
    if volume.host_disk:
        path = PurePosixPath(volume.host_disk.path).name
        return DiskSource(f"{PRIVATE}/vmi-disks/{name}/{path}", direct_io=True)
    if volume.empty_disk:
        return DiskSource(f"{EMPTY_DISKS}/{name}.qcow2", "qcow2", direct_io=True)
    path = _generated(vmi, volume)
    return DiskSource(path, direct_io=True) if path else None


def _claim(name: str, image: str) -> DiskSource:
    block = _is_block(name)
    return DiskSource(f"/dev/{name}" if block else image, block=block, direct_io=True)


def _generated(vmi: VirtualMachineInstance, volume: Volume) -> str:
    """Path of the image the launcher writes for this volume, empty for kinds that are no disk."""
    seed = f"{EPHEMERAL}/cloud-init-data/{vmi.metadata.namespace or 'default'}/{vmi.metadata.name}"
    paths = (
        (volume.cloud_init_no_cloud, f"{seed}/noCloud.iso"),
        (volume.cloud_init_config_drive, f"{seed}/configdrive.iso"),
        (volume.sysprep, f"{PRIVATE}/sysprep-disks/{volume.name}.iso"),
        (volume.config_map, f"{PRIVATE}/config-map-disks/{volume.name}.iso"),
        (volume.secret, f"{PRIVATE}/secret-disks/{volume.name}.iso"),
        (volume.downward_api, f"{PRIVATE}/downwardapi-disks/{volume.name}.iso"),
        (volume.service_account, f"{PRIVATE}/service-account-disk/service-account.iso"),
        (volume.downward_metrics, f"{PRIVATE}/downwardapi-disks/vhostmd0"),
    )
    return next((path for kind, path in paths if kind is not None), "")


def _host_devices(vmi: VirtualMachineInstance) -> Mapping[str, tuple[HostDeviceSource, ...]]:
    """Addresses as device plugins would hand them out, counted up by kind: GPUs first, then the others."""
    devices = vmi.spec.domain.devices
    counts = {"pci": 0, "mdev": 0, "usb": 0}
    found: dict[str, tuple[HostDeviceSource, ...]] = {}
    for name, resource in (
        *((gpu.name, gpu.device_name or "") for gpu in devices.gpus),
        *((device.name, device.device_name or "") for device in devices.host_devices),
    ):
        word = resource.lower()
        if "usb" in word:
            found[name] = (HostDeviceSource("usb", f"1:{2 + counts['usb']}"),)
            counts["usb"] += 1
        elif any(part in word for part in MEDIATED):
            counts["mdev"] += 1
            found[name] = (HostDeviceSource("mdev", f"aa618089-8b16-4d01-a136-{counts['mdev']:012d}"),)
        else:
            found[name] = (HostDeviceSource("pci", f"0000:{0x81 + counts['pci']:02x}:00.0"),)
            counts["pci"] += 1
    functions = [it.name for it in devices.interfaces if it.sriov]
    found |= {name: (HostDeviceSource("pci", f"0000:65:00.{nth}"),) for nth, name in enumerate(functions, start=1)}
    return found


def _cpuset(vmi: VirtualMachineInstance, node: Host) -> tuple[int, ...]:
    """Exactly the processors needed, whole cores in order."""
    wanted = dedicated_processors(vmi)
    threads = [thread for cell in node.cells for core in cell.cores for thread in core]
    if wanted > len(threads):
        raise RenderError(
            f"spec.domain.cpu: {wanted} dedicated processors wanted, node {node.name} has {len(threads)}",
            hint="ask for fewer, or render without dedicatedCpuPlacement",
        )
    return tuple(threads[:wanted])


def _boot(vmi: VirtualMachineInstance) -> BootFiles:
    firmware = vmi.spec.domain.firmware or Firmware()
    container = firmware.kernel_boot.container if firmware.kernel_boot else None
    acpi = firmware.acpi
    tables = (("slic", acpi.slic_name_ref), ("msdm", acpi.msdm_name_ref)) if acpi else ()
    return BootFiles(
        kernel=_in_container(container.kernel_path if container else None),
        initrd=_in_container(container.initrd_path if container else None),
        acpi_tables=tuple((table, f"{PRIVATE}/secret/{name}/{table}.bin") for table, name in tables if name),
        ignition=f"{EPHEMERAL}/ignition-data/{vmi.metadata.namespace or 'default'}/{vmi.metadata.name}/data.ign",
    )


def _in_container(path: str | None) -> str:
    return f"{CONTAINER_DISKS}/kernel-boot/{PurePosixPath(path).name}" if path else ""
