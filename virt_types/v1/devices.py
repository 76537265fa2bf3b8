"""Everything plugged into the guest.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base
from virt_types.v1.disks import Disk, Filesystem
from virt_types.v1.features import FeatureState
from virt_types.v1.network import Interface


class ClientPassthroughDevices(Base, kw_only=True):
    """USB devices from the user's machine."""


class Diag288Watchdog(Base, kw_only=True):
    """The watchdog of s390x."""

    action: str | None = None
    """reset (default), poweroff or shutdown."""


class I6300ESBWatchdog(Base, kw_only=True):
    """The watchdog of amd64."""

    action: str | None = None
    """reset (default), poweroff or shutdown."""


class Watchdog(Base, kw_only=True):
    """Acts when the guest no longer shows signs of life."""

    name: str = field(default_factory=str)
    diag288: Diag288Watchdog | None = None
    i6300esb: I6300ESBWatchdog | None = None


class DownwardMetrics(Base, kw_only=True):
    """Metrics of the node, readable in the guest."""


class VGPUDisplayOptions(Base, kw_only=True):
    """The display of a virtual GPU."""

    enabled: bool | None = None
    """Whether it is on; default true."""
    ram_fb: FeatureState | None = field(default=None, name="ramFB")


class VGPUOptions(Base, kw_only=True):
    """Options of a virtual GPU."""

    display: VGPUDisplayOptions | None = None


class GPU(Base, kw_only=True):
    """A graphics processor of the node."""

    name: str = field(default_factory=str)
    claim_name: str | None = None
    """A resource claim of spec.resourceClaims, instead of deviceName."""
    device_name: str | None = None
    """The resource a device plug-in offers, such as nvidia.com/GP102GL."""
    request_name: str | None = None
    """The request within the resource claim."""
    tag: str | None = None
    """Told to the guest with the device's address, by cloud-init's config drive."""
    virtual_gpu_options: VGPUOptions | None = field(default=None, name="virtualGPUOptions")


class HostDevice(Base, kw_only=True):
    """A device of the node."""

    name: str = field(default_factory=str)
    claim_name: str | None = None
    """A resource claim of spec.resourceClaims, instead of deviceName."""
    device_name: str | None = None
    """The resource a device plug-in offers."""
    request_name: str | None = None
    """The request within the resource claim."""
    tag: str | None = None
    """Told to the guest with the device's address, by cloud-init's config drive."""


class Input(Base, kw_only=True):
    """A pointer device."""

    name: str = field(default_factory=str)
    bus: str | None = None
    """usb (default) or virtio."""
    type: str = field(default_factory=str)
    """tablet."""


class PanicDevice(Base, kw_only=True):
    """Tells the host when the guest's kernel panics."""

    model: str | None = None
    """hyperv, isa or pvpanic; default depends on the machine."""


class Rng(Base, kw_only=True):
    """A source of randomness."""


class SoundDevice(Base, kw_only=True):
    """A sound card."""

    name: str = field(default_factory=str)
    model: str | None = None
    """ich9 (default) or ac97."""


class TPMDevice(Base, kw_only=True):
    """A trusted platform module."""

    enabled: bool | None = None
    """false takes away what a preference gave; default true."""
    persistent: bool | None = None
    """Keeps what it holds over restarts; default false."""


class VideoDevice(Base, kw_only=True):
    """The graphics card."""

    type: str | None = None
    """vga, cirrus, virtio, ramfb or bochs; default vga, with UEFI bochs."""


class Devices(Base, kw_only=True):
    """Everything plugged into the guest."""

    autoattach_graphics_device: bool | None = None
    """Gives the guest a screen for VNC; default true."""
    autoattach_input_device: bool | None = None
    """Gives a guest without inputs a USB tablet; default false."""
    autoattach_mem_balloon: bool | None = None
    """Lets the node see how much memory the guest uses; default true."""
    autoattach_pod_interface: bool | None = None
    """Gives a guest without networks the default one; default true."""
    autoattach_serial_console: bool | None = None
    """Gives the guest a serial console; default true."""
    autoattach_vsock: bool | None = field(default=None, name="autoattachVSOCK")
    """Gives the guest a socket to the node; default false."""
    block_multi_queue: bool | None = None
    """Gives virtio disks a queue per virtual CPU; default false."""
    client_passthrough: ClientPassthroughDevices | None = None
    disable_hotplug: bool | None = None
    """Leaves out what plugging in disks needs; default false."""
    disks: list[Disk] = field(default_factory=list)
    """Disks; each has the name of its volume."""
    downward_metrics: DownwardMetrics | None = None
    filesystems: list[Filesystem] = field(default_factory=list)
    """Directories shared with the guest; each has the name of its volume."""
    gpus: list[GPU] = field(default_factory=list)
    """Graphics processors of the node that are given to the guest."""
    host_devices: list[HostDevice] = field(default_factory=list)
    """Devices of the node that are given to the guest."""
    inputs: list[Input] = field(default_factory=list)
    """Pointing devices."""
    interfaces: list[Interface] = field(default_factory=list)
    """Network interfaces; each has the name of its network."""
    log_serial_console: bool | None = None
    """Keeps a record of what the guest writes to its serial line; default true."""
    network_interface_multiqueue: bool | None = None
    """Gives virtio interfaces a queue per virtual CPU; default false."""
    panic_devices: list[PanicDevice] = field(default_factory=list)
    """Devices by which the guest's kernel tells of its panic."""
    rng: Rng | None = None
    sound: SoundDevice | None = None
    tpm: TPMDevice | None = None
    use_virtio_transitional: bool | None = None
    """Lets drivers before virtio 1.0 (CentOS 6) drive virtio devices; default false."""
    video: VideoDevice | None = None
    watchdog: Watchdog | None = None
