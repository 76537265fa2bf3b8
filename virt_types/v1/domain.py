"""The guest as a whole.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base
from virt_types.v1.cpu import CPU
from virt_types.v1.devices import Devices
from virt_types.v1.disks import DiskIOThreads
from virt_types.v1.features import Clock, Features
from virt_types.v1.firmware import Chassis, Firmware, LaunchSecurity, Machine
from virt_types.v1.memory import Memory, ResourceRequirements


class DomainSpec(Base, kw_only=True):
    """The virtual hardware of a guest."""

    chassis: Chassis | None = None
    clock: Clock | None = None
    cpu: CPU | None = None
    devices: Devices = field(default_factory=Devices)
    features: Features | None = None
    firmware: Firmware | None = None
    io_threads: DiskIOThreads | None = None
    io_threads_policy: str | None = None
    """shared, auto or supplementalPool: how disks share I/O threads."""
    launch_security: LaunchSecurity | None = None
    machine: Machine | None = None
    memory: Memory | None = None
    reboot_policy: str | None = None
    """Reboot (default: the guest reboots in place) or Terminate (a reboot ends the instance)."""
    resources: ResourceRequirements = field(default_factory=ResourceRequirements)
    """What the guest asks of its node, and its limits."""
