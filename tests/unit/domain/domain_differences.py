"""Where our domains differ from KubeVirt's on purpose, and what would make the difference go there."""

from __future__ import annotations

from typing import Any, NamedTuple

from domain_guests import minimal, with_disks


class Difference(NamedTuple):
    """Why we differ, and what KubeVirt would have to do."""

    why: str
    upstream: str


CLOCK = Difference(
    "libvirt's schema wants an offset: ours says the default, utc", "write offset=utc when none is given"
)
COLLISION = Difference(
    "a slot of the root complex that a disk's pciAddress has is given to no other device; libvirt refuses it twice",
    "leave out the addresses of the manifest when counting slots",
)
# By (recorded case, section).
RECORDED = {
    **{("annot-root-complex-collision", section): COLLISION for section in ("interfaces", "disks", "memballoon")},
    ("clock-timers-only", "clock"): CLOCK,
    ("clock-tsc-hint", "clock"): CLOCK,
    ("cpu-features-policies", "cpu"): Difference(
        "libvirt's schema wants a policy: ours says the default, require", "write policy=require when none is given"
    ),
    ("disk-cdrom-usb", "controllers"): Difference(
        "a CD-ROM on USB needs a USB controller; libvirt refuses KubeVirt's domain",
        "count cdrom and lun on bus usb when choosing the controller's model",
    ),
    ("video-type-empty", "video"): Difference(
        "no type means the default device; libvirt refuses an empty one", "treat an empty video.type as unset"
    ),
}
# KubeVirt's launcher crashes; an empty object means enabled, as its documentation says.
ACCEPTED = {"hyperv-passthrough-nil"}


class Beyond(NamedTuple):
    """A difference that no recorded case shows: what the domain of a manifest says here, or a refusal."""

    manifest: dict[str, Any]
    says: str
    difference: Difference
    refused: bool = False


def _nic(**more: Any) -> dict[str, Any]:
    manifest = minimal({"interfaces": [{"name": "n", **more}]})
    manifest["spec"]["networks"] = [{"name": "n", "pod": {}}]
    return manifest


def _on(architecture: str, devices: dict[str, Any] | None = None, **domain: Any) -> dict[str, Any]:
    manifest = minimal(devices, **domain)
    manifest["spec"]["architecture"] = architecture
    return manifest


def _with_volume(manifest: dict[str, Any], **source: Any) -> dict[str, Any]:
    manifest["spec"].setdefault("volumes", []).append({"name": "v", **source})
    return manifest


BEYOND = {
    "a memory dump keeps no guest from starting": Beyond(
        _with_volume(minimal(), memoryDump={"claimName": "dump", "hotpluggable": True}),
        "<name>default_guest</name>",
        Difference(
            "the volume is where a dump goes and becomes no disk; KubeVirt refuses the whole guest",
            "give a memoryDump volume no disk by default",
        ),
    ),
    "passt before there is a pod": Beyond(
        _nic(passtBinding={}),
        '<source dev="eth0"/>',
        Difference(
            "a manifest has no status that could name the pod's interface, and the first of a pod is eth0",
            "nothing: its launcher always has the status",
        ),
    ),
    "passt: boot order": Beyond(
        _nic(passtBinding={}, bootOrder=1),
        '<boot order="1"/>',
        Difference("it was asked for, and works with passt too", "write boot order for passt interfaces"),
    ),
    "passt: link": Beyond(
        _nic(passtBinding={}, state="down"),
        '<link state="down"/>',
        Difference("it was asked for, and works with passt too", "write the link's state for passt interfaces"),
    ),
    "IO threads for no disk": Beyond(
        minimal(ioThreadsPolicy="shared", cpu={"cores": 1, "dedicatedCpuPlacement": True}),
        '<vcpupin vcpu="0" cpuset="0"/>',
        Difference("no disk needs no thread, and no pin; KubeVirt refuses the guest", "pin the threads there are"),
    ),
    "metrics disk of a SEV guest": Beyond(
        _with_volume(
            minimal({"disks": [{"name": "v", "disk": {"bus": "virtio"}}]}, launchSecurity={"sev": {}}),
            downwardMetrics={},
        ),
        'iommu="on"/>\n      <source file="/var/run/kubevirt-private/downwardapi-disks/vhostmd0"/>',
        Difference("without it the guest can't read the disk", "keep iommu when the driver is replaced"),
    ),
    "no maximum of memory": Beyond(
        minimal(memory={"guest": "64Mi", "maxGuest": "0"}),
        '<memory unit="bytes">67108864</memory>',
        Difference("a maximum of nothing is none", "treat maxGuest 0 as unset"),
    ),
    "IO mode default": Beyond(
        with_disks({"name": "a", "io": "default", "disk": {"bus": "virtio"}}),
        'discard="unmap"/>',
        Difference("libvirt knows no io mode of that name, and KubeVirt's domain is refused", "write no io then"),
    ),
    "empty time zone": Beyond(
        minimal(clock={"timezone": ""}),
        '<clock offset="utc"/>',
        Difference("libvirt refuses an empty one", "treat an empty timezone as unset"),
    ),
    "unknown architecture": Beyond(
        _on("ppc64le"),
        "spec.architecture 'ppc64le' is not supported",
        Difference("KubeVirt makes an x86_64 machine of it", "refuse what there is no converter for"),
        refused=True,
    ),
    "EFI on s390x": Beyond(
        _on("s390x", firmware={"bootloader": {"efi": {"secureBoot": False}}}),
        "machines of s390x have no EFI",
        Difference("KubeVirt gives it firmware of x86_64", "refuse EFI where there is none"),
        refused=True,
    ),
    "USB on s390x": Beyond(
        _on("s390x", {"clientPassthrough": {}}),
        '<controller type="usb" index="0" model="qemu-xhci"/>',
        Difference("libvirt refuses a USB device without a controller", "count USB devices on s390x too"),
    ),
}
