"""One guest, section by section: the only place that knows every section."""

from __future__ import annotations

from virt_handler.domain.console import channels_of, has_screen, serial_of, usb_redirections_of, video_of
from virt_handler.domain.context import DomainContext
from virt_handler.domain.controllers import controllers_of
from virt_handler.domain.cpu import cpu_of, tuning_of
from virt_handler.domain.devices import (
    balloon_of,
    filesystems_of,
    inputs_of,
    panics_of,
    rng_of,
    sound_of,
    tpm_of,
    vsock_of,
    watchdog_of,
)
from virt_handler.domain.disks import attachments_of, disks_of
from virt_handler.domain.features import clock_of, features_of
from virt_handler.domain.firmware import launch_security_of, os_of, sysinfo_of, uuid_of
from virt_handler.domain.hostdevices import host_devices_of
from virt_handler.domain.interfaces import interfaces_of
from virt_handler.domain.iothreads import threads_of
from virt_handler.domain.memory import memory_of, needs_cell, page_of, size_of
from virt_handler.domain.rootcomplex import place_on_root
from virt_handler.domain.traits import ROOT_COMPLEX_ANNOTATION, traits_of
from virt_handler.model import Guest

REBOOT_POLICIES = {"Terminate": "destroy", "Reboot": "restart"}


def build(guest: Guest) -> DomainContext:
    """The context templates/domain.xml.j2 lays out; pure. Raises RenderError for what can't be a domain."""
    meta, spec = guest.vmi.metadata, guest.vmi.spec
    traits = traits_of(guest)
    threads = threads_of(guest, traits)
    size = size_of(guest)
    cpu = cpu_of(guest, traits, size, needs_cell=needs_cell(guest, traits), page=page_of(guest))
    disks = disks_of(guest, traits, threads, attachments_of(guest, traits))
    inputs = inputs_of(guest, traits)
    host_devices = host_devices_of(guest)
    domain = DomainContext(
        type=guest.host.accelerator,
        name=f"{meta.namespace or 'default'}_{meta.name}",
        uuid=uuid_of(guest),
        vmi_uid=meta.uid,
        vmi_name=meta.name,
        vmi_namespace=meta.namespace or "default",
        memory=memory_of(guest, traits, size, cpu.cells),
        os=os_of(guest, traits),
        sysinfo=sysinfo_of(guest),
        cpu=cpu,
        tuning=tuning_of(guest, traits, threads),
        iothreads=threads.total,
        features=features_of(guest, traits),
        clock=clock_of(guest),
        on_reboot=REBOOT_POLICIES.get(spec.domain.reboot_policy or "", ""),
        emulator=guest.host.emulator,
        disks=disks,
        interfaces=interfaces_of(guest, traits),
        controllers=controllers_of(guest, traits, threads, disks=disks, inputs=inputs, host_devices=host_devices),
        filesystems=filesystems_of(guest),
        channels=channels_of(guest),
        serial=serial_of(guest),
        vnc_socket=guest.files.vnc_socket if has_screen(guest) else "",
        video=video_of(guest, traits),
        inputs=inputs,
        balloon=balloon_of(guest, traits),
        rng=rng_of(guest, traits),
        watchdog=watchdog_of(guest, traits),
        tpm=tpm_of(guest),
        sound=sound_of(guest),
        panics=panics_of(guest),
        usb_redirections=usb_redirections_of(guest),
        host_devices=host_devices,
        vsock=vsock_of(guest),
        launch_security=launch_security_of(guest, traits),
    )
    on_root = traits.arch.pci_root and meta.annotations.get(ROOT_COMPLEX_ANNOTATION) == "true"
    return place_on_root(domain) if on_root else domain
