"""Where each element of a domain comes from, found by asking: what changes when this field is another one?

Nothing here knows a rule of `virt_handler.domain`, so nothing here can be out of date: every field of the manifest,
every default and everything the node says is varied once, the domain is made again, and what differs came from there.
Called by `virt-handler explain-domain`.
"""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ET  # only ever parses what render made
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from types import UnionType
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from virt_handler.domain import preview, render
from virt_handler.instances import Source, completed
from virt_handler.model import DiskSource, Guest, Host
from virt_types import codec
from virt_types.errors import VirtError
from virt_types.v1 import VirtualMachineInstance

Kind = Literal["manifest", "default", "node", "unset"]
Path = tuple[str | int, ...]
Json = dict[str, Any]
Change = Callable[[], Json]
Make = Callable[[], Guest]

# A name nobody gives, so that what is called by it is found again.
OTHER_NAME = "zq7renamed"
# Values that differ in effect, for fields where any text will not do.
OTHERS: dict[str, tuple[str, ...]] = {
    "bus": ("virtio", "sata", "scsi", "usb"),
    "cache": ("none", "writeback", "writethrough"),
    "ioThreadsPolicy": ("shared", "auto"),
    "model": ("e1000e", "ac97"),
    "rebootPolicy": ("Reboot", "Terminate"),
    "startStrategy": ("Paused",),
}
# The attribute that tells an element from its like, where it is not `id`.
KEYS = {"controller": "type", "feature": "name", "timer": "name", "entry": "name"}
NUMBER = re.compile(r"\d+")


class Item(NamedTuple):
    """An element (`attribute` empty), its text (`#`) or one of its attributes."""

    element: str
    attribute: str


class Origin(NamedTuple):
    """A field of the manifest, a default and its value, something of the node, or a field that is not set."""

    kind: Kind
    text: str


Origins = dict[Item, tuple[str, tuple[Origin, ...]]]


class Explained(NamedTuple):
    """A domain; for every item of it its value, and what it came from. No origin: it is always there."""

    name: str
    xml: str
    origins: Origins


class _Variation(NamedTuple):
    """Guests that differ from the real one in one thing, the most telling first."""

    origin: Origin
    guests: list[Make]


def explain(source: Source, host: Host, validate: bool = True) -> Explained:
    """The domain of a machine and the origin of each of its items; raises VirtError where it can't be rendered."""
    vmi = completed(source, validate=validate)
    guest = preview(vmi, node=host)
    text = render(guest)
    real = items_of(text)
    origins: dict[Item, list[Origin]] = {item: [] for item in real}
    for variation in (*_of_manifest(source, host), *_of_defaults(source, vmi, host), *_of_node(guest)):
        for item in _changed(real, variation.guests):
            origins[item].append(variation.origin)
    for variation in (*_of_wholes(source, host), *_of_unset(source, vmi, host)):
        for item in _changed(real, variation.guests):
            if not origins[item]:  # the narrowest comes first
                origins[item].append(variation.origin)
    found = {item: (value, _telling(origins[item])) for item, value in real.items()}
    return Explained(vmi.metadata.name, text, found)


def _telling(found: list[Origin]) -> tuple[Origin, ...]:
    """A default that a field of the manifest overrules, or that follows from one, says nothing more."""
    said = any(origin.kind == "manifest" for origin in found)
    return tuple(origin for origin in found if not (said and origin.kind == "default"))


def _changed(real: dict[Item, str], guests: list[Make]) -> set[Item]:
    """What is different in the first of the guests that can be rendered and differs."""
    for make in guests:
        try:
            other = items_of(render(make()))
        except VirtError:
            continue
        if changed := {item for item, value in real.items() if other.get(item) != value}:
            return changed
    return set()


# Reading a domain.


def items_of(text: str) -> dict[Item, str]:
    """Every element, attribute and text of a domain, by a path that stays when its neighbours go."""
    found: dict[Item, str] = {}
    _read(ET.fromstring(text), "", found)  # noqa: S314 - our own text
    return found


def _read(node: ET.Element, path: str, found: dict[Item, str]) -> None:
    found[Item(path, "")] = node.tag
    if node.text and node.text.strip():
        found[Item(path, "#")] = node.text
    for name, value in node.attrib.items():
        found[Item(path, name)] = value
    seen: Counter[str] = Counter()
    for child in node:
        step = _step(child)
        seen[step] += 1
        nth = f"({seen[step]})" if seen[step] > 1 else ""
        _read(child, f"{path}/{step}{nth}", found)


def _step(node: ET.Element) -> str:
    """The tag, with what tells it from its like."""
    tag = node.tag.rpartition("}")[2]
    alias, target = node.find("alias"), node.find("target")
    if alias is not None:
        key: str | None = alias.get("name", "").removeprefix("ua-").replace(OTHER_NAME, "")
    elif tag == "channel" and target is not None:
        key = target.get("name")
    else:
        key = node.get(KEYS.get(tag, "id"))
    return f"{tag}[{key}]" if key else tag


# Varying what it was made from.


def _of_manifest(source: Source, host: Host) -> Iterator[_Variation]:
    for path, value in _leaves({key: source.obj[key] for key in ("metadata", "spec") if key in source.obj}):
        origin = Origin("manifest", _in_manifest(source, path))
        yield _Variation(origin, [_guest_of_obj(source, make, host) for make in _others(source.obj, path, value)])


def _of_wholes(source: Source, host: Host) -> Iterator[_Variation]:
    """Objects with all that is in them, the inner ones first: why an element is there at all."""
    root: Path = (*_inside(source), "spec")
    inner = (path for path in _wholes(source.obj, ()) if path[: len(root)] == root and len(path) > len(root))
    for path in sorted(inner, key=len, reverse=True):
        makes: list[Make] = [_guest_of_obj(source, partial(_without, source.obj, path), host)]
        if isinstance(path[-1], int) and (name := _at(source.obj, path).get("name")):
            makes.append(_guest_of_obj(source, partial(_dropped, source.obj, name), host))
        yield _Variation(Origin("manifest", _in_manifest(source, path)), makes)


def _guest_of_obj(source: Source, make: Change, host: Host) -> Make:
    return lambda: preview(completed(source._replace(obj=make()), validate=False), node=host)


def _of_defaults(source: Source, vmi: VirtualMachineInstance, host: Host) -> Iterator[_Variation]:
    """What admission added: in the completed instance, and not in the manifest."""
    inside = _inside(source)
    given = {_tail(path, inside) for path, _ in _leaves(source.obj)}
    whole = codec.to_builtins(vmi)
    for path, value in _leaves({key: whole[key] for key in ("metadata", "spec") if key in whole}):
        if path in given:
            continue
        origin = Origin("default", f"{_in_manifest(source, (*inside, *path))}: {_shown(value)}")
        yield _Variation(origin, [_guest_of_vmi(make, host) for make in _others(whole, path, value)])


def _guest_of_vmi(make: Change, host: Host) -> Make:
    return lambda: preview(codec.from_builtins(make(), VirtualMachineInstance), node=host)


def _of_node(guest: Guest) -> Iterator[_Variation]:
    for what, other in _other_nodes(guest):
        yield _Variation(Origin("node", what), [partial(_same, other)])


def _same(guest: Guest) -> Guest:
    return guest


def _other_nodes(guest: Guest) -> Iterator[tuple[str, Guest]]:
    host, files = guest.host, guest.files
    yield "accelerator", guest._replace(host=host._replace(accelerator="kvm" if host.accelerator == "qemu" else "qemu"))
    yield "emulator", guest._replace(host=host._replace(emulator=f"{host.emulator}x"))
    yield "firmware directory", guest._replace(host=host._replace(firmware_dir=f"{host.firmware_dir}x"))
    yield "firmware files", guest._replace(host=host._replace(firmware_files=frozenset()))
    yield "libvirt's version", guest._replace(host=host._replace(libvirt_version=0))
    yield "NUMA cells", guest._replace(host=host._replace(cells=host.cells[::-1]))
    yield "processors", guest._replace(cpuset=guest.cpuset[::-1])
    for name in files._fields:
        moved = files._replace(**{name: f"{getattr(files, name)}x"})
        yield name.replace("_", " "), guest._replace(files=moved)
    for name, disk in guest.disks.items():
        yield f"volume {name}", guest._replace(disks={**guest.disks, name: _other_disk(disk)})
    for name, nic in guest.nics.items():
        other = nic._replace(kind="network" if nic.kind != "network" else "bridge", source="x", target="x")
        yield f"network of interface {name}", guest._replace(nics={**guest.nics, name: other})
    for name, devices in guest.host_devices.items():
        swapped = tuple(device._replace(address=device.address[:-1] + "7") for device in devices)
        yield f"device {name}", guest._replace(host_devices={**guest.host_devices, name: swapped})


def _other_disk(disk: DiskSource) -> DiskSource:
    return disk._replace(
        path=f"{disk.path}x",
        format="raw" if disk.format == "qcow2" else "qcow2",
        block=not disk.block,
        discard=not disk.discard,
        direct_io=None,
        backing=_other_disk(disk.backing) if disk.backing else None,
    )


def _of_unset(source: Source, vmi: VirtualMachineInstance, host: Host) -> Iterator[_Variation]:
    """Switches nobody set: one that would change an element says how to be rid of it."""
    whole = codec.to_builtins(vmi)
    inside = _inside(source)
    for path in _unset_switches(vmi.spec.domain, ("spec", "domain")):
        makes = [_guest_of_vmi(partial(_with, whole, path, value), host) for value in (False, True)]
        yield _Variation(Origin("unset", _in_manifest(source, (*inside, *path))), makes)


def _unset_switches(struct: msgspec.Struct, path: Path) -> Iterator[Path]:
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        here = (*path, field.encode_name)
        if value is None and isinstance(field.type, UnionType) and bool in get_args(field.type):
            yield here
        elif isinstance(value, msgspec.Struct):
            yield from _unset_switches(value, here)
        elif isinstance(value, list):
            for number, child in enumerate(value):
                if isinstance(child, msgspec.Struct):
                    yield from _unset_switches(child, (*here, number))


# Objects as plain data.


def _leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that holds no other; an empty object is one too."""
    if isinstance(node, dict) and node:
        for key, child in node.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(node, list) and node:
        for number, child in enumerate(node):
            yield from _leaves(child, (*path, number))
    else:
        yield path, node


def _wholes(node: Any, path: Path) -> Iterator[Path]:
    """Every object that holds something and is not about the whole domain."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        if isinstance(child, dict) and child and key not in ("domain", "devices"):
            yield (*path, key)
        yield from _wholes(child, (*path, key))


def _others(obj: Json, path: Path, value: Any) -> Iterator[Change]:
    """The object without the value, and with others in its place; a name is changed wherever it is used."""
    if path[-1] == "name" and isinstance(value, str):
        yield partial(_renamed, obj, value)
        return
    yield partial(_without, obj, path)
    for other in _other_values(path[-1], value):
        yield partial(_with, obj, path, other)


def _other_values(key: str | int, value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value * 2]
    if isinstance(value, str):
        doubled = NUMBER.sub(lambda found: str(2 * int(found[0])), value, count=1)
        return [*(it for it in OTHERS.get(str(key), ()) if it != value), doubled, f"{value}x"]
    return []


def _renamed(node: Any, name: str) -> Any:
    if isinstance(node, dict):
        return {
            key: f"{name}{OTHER_NAME}" if key == "name" and child == name else _renamed(child, name)
            for key, child in node.items()
        }
    return [_renamed(child, name) for child in node] if isinstance(node, list) else node


def _dropped(node: Any, name: str) -> Any:
    """Without the members of lists that have this name: a disk goes with its volume."""
    if isinstance(node, dict):
        return {key: _dropped(child, name) for key, child in node.items()}
    if not isinstance(node, list):
        return node
    return [_dropped(child, name) for child in node if not (isinstance(child, dict) and child.get("name") == name)]


def _with(obj: Json, path: Path, value: Any) -> Json:
    changed = copy.deepcopy(obj)
    _at(changed, path[:-1])[path[-1]] = value
    return changed


def _without(obj: Json, path: Path) -> Json:
    changed = copy.deepcopy(obj)
    del _at(changed, path[:-1])[path[-1]]
    return changed


def _at(node: Any, path: Path) -> Any:
    for step in path:
        node = node[step]
    return node


# Paths as people write them.


def _inside(source: Source) -> Path:
    """Where the object holds the instance."""
    return ("spec", "template") if source.obj["kind"] == "VirtualMachine" else ()


def _tail(path: Path, inside: Path) -> Path:
    return path[len(inside) :] if path[: len(inside)] == inside else path


def _in_manifest(source: Source, path: Path) -> str:
    """The field's path in the user's own object, after the name of another object that it comes from."""
    inside = _inside(source)
    lent = {who for leaf, who in source.lent.items() if leaf[: len(path)] == path}
    lender = f"{lent.pop()}: " if len(lent) == 1 and not _says(source, path) else ""
    if path[: len(inside)] != inside:
        return lender + _text(path)
    rest = path[len(inside) :]
    return lender + (source.prefix if inside or rest[0] == "spec" else "") + _text(rest)


def _says(source: Source, path: Path) -> bool:
    """Whether the manifest itself has anything there."""
    return any(leaf[: len(path)] == path and leaf not in source.lent for leaf, _ in _leaves(source.obj))


def _text(path: Path) -> str:
    parts = (
        f"[{step}]" if isinstance(step, int) else f'["{step}"]' if "/" in step or "." in step else f".{step}"
        for step in path
    )
    return "".join(parts).removeprefix(".")


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) if value not in ({}, []) else "{}"
