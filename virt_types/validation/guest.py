"""Rules about the guest's name, start and small devices.

Specification 5.4, rules 19, 20, 27, 42 to 45, 67 to 75 and 96.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from virt_types.defaults import HYPERV_NEEDS
from virt_types.errors import Cause
from virt_types.v1 import FeatureHyperv, Timer
from virt_types.validation.scope import (
    Rule,
    Scope,
    dns_label_faults,
    dns_subdomain_faults,
    invalid,
    required,
    shown,
    unsupported,
)

EVICTION_STRATEGIES = frozenset(("None", "LiveMigrate", "LiveMigrateIfPossible", "External"))
ARCHITECTURES = frozenset(("amd64", "arm64", "s390x"))
WATCHDOG_ACTIONS = frozenset(("reset", "poweroff", "shutdown"))
VIDEO_MODELS = {
    "amd64": ("vga", "cirrus", "virtio", "ramfb", "bochs"),
    "arm64": ("virtio", "ramfb"),
    "s390x": ("virtio",),
}
PANIC_MODELS = ("hyperv", "isa", "pvpanic")
TICK_POLICIES = {
    "hpet": ("delay", "catchup", "merge", "discard"),
    "pit": ("delay", "catchup", "discard"),
    "rtc": ("delay", "catchup"),
}
RTC_TRACKS = ("guest", "wall")


def names(scope: Scope) -> Iterator[Cause]:
    spec = scope.spec
    if spec.hostname:
        field = scope.at("hostname")
        if faults := ", ".join(dns_label_faults(spec.hostname)):
            yield invalid(field, f"{field} does not conform to the kubernetes DNS_LABEL rules : {faults}")
    if spec.subdomain:
        field = scope.at("subdomain")
        if faults := ", ".join(dns_subdomain_faults(spec.subdomain)):
            yield invalid(field, f"{field} does not conform to the kubernetes DNS_SUBDOMAIN rules : {faults}")


def strategies(scope: Scope) -> Iterator[Cause]:
    spec = scope.spec
    field = scope.at("startStrategy")
    if spec.start_strategy is not None and spec.start_strategy != "Paused":
        yield invalid(field, f"{field} is set with an unrecognized option: {shown(spec.start_strategy)}")
    elif spec.start_strategy == "Paused" and spec.liveness_probe is not None:
        probe = scope.at("livenessProbe")
        message = f"either {field} or {probe} should be provided.Pausing VMI with LivenessProbe is not supported"
        yield invalid(field, message)
    if spec.eviction_strategy is not None and spec.eviction_strategy not in EVICTION_STRATEGIES:
        field = scope.at("evictionStrategy")
        yield invalid(field, f"{field} is set with an unrecognized option: {shown(spec.eviction_strategy)}")
    grace = spec.termination_grace_period_seconds
    if grace is not None and grace < 0:  # upstream takes it
        field = scope.at("terminationGracePeriodSeconds")
        yield invalid(field, f"{field} '{grace}': must be greater than or equal to 0.")


def architecture(scope: Scope) -> Iterator[Cause]:
    arch = scope.spec.architecture
    if arch is not None and arch not in ARCHITECTURES:
        yield invalid(scope.at("architecture"), f"unsupported architecture: {shown(arch)}")
    machine = scope.spec.domain.machine
    allowed = scope.settings.emulated_machines.get(arch or scope.settings.architecture, ())
    if machine is None or not machine.type or not allowed:
        return
    if not any(fnmatchcase(machine.type, pattern) for pattern in allowed):
        field = scope.at("domain.machine.type")
        listed = " ".join(allowed)
        yield unsupported(field, f"{field} is not supported: {shown(machine.type)} (allowed values: [{listed}])")


def clock(scope: Scope) -> Iterator[Cause]:
    """Upstream takes any policy, and libvirt then refuses the guest."""
    timers = scope.spec.domain.clock.timer if scope.spec.domain.clock else None
    for name in Timer.__struct_fields__ if timers else ():
        timer = getattr(timers, name)
        for attribute, wire, allowed in (
            ("tick_policy", "tickPolicy", TICK_POLICIES.get(name, ())),
            ("track", "track", RTC_TRACKS),
        ):
            value = getattr(timer, attribute, None)
            if value and value not in allowed:
                field = scope.at(f"domain.clock.timer.{name}.{wire}")
                yield unsupported(field, f"{field} has invalid value '{shown(value)}', use one of {', '.join(allowed)}")


def hyperv(scope: Scope) -> Iterator[Cause]:
    """Defaults switch on what a feature needs, unless it was switched off; a template has no defaults yet."""
    features = scope.spec.domain.features
    if features is None or features.hyperv is None:
        return
    field = scope.at("domain.features.hyperv")
    for feature, needed in HYPERV_NEEDS:
        if _on(features.hyperv, feature) and _off(features.hyperv, needed):
            text = f"'{field}.{feature}' requires '{field}.{needed}', which was disabled."
            yield invalid(f"{field}.{feature}", text)
    spinlocks = features.hyperv.spinlocks
    if spinlocks is not None and (spinlocks.spinlocks or 0) < 0:
        retries = f"{field}.spinlocks.spinlocks"
        yield invalid(retries, f"{retries} '{spinlocks.spinlocks}': must be greater than or equal to 0.")
    if features.hyperv_passthrough is not None:
        yield invalid(
            field,
            "Cannot explicitly set hyperV features if HypervPassthrough is being used. "
            "Please use either HyperV or HypervPassthrough.",
        )


def _on(hyperv: FeatureHyperv, name: str) -> bool:
    state = getattr(hyperv, name)
    return state is not None and state.enabled is not False


def _off(hyperv: FeatureHyperv, name: str) -> bool:
    state = getattr(hyperv, name)
    return state is not None and state.enabled is False


def inputs(scope: Scope) -> Iterator[Cause]:
    for index, item in enumerate(scope.spec.domain.devices.inputs):
        field = scope.at(f"domain.devices.inputs[{index}]")
        if item.bus and item.bus not in {"virtio", "usb"}:
            yield invalid(f"{field}.bus", "Input device can have only virtio or usb bus.")
        if item.type and item.type != "tablet":
            yield invalid(f"{field}.type", "Input device can have only tablet type.")


def watchdog(scope: Scope) -> Iterator[Cause]:
    dog = scope.spec.domain.devices.watchdog
    if dog is None:
        return
    field = scope.at("domain.devices.watchdog")
    arch = scope.spec.architecture or scope.settings.architecture
    if arch == "arm64":
        yield unsupported(field, "Arm64 not support Watchdog device")
    elif arch == "amd64" and dog.diag288 is not None:
        yield unsupported(field, "amd64 only supports I6300ESB watchdog device")
    elif arch == "s390x" and dog.i6300esb is not None:
        yield unsupported(field, "s390x only supports Diag288 watchdog device")
    for name, model in (("i6300esb", dog.i6300esb), ("diag288", dog.diag288)):
        if model is not None and model.action and model.action not in WATCHDOG_ACTIONS:
            listed = ", ".join(sorted(WATCHDOG_ACTIONS))
            action = f"{field}.{name}.action"
            yield unsupported(action, f"{action} has invalid value '{shown(model.action)}', use one of {listed}")


def sound_video_panic(scope: Scope) -> Iterator[Cause]:
    devices = scope.spec.domain.devices
    arch = scope.spec.architecture or scope.settings.architecture
    if devices.sound is not None:
        field = scope.at("domain.devices.sound")
        if devices.sound.model not in (None, "", "ich9", "ac97"):
            yield invalid(field, "Sound device type is not supported. Options: 'ich9' or 'ac97'")
        if not devices.sound.name:
            yield required(field, "Sound device requires a name field.")
    if devices.video is not None:
        field = scope.at("domain.devices.video")
        if devices.autoattach_graphics_device is False:
            message = "Video configuration is not allowed when autoattachGraphicsDevice is set to false"
            yield invalid(field, message)
        elif arch in VIDEO_MODELS and (devices.video.type or "") not in VIDEO_MODELS[arch]:
            message = f"video model '{shown(devices.video.type or '')}' is not supported on {arch} architecture"
            yield unsupported(f"{field}.type", message)
    if devices.panic_devices and arch == "s390x":
        message = f"custom panic devices are not supported on {arch} architecture"
        yield invalid(scope.at("domain.devices.panicDevices"), message)
    for index, panic in enumerate(devices.panic_devices):
        field = scope.at(f"domain.devices.panicDevices[{index}].model")
        if panic.model is not None and panic.model not in PANIC_MODELS:
            yield invalid(field, f"invalid PanicDeviceModel({shown(panic.model)})")


def gated(scope: Scope) -> Iterator[Cause]:
    devices, enabled = scope.spec.domain.devices, scope.settings.enabled
    if devices.host_devices and not enabled("HostDevices"):
        field = scope.at("domain.devices.hostDevices")
        yield invalid(field, "Host Devices feature gate is not enabled in kubevirt-config")
    if devices.autoattach_vsock and not enabled("VSOCK"):
        field = scope.at("domain.devices.autoattachVSOCK")
        yield invalid(field, "VSOCK feature gate is not enabled in kubevirt-config")
    if devices.downward_metrics is not None and not enabled("DownwardMetrics"):
        field = scope.at("domain.devices.downwardMetrics")
        message = "downwardMetrics virtio serial is not allowed: DownwardMetrics feature gate is not enabled"
        yield invalid(field, message)
    if scope.spec.domain.reboot_policy is not None and not enabled("RebootPolicy"):
        field = scope.at("domain.rebootPolicy")
        yield invalid(field, "RebootPolicy is specified but the RebootPolicy feature gate is not enabled")


def reserved_overhead(scope: Scope) -> Iterator[Cause]:
    memory = scope.spec.domain.memory
    if memory is not None and memory.reserved_overhead is not None and not scope.settings.enabled("ReservedOverhead"):
        field = scope.at("domain.memory.reservedOverhead")
        yield invalid(field, "Reserved overhead memlock feature gate is not enabled in kubevirt-config")


def displays(scope: Scope) -> Iterator[Cause]:
    """Of the virtual GPUs one can have the boot display."""
    framed = 0
    for gpu in scope.spec.domain.devices.gpus:
        display = gpu.virtual_gpu_options.display if gpu.virtual_gpu_options else None
        if display is not None and display.enabled is not False:
            framed += display.ram_fb is None or display.ram_fb.enabled is not False
    if framed > 1:
        yield invalid(scope.at("domain.devices.gpus"), "configuring multiple displays with ramfb is not valid")


def arm(scope: Scope) -> Iterator[Cause]:
    domain = scope.spec.domain
    if scope.spec.architecture != "arm64":
        return
    loader = domain.firmware.bootloader if domain.firmware else None
    if loader is not None and loader.bios is not None:
        field = scope.at("domain.firmware.bootloader.bios")
        yield invalid(field, "Arm64 does not support bios boot, please change to uefi boot")
    if domain.cpu is not None and domain.cpu.model not in (None, "", "host-passthrough"):
        field = scope.at("domain.cpu.model")
        yield invalid(field, "currently, host-passthrough is the only model supported on Arm64")
    for index, disk in enumerate(domain.devices.disks):
        for kind, target in (("disk", disk.disk), ("cdrom", disk.cdrom), ("lun", disk.lun)):
            if target is not None and target.bus not in (None, "", "virtio", "scsi"):
                field = scope.at(f"domain.devices.disks[{index}].{kind}.bus")
                yield invalid(field, "Arm64 not support this disk bus type, please use virtio or scsi")
    if domain.devices.sound is not None:
        yield invalid(scope.at("domain.devices.sound"), "Arm64 not support sound device")


RULES: tuple[Rule, ...] = (
    names,
    strategies,
    architecture,
    clock,
    hyperv,
    inputs,
    watchdog,
    sound_video_panic,
    gated,
    reserved_overhead,
    displays,
    arm,
)
