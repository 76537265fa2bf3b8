"""The small devices: balloon, rng, watchdog, inputs, tpm, sound, panic, vsock, shares. See domain-xml §7, §8."""

from __future__ import annotations

from collections.abc import Iterator

from virt_handler.domain.console import beside_serial, has_screen
from virt_handler.domain.context import Balloon, FilesystemShare, Input, Rng, Sound, Tpm, Vsock, Watchdog
from virt_handler.domain.traits import Traits
from virt_handler.errors import RenderError
from virt_handler.model import Guest

NO_REPORTING_ANNOTATION = "kubevirt.io/free-page-reporting-disabled"
STATS_SECONDS = 10
INPUT_BUSES = ("usb", "virtio")
SOUND_MODELS = ("ich9", "ac97")
WATCHDOG_DEFAULT_ACTION = "reset"


def balloon_of(guest: Guest, traits: Traits) -> Balloon:
    """Free page reporting costs exits, so guests tuned for latency go without."""
    if guest.vmi.spec.domain.devices.autoattach_mem_balloon is False:
        return Balloon("none", 0, free_page_reporting=False, iommu=False, address=None)
    tuned = traits.dedicated or traits.realtime or traits.hugepages
    refused = guest.vmi.metadata.annotations.get(NO_REPORTING_ANNOTATION) == "true"
    return Balloon(traits.virtio, STATS_SECONDS, not (tuned or refused), iommu=traits.iommu, address=None)


def rng_of(guest: Guest, traits: Traits) -> Rng | None:
    return Rng(traits.virtio, traits.iommu, None) if guest.vmi.spec.domain.devices.rng is not None else None


def watchdog_of(guest: Guest, traits: Traits) -> Watchdog | None:
    """The one of the guest's architecture; the defaults complete it, whatever else the manifest names."""
    watchdog, model = guest.vmi.spec.domain.devices.watchdog, traits.arch.watchdog
    if watchdog is None:
        return None
    if not model:
        raise RenderError(
            f"spec.domain.devices.watchdog: machines of {traits.arch.name} have none", hint="remove the watchdog"
        )
    device = watchdog.diag288 if model == "diag288" else watchdog.i6300esb
    return Watchdog(watchdog.name, model, (device.action if device else None) or WATCHDOG_DEFAULT_ACTION, None)


def inputs_of(guest: Guest, traits: Traits) -> tuple[Input, ...]:
    found = []
    for number, spec in enumerate(guest.vmi.spec.domain.devices.inputs):
        field = f"spec.domain.devices.inputs[{number}]"
        bus = spec.bus or "usb"
        if bus not in INPUT_BUSES:
            raise RenderError(f"{field}.bus {bus!r} is unknown", hint=f"use one of {', '.join(INPUT_BUSES)}")
        if (spec.type or "tablet") != "tablet":
            raise RenderError(f"{field}.type {spec.type!r} is unknown", hint="the only type is tablet")
        found.append(Input(spec.name, "tablet", bus, "virtio" if bus == "virtio" else "", None))
    return (*found, *_unasked_inputs(traits, tablet=not found)) if has_screen(guest) else tuple(found)


def _unasked_inputs(traits: Traits, *, tablet: bool) -> Iterator[Input]:
    """Where a machine has no PS/2 keyboard and mouse of its own."""
    if traits.arch.name == "arm64":
        if tablet:
            yield Input("", "tablet", "usb", "", None)
        yield Input("", "keyboard", "usb", "", None)
    if traits.arch.name == "s390x":
        yield Input("", "keyboard", "virtio", "", None)


def tpm_of(guest: Guest) -> Tpm | None:
    tpm = guest.vmi.spec.domain.devices.tpm
    if tpm is None or tpm.enabled is False:
        return None
    return Tpm("tpm-crb", persistent=True) if tpm.persistent else Tpm("tpm-tis", persistent=False)


def sound_of(guest: Guest) -> Sound | None:
    sound = guest.vmi.spec.domain.devices.sound
    if sound is None:
        return None
    model = sound.model or SOUND_MODELS[0]
    if model not in SOUND_MODELS:
        raise RenderError(
            f"spec.domain.devices.sound.model {model!r} is unknown", hint=f"use one of {', '.join(SOUND_MODELS)}"
        )
    return Sound(sound.name, model)


def panics_of(guest: Guest) -> tuple[str, ...]:
    return tuple(panic.model or "" for panic in guest.vmi.spec.domain.devices.panic_devices)


def vsock_of(guest: Guest) -> Vsock | None:
    if not guest.vmi.spec.domain.devices.autoattach_vsock:
        return None
    return Vsock("virtio-non-transitional", guest.vmi.status.vsock_cid or 0)


def filesystems_of(guest: Guest) -> tuple[FilesystemShare, ...]:
    return tuple(
        FilesystemShare(it.name, beside_serial(guest, f"virtiofs-{it.name}.sock"), guest.directories.get(it.name, ""))
        for it in guest.vmi.spec.domain.devices.filesystems
    )
