"""`virt-handler explain-domain`: a domain section by section, beside each line the field or default it came from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby

import typer

from virt_handler.instances import even_if_refused
from virt_handler.model import Host
from virt_handler.provenance import Explained, Item, Origin, Origins, explain
from virt_handler.render import (
    Files,
    Kvm,
    Node,
    Strict,
    at,
    host_of,
    machines_of,
    neighbours_of,
    objects_of,
    opened_source,
    refused,
    show,
)
from virt_types.errors import VirtError
from virt_types.expansion.offline import Neighbours

WORDS = {"manifest": "{}", "default": "default of {}", "node": "this node: {}", "unset": "default while {} is not set"}
ALWAYS = "always"
WIDEST = 60


def explain_command(files: Files, kvm: Kvm = False, node: Node = None, strict: Strict = False) -> None:
    """Print which field of a manifest, or which default, every element of its domain came from.

    Of a VirtualMachineInstanceReplicaSet or VirtualMachinePool the first replica is shown; the others are like it.
    """
    failed = False
    opened = [opened_source(source) for source in files]
    beside = neighbours_of(text for _, text in opened if isinstance(text, bytes))
    for name, text in opened:
        try:
            if isinstance(text, VirtError):
                raise text
            host = host_of(node, kvm=kvm)
            objects, passed = objects_of(text, name)
            for note in passed:
                typer.echo(note, err=True)
            for where, obj in objects:
                failed |= not _explained(where, obj, host, beside, strict=strict)
        except VirtError as error:
            failed = True
            show(error)
    if failed:
        raise typer.Exit(1)


def _explained(where: str, obj: dict[str, object], host: Host, beside: Neighbours, *, strict: bool) -> bool:
    try:
        machines, notes, refusal = machines_of(obj, beside, strict=strict)
        for note in notes:
            typer.echo(f"{where}: {note}", err=True)
        for machine in machines[:1]:
            explained, reason = even_if_refused(partial(explain, machine, host), strict=strict)
            for note in refused(refusal or reason):
                typer.echo(f"{where}: {note}", err=True)
            for line in lines_of(explained):
                typer.echo(line)
    except VirtError as error:
        show(at(where, error))
        return False
    return True


def lines_of(explained: Explained) -> Iterator[str]:
    """The domain of one machine as text."""
    yield f"# {explained.name}"
    for section, items in groupby(explained.origins.items(), key=lambda entry: section_of(entry[0].element)):
        yield f"\n{section}"
        rows = [(_left(found), _right(origins)) for found, origins in _rows(dict(items))]
        width = min(WIDEST, max(len(left) for left, _ in rows))
        yield from (f"  {left:{width}}  {right}" for left, right in rows)


def section_of(element: str) -> str:
    """`cpu` of /cpu/topology, `disk[root]` of /devices/disk[root]/target, `domain` of the root."""
    steps = element.split("/")[1:]
    if steps[:1] == ["devices"] and len(steps) > 1:
        return steps[1]
    return steps[0] if steps else "domain"


def _rows(items: Origins) -> Iterator[tuple[list[tuple[Item, str]], tuple[Origin, ...]]]:
    """Items of one element that have the same origins, together; a tag that is always there needs no line."""
    for _, entries in groupby(items.items(), key=lambda entry: entry[0].element):
        groups: dict[tuple[Origin, ...], list[tuple[Item, str]]] = {}
        for item, (value, origins) in entries:
            groups.setdefault(origins, []).append((item, value))
        for origins, found in groups.items():
            if origins or len(groups) == 1 or any(item.attribute for item, _ in found):
                yield found, origins


def _left(found: list[tuple[Item, str]]) -> str:
    """The element with the attributes and text that belong together, e.g. `driver/iothreads`."""
    steps = found[0][0].element.split("/")[1:]
    below = steps[2:] if steps[:1] == ["devices"] else steps[1:]
    path = "/".join(below) or (steps[-1].partition("[")[0] if steps else "domain")
    words = [f'{item.attribute}="{value}"' for item, value in found if item.attribute not in ("", "#")]
    words += [value for item, value in found if item.attribute == "#"]
    return " ".join([f"<{path}>", *words])


def _right(origins: tuple[Origin, ...]) -> str:
    return ", ".join(WORDS[origin.kind].format(origin.text) for origin in origins) or ALWAYS
