"""Hypervisor features and clock timers offered to the guest.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, Int64


class FeatureState(Base, kw_only=True):
    enabled: bool | None = None


class FeatureAPIC(Base, kw_only=True):
    enabled: bool | None = None
    end_of_interrupt: bool | None = None


class FeatureKVM(Base, kw_only=True):
    hidden: bool | None = None


class FeatureSpinlocks(Base, kw_only=True):
    enabled: bool | None = None
    spinlocks: Int64 | None = None


class FeatureVendorID(Base, kw_only=True):
    enabled: bool | None = None
    vendorid: str | None = None


class TLBFlush(Base, kw_only=True):
    direct: FeatureState | None = None
    enabled: bool | None = None
    extended: FeatureState | None = None


class SyNICTimer(Base, kw_only=True):
    direct: FeatureState | None = None
    enabled: bool | None = None


class FeatureHyperv(Base, kw_only=True):
    evmcs: FeatureState | None = None
    frequencies: FeatureState | None = None
    ipi: FeatureState | None = None
    reenlightenment: FeatureState | None = None
    relaxed: FeatureState | None = None
    reset: FeatureState | None = None
    runtime: FeatureState | None = None
    spinlocks: FeatureSpinlocks | None = None
    synic: FeatureState | None = None
    synictimer: SyNICTimer | None = None
    tlbflush: TLBFlush | None = None
    vapic: FeatureState | None = None
    vendorid: FeatureVendorID | None = None
    vpindex: FeatureState | None = None


class HyperVPassthrough(Base, kw_only=True):
    enabled: bool | None = None


class Features(Base, kw_only=True):
    acpi: FeatureState = field(default_factory=FeatureState)
    apic: FeatureAPIC | None = None
    hyperv: FeatureHyperv | None = None
    hyperv_passthrough: HyperVPassthrough | None = None
    kvm: FeatureKVM | None = None
    pvspinlock: FeatureState | None = None
    smm: FeatureState | None = None


class HPETTimer(Base, kw_only=True):
    present: bool | None = None
    tick_policy: str | None = None


class HypervTimer(Base, kw_only=True):
    present: bool | None = None


class KVMTimer(Base, kw_only=True):
    present: bool | None = None


class PITTimer(Base, kw_only=True):
    present: bool | None = None
    tick_policy: str | None = None


class RTCTimer(Base, kw_only=True):
    present: bool | None = None
    tick_policy: str | None = None
    track: str | None = None


class Timer(Base, kw_only=True):
    hpet: HPETTimer | None = None
    hyperv: HypervTimer | None = None
    kvm: KVMTimer | None = None
    pit: PITTimer | None = None
    rtc: RTCTimer | None = None


class ClockOffsetUTC(Base, kw_only=True):
    offset_seconds: Int32 | None = None


class Clock(Base, kw_only=True):
    timer: Timer | None = None
    timezone: str | None = None
    utc: ClockOffsetUTC | None = None
