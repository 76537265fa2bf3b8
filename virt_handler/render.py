"""`virt-handler render`: the domain a manifest would become, without a cluster, a node or libvirt.

Takes what becomes a guest (`virt_handler.instances`) and renders it with KubeVirt's paths on an assumed node
(`virt_handler.domain.preview`), or on the one a file describes (`virt_handler.node_file`).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from virt_handler import node_file
from virt_handler.domain import obstacles, omissions, preview, render
from virt_handler.domain.preview import NODE
from virt_handler.errors import RenderError
from virt_handler.instances import KINDS, Source, completed, even_if_refused, makes_guests, sources_of
from virt_handler.model import Guest, Host
from virt_types import manifest
from virt_types.errors import VirtError
from virt_types.expansion.offline import Neighbours, is_neighbour
from virt_types.manifest import ManifestError

Files = Annotated[
    list[str], typer.Option("--filename", "-f", help="Manifest with machines; - is standard input. Repeatable.")
]
Kvm = Annotated[bool, typer.Option("--kvm/--emulation", help="Domain type kvm, or qemu (plain emulation).")]
Node = Annotated[
    Path | None, typer.Option("--node", help="Description of the node (YAML or JSON); else one like KubeVirt's.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail on what admission or libvirt would refuse.")]


NO_MACHINE = "these files have sizes, preferences and presets only, and no machine"


class Rendered(NamedTuple):
    """One machine's domain, or why there is none; `notes` are for people, on standard error."""

    name: str
    namespace: str = ""
    xml: str = ""
    notes: tuple[str, ...] = ()
    error: VirtError | None = None


def render_command(
    files: Files,
    kvm: Kvm = False,
    node: Node = None,
    output: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Write NAME.xml files there instead of printing.")
    ] = None,
    strict: Strict = False,
) -> None:
    """Print the libvirt domain XML of machines in manifests, without touching libvirt.

    A VirtualMachineInstanceReplicaSet or VirtualMachinePool gives a domain for each of its replicas. What admission or
    libvirt would refuse is said on standard error.
    """
    failed = False
    written: set[tuple[str, str]] = set()
    for result in _all(files, kvm=kvm, node=node, strict=strict):
        for note in result.notes:
            typer.echo(note, err=True)
        try:
            if result.error is not None:
                raise result.error
            _write(result, output, written)
        except VirtError as error:
            failed = True
            show(error)
    if failed:
        raise typer.Exit(1)


def _all(files: list[str], *, kvm: bool, node: Path | None, strict: bool) -> Iterator[Rendered]:
    try:
        host = host_of(node, kvm=kvm)
    except VirtError as error:
        yield Rendered("", error=error)
        return
    opened = [opened_source(source) for source in files]
    beside = neighbours_of(text for _, text in opened if isinstance(text, bytes))
    made = False
    for name, text in opened:
        try:
            if isinstance(text, VirtError):
                raise text
            for result in render_manifest(text, name, host=host, strict=strict, beside=beside):
                made = True
                yield result
        except VirtError as error:
            made = True
            yield Rendered("", error=error)
    if not made:
        yield Rendered("", error=RenderError(NO_MACHINE, hint=f"give it a {', '.join(KINDS[:-1])} or {KINDS[-1]}"))


def opened_source(source: str) -> tuple[str, bytes | VirtError]:
    """Its name and text, or why it can't be read."""
    try:
        return name_of(source), read(source)
    except VirtError as error:
        return name_of(source), error


def neighbours_of(texts: Iterable[bytes]) -> Neighbours:
    """The instancetypes and preferences of all manifests together; what can't be read is told where it is rendered."""
    objects: list[dict[str, Any]] = []
    for text in texts:
        with contextlib.suppress(ManifestError):
            objects += (document.obj for document in manifest.load(text, ""))
    return Neighbours(objects)


def render_manifest(
    text: bytes, source: str, *, host: Host = NODE, strict: bool = False, beside: Neighbours | None = None
) -> Iterator[Rendered]:
    """The domain of each machine; one that fails stops none. Raises ManifestError for unreadable text."""
    beside = beside or neighbours_of([text])
    objects, passed = objects_of(text, source)
    if passed:
        yield Rendered("", notes=passed)
    for where, obj in objects:
        try:
            machines, notes, refusal = machines_of(obj, beside, strict=strict)
        except VirtError as error:
            yield Rendered("", error=at(where, error))
            continue
        if notes:
            yield Rendered("", notes=tuple(f"{where}: {note}" for note in notes))
        for machine in machines:
            yield _rendered(machine, where, host, refusal, strict=strict)


def machines_of(obj: dict[str, Any], beside: Neighbours, *, strict: bool) -> tuple[list[Source], list[str], str]:
    """The machines of a manifest's object, what is old in it, and what admission has against it; raises VirtError."""
    (machines, old), refusal = even_if_refused(
        lambda validate: sources_of(obj, validate=validate, beside=beside), strict=strict
    )
    return machines, old, refusal


def refused(reason: str) -> tuple[str, ...]:
    """The note on what admission has against a machine, if anything."""
    return (f"admission will refuse this: {reason}",) if reason else ()


def _rendered(machine: Source, where: str, host: Host, refusal: str, *, strict: bool) -> Rendered:
    """`refusal`: what admission has against the object the machine is made of."""
    try:
        (guest, text), reason = even_if_refused(lambda validate: _domain(machine, host, validate), strict=strict)
        against = obstacles(guest)
        if strict and against:
            raise RenderError(f"libvirt will refuse this: {against[0].message}", hint=against[0].hint)
        by_libvirt = (f"libvirt will refuse this: {it.message}" for it in against)
        notes = (*refused(refusal or reason), *omissions(guest), *by_libvirt)
        meta = guest.vmi.metadata
        return Rendered(meta.name, meta.namespace, text, tuple(f"{where}: {note}" for note in notes))
    except VirtError as error:
        return Rendered("", error=at(where, RenderError(refusal) if refusal else error))


def _domain(machine: Source, host: Host, validate: bool) -> tuple[Guest, str]:
    guest = preview(completed(machine, validate=validate), node=host)
    return guest, render(guest)


def objects_of(text: bytes, source: str) -> tuple[list[tuple[str, dict[str, Any]]], tuple[str, ...]]:
    """Each object that makes guests, with its place, and notes on the others.

    Raises ManifestError, and RenderError when there is none, nor anything that machines refer to.
    """
    found, passed, beside = [], [], False
    for document in manifest.load(text, source):
        where, obj = f"{source}:{document.line}", document.obj
        if makes_guests(obj):
            found.append((where, obj))
        elif is_neighbour(obj):
            beside = True
        else:
            passed.append(f"{where}: {obj.get('apiVersion')} {obj.get('kind')!r} makes no guest: passed over")
    if not found and not beside:
        what = f"{source} has nothing that becomes a domain" + (f" ({passed[0]})" if passed else "")
        raise RenderError(what, hint=f"give it a {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    return found, tuple(passed)


def host_of(node: Path | None, *, kvm: bool) -> Host:
    """The node to render for; raises RenderError."""
    host = node_file.read(node, NODE) if node is not None else NODE
    return host._replace(accelerator="kvm" if kvm else "qemu")


def name_of(source: str) -> str:
    return "stdin" if source == "-" else source


def read(source: str) -> bytes:
    """A manifest's bytes, or standard input's; raises RenderError."""
    try:
        if source == "-":
            return sys.stdin.buffer.read(manifest.MAX_BYTES + 1)
        with Path(source).open("rb") as file:
            return file.read(manifest.MAX_BYTES + 1)
    except OSError as error:
        raise RenderError(f"{source}: {(error.strerror or str(error)).lower()}") from None


def at(where: str, error: VirtError) -> VirtError:
    """The error with its place before it."""
    return VirtError(f"{where}: {error.message}", reason=error.reason, hint=error.hint)


def show(error: VirtError) -> None:
    typer.echo(f"error: {error.message}", err=True)
    if error.hint:
        typer.echo(error.hint, err=True)


def _write(result: Rendered, folder: Path | None, written: set[tuple[str, str]]) -> None:
    """Print the domain, or write it to a file of its own; two of one name are told apart by their namespace."""
    if folder is None or not result.xml:
        typer.echo(result.xml, nl=False)
        return
    if (result.namespace, result.name) in written:
        raise RenderError(f"{result.namespace}/{result.name} is there twice", hint="render the files one by one")
    taken = any(name == result.name for _, name in written)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = f"{result.namespace}_{result.name}.xml" if taken else f"{result.name}.xml"
        (folder / file).write_text(result.xml, encoding="utf-8")
    except OSError as error:
        raise RenderError(f"{folder}: {(error.strerror or str(error)).lower()}", hint="choose another -o") from None
    written.add((result.namespace, result.name))
