"""`virt-handler render`: the domain a manifest would become, without a cluster, a node or libvirt.

Reads VirtualMachine and VirtualMachineInstance manifests (of any version), completes and checks them as admission
would, and renders them with KubeVirt's paths on an assumed node (`virt_handler.domain.preview`).
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from virt_handler.domain import preview, render
from virt_handler.errors import RenderError
from virt_handler.model import Accelerator
from virt_types import codec, crds, labels, legacy, manifest, structural
from virt_types.defaults import default_vmi, disks_for_bare_volumes
from virt_types.errors import Cause, VirtError
from virt_types.settings import DEFAULT, Settings
from virt_types.v1 import Firmware, Input, VirtualMachine, VirtualMachineInstance
from virt_types.validation import validate_vmi

Json = dict[str, Any]

KINDS = ("VirtualMachine", "VirtualMachineInstance")
# What KubeVirt derives the identity of its oldest machines from; here it keeps the output the same every time.
IDENTITY = uuid.UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895")
# Which features a cluster has switched on does not matter to what they look like.
EVERYTHING_ON: Settings = DEFAULT._replace(gates=dict.fromkeys(DEFAULT.gates, True))
SHOWN_CAUSES = 5


class Rendered(NamedTuple):
    """One manifest's domain, or why there is none."""

    name: str
    xml: str
    error: VirtError | None = None


def render_command(
    files: Annotated[
        list[str], typer.Option("--filename", "-f", help="Manifest with VMs or VMIs; - is standard input. Repeatable.")
    ],
    kvm: Annotated[bool, typer.Option("--kvm/--emulation", help="Domain type kvm, or qemu (plain emulation).")] = False,
    output: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Write NAME.xml files there instead of printing.")
    ] = None,
    skip_validation: Annotated[
        bool, typer.Option("--skip-validation", help="Render also what admission would refuse.")
    ] = False,
) -> None:
    """Print the libvirt domain XML of VM and VMI manifests, without touching libvirt."""
    failed = False
    for source in files:
        for result in _results(source, kvm=kvm, validate=not skip_validation):
            failed |= result.error is not None
            _show(result, output)
    if failed:
        raise typer.Exit(1)


def _results(source: str, *, kvm: bool, validate: bool) -> Iterator[Rendered]:
    try:
        yield from render_manifest(_read(source), "stdin" if source == "-" else source, kvm=kvm, validate=validate)
    except VirtError as error:
        yield Rendered("", "", error)


def _show(result: Rendered, folder: Path | None) -> None:
    if result.error is None:
        _write(result, folder)
        return
    typer.echo(f"error: {result.error.message}", err=True)
    if result.error.hint:
        typer.echo(result.error.hint, err=True)


def render_manifest(text: bytes, source: str, *, kvm: bool = False, validate: bool = True) -> Iterator[Rendered]:
    """The domain of each VM and VMI; one that fails stops none. Raises ManifestError for unreadable text."""
    documents = manifest.load(text, source)
    if not documents:
        raise RenderError(f"{source} has no objects", hint=f"give it a {' or '.join(KINDS)}")
    for document in documents:
        where = f"{source}:{document.line}"
        try:
            vmi = instance_of(document.obj, where, validate=validate)
            accelerator: Accelerator = "kvm" if kvm else "qemu"
            yield Rendered(vmi.metadata.name, render(preview(vmi, accelerator=accelerator)))
        except VirtError as error:
            yield Rendered("", "", _at(where, error))


def instance_of(obj: Json, where: str = "", *, validate: bool = True) -> VirtualMachineInstance:
    """The completed and checked VMI of a manifest's object; raises VirtError naming field and value."""
    current, notes = legacy.convert(obj)
    for note in notes:
        typer.echo(f"{where}: {note}", err=True)
    kind = current.get("kind")
    if not str(current.get("apiVersion", "")).startswith(f"{labels.GROUP}/") or kind not in KINDS:
        raise RenderError(
            f"{current.get('apiVersion')} {kind!r} is nothing that becomes a domain", hint=f"use a {' or '.join(KINDS)}"
        )
    _check_schema(current, str(kind))
    vmi = _of_vm(current) if kind == "VirtualMachine" else codec.from_builtins(current, VirtualMachineInstance)
    vmi.metadata.namespace = vmi.metadata.namespace or "default"
    _give_identity(vmi, serial=kind == "VirtualMachine")
    default_vmi(vmi, new_uuid=lambda: _derived(vmi.metadata.name))
    if validate:
        _refuse(validate_vmi(vmi, EVERYTHING_ON))
    return vmi


def _of_vm(obj: Json) -> VirtualMachineInstance:
    """The instance that the VM's controller would make."""
    vm = codec.from_builtins(obj, VirtualMachine)
    if vm.spec.instancetype or vm.spec.preference:
        raise RenderError(
            "spec.instancetype and spec.preference are applied by the cluster, which is not asked here",
            hint="write their values into spec.template.spec.domain",
        )
    template = vm.spec.template
    metadata = template.metadata
    metadata.name, metadata.namespace = vm.metadata.name, vm.metadata.namespace
    disks_for_bare_volumes(template.spec)
    devices = template.spec.domain.devices
    if devices.autoattach_input_device and not devices.inputs:
        devices.inputs.append(Input(name="default-0"))
    return VirtualMachineInstance(metadata=metadata, spec=template.spec)


def _give_identity(vmi: VirtualMachineInstance, *, serial: bool) -> None:
    """A uuid, and for a VM a serial, that stay the same; in a cluster they are drawn once."""
    firmware = vmi.spec.domain.firmware = vmi.spec.domain.firmware or Firmware()
    firmware.uuid = firmware.uuid or _derived(vmi.metadata.name)
    if serial:
        firmware.serial = firmware.serial or _derived(f"{vmi.metadata.name}-serial")


def _derived(name: str) -> str:
    return str(uuid.uuid5(IDENTITY, name))


@cache
def _walkers() -> dict[str, structural.Walker]:
    return {
        definition["spec"]["names"]["kind"]: structural.compile_schema(
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        )
        for definition in crds.custom_resource_definitions()
        if definition["spec"]["names"]["kind"] in KINDS
    }


def _check_schema(obj: Json, kind: str) -> None:
    """Wrong types and unknown fields, in an API server's words; drops nulls and sets the schema's defaults."""
    walked = _walkers()[kind](obj, defaults=True, prune=True)
    _refuse([*walked.causes, *(Cause("FieldUnknown", f'unknown field "{field}"', field) for field in walked.unknown)])
    name = (obj.get("metadata") or {}).get("name")
    if not isinstance(name, str) or not name or "/" in name:
        raise RenderError(f"metadata.name must be a text without slashes, not {name!r}", hint="give the object a name")


def _refuse(causes: list[Cause]) -> None:
    if not causes:
        return
    texts = [it.message if it.field in it.message else f"{it.field}: {it.message}" for it in causes[:SHOWN_CAUSES]]
    more = f"; and {len(causes) - SHOWN_CAUSES} more" if len(causes) > SHOWN_CAUSES else ""
    raise RenderError("; ".join(texts) + more, reason="Invalid")


def _at(where: str, error: VirtError) -> VirtError:
    return VirtError(f"{where}: {error.message}", reason=error.reason, hint=error.hint)


def _read(source: str) -> bytes:
    try:
        if source == "-":
            return sys.stdin.buffer.read(manifest.MAX_BYTES + 1)
        with Path(source).open("rb") as file:
            return file.read(manifest.MAX_BYTES + 1)
    except OSError as error:
        raise RenderError(f"{source}: {(error.strerror or str(error)).lower()}") from None


def _write(result: Rendered, folder: Path | None) -> None:
    if folder is None:
        typer.echo(result.xml, nl=False)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{result.name}.xml").write_text(result.xml, encoding="utf-8")
    except OSError as error:
        raise RenderError(f"{folder}: {(error.strerror or str(error)).lower()}", hint="choose another -o") from None
