"""Hypervisor features, Hyper-V enlightenments and the clock. Specification: domain-xml §3 and §6."""

from __future__ import annotations

from collections.abc import Iterator

from virt_handler.domain.context import Clock, Features, HypervFeature, Timer
from virt_handler.domain.traits import Traits
from virt_handler.model import Guest
from virt_types.v1 import Clock as ClockSpec
from virt_types.v1 import FeatureHyperv, FeatureState
from virt_types.v1 import Features as FeaturesSpec
from virt_types.v1 import Timer as TimerSpec

# libvirt 9.0 drops <direct> and <extended> of tlbflush silently.
LIBVIRT_TLBFLUSH_MODES = 11_000_000
SPINLOCK_RETRIES = 4096
# (field of the spec, element of the domain), in the order libvirt writes them
HYPERV = (
    ("relaxed", "relaxed"),
    ("vapic", "vapic"),
    ("spinlocks", "spinlocks"),
    ("vpindex", "vpindex"),
    ("runtime", "runtime"),
    ("synic", "synic"),
    ("synictimer", "stimer"),
    ("reset", "reset"),
    ("vendorid", "vendor_id"),
    ("frequencies", "frequencies"),
    ("reenlightenment", "reenlightenment"),
    ("tlbflush", "tlbflush"),
    ("ipi", "ipi"),
    ("evmcs", "evmcs"),
)


def _on(state: FeatureState | None) -> bool:
    """A feature that is mentioned is on unless it says otherwise."""
    return state is not None and state.enabled is not False


def features_of(guest: Guest, traits: Traits) -> Features:
    domain = guest.vmi.spec.domain
    features = domain.features or FeaturesSpec()
    security = domain.launch_security
    passthrough = features.hyperv_passthrough
    return Features(
        acpi=features.acpi.enabled is not False,
        apic=bool(features.apic and features.apic.enabled is not False),
        hyperv=tuple(_hyperv(features.hyperv, guest.host.libvirt_version)) if features.hyperv else None,
        hyperv_passthrough=bool(passthrough and passthrough.enabled is not False and features.hyperv is None),
        kvm_hidden=bool(features.kvm.hidden) if features.kvm else None,
        kvm_dedicated=traits.dedicated and traits.arch.name == "amd64",
        pvspinlock=_on(features.pvspinlock) if features.pvspinlock else None,
        smm=_on(features.smm),
        pmu_off=(traits.realtime and traits.dedicated) or bool(security and security.tdx),
        vmport_off=traits.arch.vmport,
    )


def _hyperv(hyperv: FeatureHyperv, libvirt_version: int) -> Iterator[HypervFeature]:
    for field, tag in HYPERV:
        state = getattr(hyperv, field)
        if state is None:
            continue
        enabled = state.enabled is not False
        if field == "spinlocks":
            retries = SPINLOCK_RETRIES if enabled and state.spinlocks is None else state.spinlocks
            yield HypervFeature(tag, enabled, retries=retries)
        elif field == "vendorid":
            yield HypervFeature(tag, enabled, value=state.vendorid or "")
        elif field == "synictimer":
            yield HypervFeature(tag, enabled, children=_modes(state, "direct"))
        elif field == "tlbflush" and libvirt_version >= LIBVIRT_TLBFLUSH_MODES:
            yield HypervFeature(tag, enabled, children=_modes(state, "direct", "extended"))
        else:
            yield HypervFeature(tag, enabled)


def _modes(state: object, *names: str) -> tuple[tuple[str, bool], ...]:
    given = ((name, getattr(state, name)) for name in names)
    return tuple((name, _on(mode)) for name, mode in given if mode is not None)


def clock_of(guest: Guest) -> Clock | None:
    clock = guest.vmi.spec.domain.clock
    frequency = _tsc_frequency(guest)
    if clock is None and not frequency:
        return None
    clock = clock or ClockSpec()
    timers = list(_timers(clock.timer)) if clock.timer else []
    if frequency:
        timers.append(Timer("tsc", frequency=frequency))
    if clock.timezone and clock.utc is None:
        return Clock("timezone", "", clock.timezone, tuple(timers))
    seconds = clock.utc.offset_seconds if clock.utc else None
    adjustment = ("reset" if seconds is None else str(seconds)) if clock.utc else ""
    return Clock("utc", adjustment, "", tuple(timers))


def _timers(timer: TimerSpec) -> Iterator[Timer]:
    """In libvirt's fixed order; a timer without `present` is present."""
    if rtc := timer.rtc:
        yield Timer("rtc", rtc.present is not False, rtc.tick_policy or "", rtc.track or "")
    if pit := timer.pit:
        yield Timer("pit", pit.present is not False, pit.tick_policy or "")
    if timer.kvm:
        yield Timer("kvmclock", timer.kvm.present is not False)
    if hpet := timer.hpet:
        yield Timer("hpet", hpet.present is not False, hpet.tick_policy or "")
    if timer.hyperv:
        yield Timer("hypervclock", timer.hyperv.present is not False)


def _tsc_frequency(guest: Guest) -> int:
    """Hertz, for guests that must see one constant frequency; 0: none known or needed."""
    domain, hints = guest.vmi.spec.domain, guest.vmi.status.topology_hints
    if hints is None or not hints.tsc_frequency:
        return 0
    features = domain.cpu.features if domain.cpu else []
    invariant = any(feature.name == "invtsc" and feature.policy in (None, "require") for feature in features)
    hyperv = domain.features.hyperv if domain.features else None
    return hints.tsc_frequency if invariant or (hyperv and _on(hyperv.reenlightenment)) else 0
