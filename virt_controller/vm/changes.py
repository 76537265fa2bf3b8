"""What changed in a VM since its guest was started: what the guest can take at once, and what waits for a restart.

The start revision holds the spec the guest was made from (spec 2.9). A field that a running guest can't take is named
by its path, so that nobody has to compare manifests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from virt_controller.vm.plugged import takes_memory, waiting
from virt_types.codec import to_builtins
from virt_types.defaults import memory_alignment
from virt_types.quantity import QuantityError, to_bytes
from virt_types.v1 import VirtualMachineInstanceSpec, VirtualMachineSpec

# Fields of the VMI that only placement reads: a running guest takes them at once.
LIVE_FIELDS = ("node_selector", "affinity", "tolerations")
_LIVE_KEYS = frozenset({"nodeSelector", "affinity", "tolerations"})
TEMPLATE = "spec.template.spec"
SOCKETS = f"{TEMPLATE}.domain.cpu.sockets"
GUEST_MEMORY = f"{TEMPLATE}.domain.memory.guest"
MATCHERS = ("instancetype", "preference")
SHOWN_FIELDS = 5

UNKNOWN = "spec was changed before it was stored what the guest was started from"
OTHER = "a non-live-updatable field was changed in the template spec"
MORE_SOCKETS = "CPU sockets updated in template spec to a value higher than what's available"
FEWER_SOCKETS = "Reduction of CPU socket count requires a restart"
MORE_MEMORY = "memory updated in template spec. Memory-hotplug is not available for this VM configuration"
TOO_MUCH_MEMORY = "memory updated in template spec to a value higher than what's available"
ODD_MEMORY = "memory hotplug not supported, Guest memory must be {block}Mi aligned"
MEMORY_FAILED = "memory updated in template spec. Memory-hotplug failed and is not available for this VM configuration"
LESS_MEMORY = "memory updated in template spec to a value lower than what the VM started with"


class Changes(NamedTuple):
    """`restart` says why the guest has to be restarted, empty when it need not; `live` what it can take now."""

    restart: str = ""
    live: tuple[str, ...] = ()
    same_template: bool = False


def changes(
    started: VirtualMachineSpec,
    now: VirtualMachineSpec,
    running: VirtualMachineInstanceSpec,
    *,
    memory_failed: bool = False,
) -> Changes:
    """What differs between the spec the guest was started from and the present one.

    `memory_failed`: the node could not give the guest the memory its instance asks for.
    """
    paths = {*_restart_paths(started, now)}
    paths |= {f"{TEMPLATE}.volumes[name={name}]" for name in waiting(now.template.spec, running)}
    if _plugs_sockets(started, now, running):
        paths.discard(SOCKETS)
    if _has_too_many_sockets(now, running):
        paths.add(SOCKETS)
    if takes_memory(_guest_memory(now), _guest_memory(started), running.domain.memory):
        paths.discard(GUEST_MEMORY)
    if memory_failed:
        paths.add(GUEST_MEMORY)
    why_memory = MEMORY_FAILED if memory_failed else _why_memory(started, now, running)
    return Changes(
        restart=_explain(sorted(paths, key=_path_order), started, now, why_memory) if paths else "",
        live=tuple(field for field in LIVE_FIELDS if _is_stale(field, now, running)),
        same_template=not paths and to_builtins(started.template) == to_builtins(now.template),
    )


def _is_stale(field: str, now: VirtualMachineSpec, running: VirtualMachineInstanceSpec) -> bool:
    wanted, current = getattr(now.template.spec, field), getattr(running, field)
    if not wanted and now.instancetype is not None:
        return False  # the instancetype may have given it
    return bool(wanted or current) and wanted != current


def _restart_paths(started: VirtualMachineSpec, now: VirtualMachineSpec) -> Iterator[str]:
    yield from _differences(_comparable(started), _comparable(now), TEMPLATE)
    for name in MATCHERS:
        yield from _differences(_matcher(started, name), _matcher(now, name), f"spec.{name}")


def _comparable(spec: VirtualMachineSpec) -> dict[str, Any]:
    """The template's spec without what is live, and with the defaults of a CPU's topology said."""
    plain = {key: value for key, value in to_builtins(spec.template.spec).items() if key not in _LIVE_KEYS}
    hot = {volume["name"] for volume in plain.get("volumes", []) if _is_hotpluggable(volume)}
    domain = dict(plain.get("domain", {}))
    domain["cpu"] = {"sockets": 1, "cores": 1, "threads": 1, **domain.get("cpu", {})}
    if hot:
        plain["volumes"] = [each for each in plain["volumes"] if each["name"] not in hot]
        devices = dict(domain.get("devices", {}))
        devices["disks"] = [each for each in devices.get("disks", []) if each["name"] not in hot]
        domain["devices"] = devices
    return {**plain, "domain": domain}


def _is_hotpluggable(volume: dict[str, Any]) -> bool:
    return any(isinstance(source, dict) and source.get("hotpluggable") for source in volume.values())


def _matcher(spec: VirtualMachineSpec, name: str) -> dict[str, Any]:
    """An instancetype's or preference's name; the revision it stands for is stored by the controller."""
    found = getattr(spec, name)
    return {key: value for key, value in to_builtins(found).items() if key != "revisionName"} if found else {}


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """The paths of the deepest fields that differ."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(
                old.get(key, _empty_like(new, key)), new.get(key, _empty_like(old, key)), f"{path}.{key}"
            )
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _differences(left, right, f"{path}[{number}]")
    elif isinstance(old, list) and isinstance(new, list):
        yield from (f"{path}[{number}]" for number in _changed_elements(old, new))
    else:
        yield path


def _empty_like(other: dict[str, Any], key: str) -> Any:
    """An absent map or list is as good as an empty one, so that the deeper path is named."""
    there = other.get(key)
    return type(there)() if isinstance(there, dict | list) and there else None


def _changed_elements(old: list[Any], new: list[Any]) -> list[int]:
    """Places of the elements only one of the lists has: in the new list, or, for those that are gone, in the old."""
    added = [number for number, each in enumerate(new) if each not in old]
    return added or [number for number, each in enumerate(old) if each not in new] or [0]


def _path_order(path: str) -> tuple[int, str]:
    return (path in (SOCKETS, GUEST_MEMORY), path)


def _explain(paths: list[str], started: VirtualMachineSpec, now: VirtualMachineSpec, why_memory: str) -> str:
    shown = ", ".join(paths[:SHOWN_FIELDS])
    more = f" and {len(paths) - SHOWN_FIELDS} more" if len(paths) > SHOWN_FIELDS else ""
    if paths[0] == SOCKETS:
        why = MORE_SOCKETS if _sockets(now) > _sockets(started) else FEWER_SOCKETS
    else:
        why = why_memory if paths[0] == GUEST_MEMORY else OTHER
    return f"{why}: {shown}{more}"


def _why_memory(started: VirtualMachineSpec, now: VirtualMachineSpec, running: VirtualMachineInstanceSpec) -> str:
    memory, wanted = running.domain.memory, _guest_memory(now)
    if memory is None or memory.max_guest is None:
        return MORE_MEMORY if wanted > _guest_memory(started) else LESS_MEMORY
    if wanted % memory_alignment(memory):
        return ODD_MEMORY.format(block=memory_alignment(memory) >> 20)
    return LESS_MEMORY if wanted < _guest_memory(started) else TOO_MUCH_MEMORY


def _sockets(spec: VirtualMachineSpec) -> int:
    cpu = spec.template.spec.domain.cpu
    return (cpu.sockets if cpu is not None else None) or 1


def _plugs_sockets(started: VirtualMachineSpec, now: VirtualMachineSpec, running: VirtualMachineInstanceSpec) -> bool:
    """Whether the guest was made to take the sockets; see `plugged`."""
    cpu = running.domain.cpu
    return _sockets(started) < _sockets(now) <= ((cpu.max_sockets if cpu is not None else None) or 0)


def _has_too_many_sockets(now: VirtualMachineSpec, running: VirtualMachineInstanceSpec) -> bool:
    """Whether sockets that were plugged are no longer wanted: a guest gives none back."""
    wanted, there = now.template.spec.domain.cpu, running.domain.cpu
    asked, had = wanted.sockets if wanted is not None else None, there.sockets if there is not None else None
    return asked is not None and had is not None and asked < had


def _guest_memory(spec: VirtualMachineSpec) -> int:
    memory = spec.template.spec.domain.memory
    try:
        return to_bytes(memory.guest) if memory is not None and memory.guest is not None else 0
    except QuantityError:
        return 0
