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


class I6300ESBWatchdog(Base, kw_only=True):
    """The watchdog of amd64."""

    action: str | None = None


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
    ram_fb: FeatureState | None = field(default=None, name="ramFB")


class VGPUOptions(Base, kw_only=True):
    """Options of a virtual GPU."""

    display: VGPUDisplayOptions | None = None


class GPU(Base, kw_only=True):
    """A graphics processor of the node."""

    name: str = field(default_factory=str)
    claim_name: str | None = None
    device_name: str | None = None
    request_name: str | None = None
    tag: str | None = None
    virtual_gpu_options: VGPUOptions | None = field(default=None, name="virtualGPUOptions")


class HostDevice(Base, kw_only=True):
    """A device of the node."""

    name: str = field(default_factory=str)
    claim_name: str | None = None
    device_name: str | None = None
    request_name: str | None = None
    tag: str | None = None


class Input(Base, kw_only=True):
    """A pointer device."""

    name: str = field(default_factory=str)
    bus: str | None = None
    type: str = field(default_factory=str)


class PanicDevice(Base, kw_only=True):
    """Tells the host when the guest's kernel panics."""

    model: str | None = None


class Rng(Base, kw_only=True):
    """A source of randomness."""


class SoundDevice(Base, kw_only=True):
    """A sound card."""

    name: str = field(default_factory=str)
    model: str | None = None


class TPMDevice(Base, kw_only=True):
    """A trusted platform module."""

    enabled: bool | None = None
    persistent: bool | None = None


class VideoDevice(Base, kw_only=True):
    """The graphics card."""

    type: str | None = None


class Devices(Base, kw_only=True):
    """Everything plugged into the guest."""

    autoattach_graphics_device: bool | None = None
    autoattach_input_device: bool | None = None
    autoattach_mem_balloon: bool | None = None
    autoattach_pod_interface: bool | None = None
    autoattach_serial_console: bool | None = None
    autoattach_vsock: bool | None = field(default=None, name="autoattachVSOCK")
    block_multi_queue: bool | None = None
    client_passthrough: ClientPassthroughDevices | None = None
    disable_hotplug: bool | None = None
    disks: list[Disk] = field(default_factory=list)
    downward_metrics: DownwardMetrics | None = None
    filesystems: list[Filesystem] = field(default_factory=list)
    gpus: list[GPU] = field(default_factory=list)
    host_devices: list[HostDevice] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    interfaces: list[Interface] = field(default_factory=list)
    log_serial_console: bool | None = None
    network_interface_multiqueue: bool | None = None
    panic_devices: list[PanicDevice] = field(default_factory=list)
    rng: Rng | None = None
    sound: SoundDevice | None = None
    tpm: TPMDevice | None = None
    use_virtio_transitional: bool | None = None
    video: VideoDevice | None = None
    watchdog: Watchdog | None = None
