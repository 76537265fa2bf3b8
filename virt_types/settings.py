"""What a cluster administrator may set about new machines, with this product's values.

The tables of defaulting and validation read it; a test or another installation passes its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# Features that KubeVirt keeps behind gates; True where this product has them.
GATES: Mapping[str, bool] = MappingProxyType(
    {
        "HostDisk": True,  # a directory of the one machine is a normal place for a disk
        "DeclarativeHotplugVolumes": True,  # an empty CD-ROM drive
        "DecentralizedLiveMigration": False,
        "DownwardMetrics": False,
        "ExperimentalIgnitionSupport": False,
        "HostDevices": False,
        "PasstBinding": True,
        "PersistentReservation": False,
        "RebootPolicy": True,
        "ReservedOverhead": False,
        "Sidecar": False,
        "VSOCK": False,
        "VirtioFs": True,  # file systems on claims
        "WorkloadEncryptionSEV": True,  # whether a node can is the node's to say
        "WorkloadEncryptionTDX": False,
    }
)
MACHINE_TYPES: Mapping[str, str] = MappingProxyType({"amd64": "q35", "arm64": "virt", "s390x": "s390-ccw-virtio"})
# Globs of machine types a user may ask for.
EMULATED_MACHINES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"amd64": ("q35*", "pc-q35*"), "arm64": ("virt*",), "s390x": ("s390-ccw-virtio*",)}
)
DISK_BUSES: Mapping[str, str] = MappingProxyType({"amd64": "sata", "arm64": "virtio", "s390x": "virtio"})


class Settings(NamedTuple):
    """Values the defaults and rules depend on."""

    architecture: str = "amd64"
    machine_types: Mapping[str, str] = MACHINE_TYPES
    emulated_machines: Mapping[str, tuple[str, ...]] = EMULATED_MACHINES
    disk_buses: Mapping[str, str] = DISK_BUSES
    cpu_model: str = "host-model"
    interface_binding: str = "bridge"
    eviction_strategy: str = "None"
    live_update: bool = True
    max_hotplug_ratio: int = 4
    max_vcpus: int = 512
    gates: Mapping[str, bool] = GATES

    def enabled(self, gate: str) -> bool:
        return self.gates.get(gate, False)


DEFAULT = Settings()
