"""Hypervisor features and clock timers offered to the guest.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, Int64


class FeatureState(Base, kw_only=True):
    """A feature that is on, unless enabled is false."""

    enabled: bool | None = None
    """Whether it is on; default true."""


class FeatureAPIC(Base, kw_only=True):
    """The interrupt controller."""

    enabled: bool | None = None
    """Whether it is on; default true."""
    end_of_interrupt: bool | None = None
    """Tells the guest that an interrupt has ended; default false."""


class FeatureKVM(Base, kw_only=True):
    """What of KVM the guest sees."""

    hidden: bool | None = None
    """Hides from the guest that it runs on KVM; default false."""


class FeatureSpinlocks(Base, kw_only=True):
    """How often a spin lock is tried before the hypervisor is told."""

    enabled: bool | None = None
    """Whether it is on; default true."""
    spinlocks: Int64 | None = None
    """How many tries; at least 4096, the default."""


class FeatureVendorID(Base, kw_only=True):
    """The hypervisor's name as the guest sees it."""

    enabled: bool | None = None
    """Whether it is on; default true."""
    vendorid: str | None = None
    """At most twelve characters."""


class TLBFlush(Base, kw_only=True):
    """TLB flushes by the hypervisor."""

    direct: FeatureState | None = None
    enabled: bool | None = None
    """Whether it is on; default true."""
    extended: FeatureState | None = None


class SyNICTimer(Base, kw_only=True):
    """Synthetic timers."""

    direct: FeatureState | None = None
    enabled: bool | None = None
    """Whether it is on; default true."""


class FeatureHyperv(Base, kw_only=True):
    """Interfaces of Hyper-V that make Windows faster."""

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
    """Every Hyper-V interface the node has."""

    enabled: bool | None = None
    """Whether it is on; default true."""


class Features(Base, kw_only=True):
    """Hypervisor features the guest gets."""

    acpi: FeatureState = field(default_factory=FeatureState)
    apic: FeatureAPIC | None = None
    hyperv: FeatureHyperv | None = None
    hyperv_passthrough: HyperVPassthrough | None = None
    kvm: FeatureKVM | None = None
    pvspinlock: FeatureState | None = None
    smm: FeatureState | None = None


class HPETTimer(Base, kw_only=True):
    """High precision event timer."""

    present: bool | None = None
    """Whether the guest has it; default true."""
    tick_policy: str | None = None
    """What becomes of ticks that come late: delay, catchup, merge or discard."""


class HypervTimer(Base, kw_only=True):
    """Hyper-V's reference time."""

    present: bool | None = None
    """Whether the guest has it; default true."""


class KVMTimer(Base, kw_only=True):
    """KVM's paravirtual clock."""

    present: bool | None = None
    """Whether the guest has it; default true."""


class PITTimer(Base, kw_only=True):
    """The old programmable interval timer."""

    present: bool | None = None
    """Whether the guest has it; default true."""
    tick_policy: str | None = None
    """What becomes of ticks that come late: delay, catchup or discard."""


class RTCTimer(Base, kw_only=True):
    """The real-time clock."""

    present: bool | None = None
    """Whether the guest has it; default true."""
    tick_policy: str | None = None
    """What becomes of ticks that come late: delay or catchup."""
    track: str | None = None
    """What the clock follows: guest or wall."""


class Timer(Base, kw_only=True):
    """Timers the guest has."""

    hpet: HPETTimer | None = None
    hyperv: HypervTimer | None = None
    kvm: KVMTimer | None = None
    pit: PITTimer | None = None
    rtc: RTCTimer | None = None


class ClockOffsetUTC(Base, kw_only=True):
    """Seconds the clock is ahead of UTC."""

    offset_seconds: Int32 | None = None
    """How many seconds ahead of UTC; the guest's own changes are kept over reboots."""


class ClockOffset(Base, kw_only=True):
    """What the guest's clock is set to at start: UTC plus seconds, or a time zone."""

    timezone: str | None = None
    """The clock starts at local time of this zone, such as Europe/Berlin."""
    utc: ClockOffsetUTC | None = None
    """The clock starts at UTC."""


class Clock(Base, kw_only=True):
    """The guest's clock and its timers."""

    timer: Timer | None = None
    timezone: str | None = None
    """The clock starts at local time of this zone."""
    utc: ClockOffsetUTC | None = None
    """The clock starts at UTC (default), with an offset if wanted."""
