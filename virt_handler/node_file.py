"""A node described in a file, for `virt-handler render --node`: what a machine we can't ask is like.

JSON or YAML. `numa_cells` has the form in which KubeVirt's virt-handler hands a node's topology to its launcher; the
other keys are those of `virt_handler.model.Host`, versions as people write them:

    name: node7
    libvirt_version: 10.0.0
    cpu_modes: [host-model, host-passthrough, custom]
    numa_cells: [{id: 0, cpus: [{id: 0, siblings: [0, 16]}], distances: [{id: 0, value: 10}]}]
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from virt_handler.errors import RenderError
from virt_handler.model import Host, NumaCell

MAX_BYTES = 1 << 20


class Sibling(msgspec.Struct):
    """A processor and the threads of its core, itself included."""

    id: int = 0
    siblings: list[int] = []


class Distance(msgspec.Struct):
    value: int
    id: int = 0


class Cell(msgspec.Struct):
    """Memory and pages of a cell may be there too; a domain does not depend on them."""

    id: int = 0
    cpus: list[Sibling] = []
    distances: list[Distance] = []


class NodeFile(msgspec.Struct, forbid_unknown_fields=True):
    """Every key may be left out: then the node is the one assumed otherwise."""

    name: str | None = None
    emulator: str | None = None
    libvirt_version: str | None = None
    qemu_version: str | None = None
    machines: frozenset[str] | None = None
    firmware_dir: str | None = None
    firmware_files: frozenset[str] | None = None
    cpu_modes: frozenset[str] | None = None
    numa_cells: list[Cell] | None = None


def read(path: Path, assumed: Host) -> Host:
    """The assumed node with what the file says; raises RenderError naming file and key."""
    try:
        with path.open("rb") as file:
            content = yaml.safe_load(file.read(MAX_BYTES))
        given = msgspec.convert(content, NodeFile)
        changes = {name: value for name in Host._fields if (value := getattr(given, name, None)) is not None}
        for name in ("libvirt_version", "qemu_version"):
            if name in changes:
                changes[name] = _encoded(changes[name], name)
    except OSError as error:
        raise RenderError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RenderError(f"{path} is neither YAML nor JSON: {str(error).partition(chr(10))[0]}") from None
    except (msgspec.ValidationError, ValueError) as error:
        raise RenderError(
            f"{path} is no description of a node: {error}", hint=f"keys are {', '.join(NodeFile.__struct_fields__)}"
        ) from None
    if given.numa_cells is not None:
        changes["cells"] = tuple(_cell(cell) for cell in given.numa_cells)
    return assumed._replace(**changes)


def _cell(cell: Cell) -> NumaCell:
    cores = dict.fromkeys(tuple(sorted(cpu.siblings or [cpu.id])) for cpu in cell.cpus)
    return NumaCell(cell.id, tuple(cores), tuple((it.id, it.value) for it in cell.distances))


def _encoded(version: str, name: str) -> int:
    """`9.0.0` as libvirt writes it, 9000000."""
    parts = [*version.split("."), "0", "0"][:3]
    if not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
        raise ValueError(f"{version!r} is no version - at `$.{name}`")
    major, minor, micro = map(int, parts)
    return major * 1_000_000 + minor * 1_000 + micro
