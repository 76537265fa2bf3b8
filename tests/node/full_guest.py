"""The demo's guest with drivers for whatever a machine can be given; user data has it look around."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.demo import guest, kernel, packages

HARDWARE = ("ahci", "sd_mod", "sr_mod", "virtio_scsi", "xhci_pci", "usb_storage", "e1000e", "8139cp")
BESIDE = ("virtio_mem", "virtiofs", "virtio_console")


def build() -> Path:
    """Its qcow2 disk, from the cache; skips the test where the distribution's packages can't be had."""
    try:
        drivers = (*HARDWARE, *BESIDE, *kernel.DRIVERS)
        return guest.build(drivers=drivers, kernels=packages.FULL_KERNEL_PACKAGES).path
    except packages.PackageError as error:
        pytest.skip(f"the guest can't be built: {error}")
