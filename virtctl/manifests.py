"""Manifests a user names with -f: read, brought up to today's API, and checked before anything is sent."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from virt_types.errors import VirtError
from virtctl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virt_types.errors import Cause
    from virt_types.manifest import Document, ManifestError

Json = dict[str, Any]

SUFFIXES = (".yaml", ".yml", ".json")
MAX_BYTES = 16 << 20
MAX_SHOWN = 10


class Manifest(NamedTuple):
    """One object, ready to be sent; `where` is FILE:LINE."""

    obj: Json
    where: str

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.obj["metadata"].get("namespace") or "")


def load(sources: list[str]) -> list[Manifest]:
    """Every object of every file, directory or `-`, checked. Raises InputError, or VirtError of virt_types."""
    found = [manifest for source in sources for manifest in _of_source(source)]
    if not found:
        raise InputError(
            f"no objects in {', '.join(sources)}", hint="A manifest has at least apiVersion, kind and metadata."
        )
    return found


def _of_source(source: str) -> Iterator[Manifest]:
    for title, read in documents(source):
        if isinstance(read, VirtError):
            raise read
        yield _checked(read, title)


def documents(source: str) -> Iterator[tuple[str, Document | ManifestError]]:
    """The documents of a file, directory or `-`, each with the file's name; for a file that is none, why."""
    from virt_types import manifest

    for path in _files(source):
        title = path or "stdin"
        try:
            found = manifest.load(_read(path), title)
        except manifest.ManifestError as error:
            yield title, error
            continue
        for document in found:
            yield title, document


def _files(source: str) -> list[str]:
    """The files behind one -f; an empty name is stdin."""
    if source == "-":
        return [""]
    if source.startswith(("http://", "https://")):
        raise InputError(
            f"{source}: manifests are not fetched from the network",
            hint=f"Fetch it first, look at it, then use the file: curl -fsSLO {source}",
        )
    path = Path(source)
    try:
        if not path.is_dir():
            return [source]
        files = sorted(str(entry) for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.is_file())
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: {_reason(error)}") from error
    if not files:
        raise InputError(f"{source}: the directory has no manifest", hint=f"Manifests end in {', '.join(SUFFIXES)}.")
    return files


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") if path else open(sys.stdin.fileno(), "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path or 'stdin'}: {_reason(error)}") from error
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{path or 'stdin'}: the manifest is larger than {MAX_BYTES >> 20} MiB",
            hint="An object holds 1.5 MiB at most; put data into a disk image and its objects into several files.",
        )
    return data


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _checked(document: Document, title: str) -> Manifest:
    obj, where = document.obj, f"{title}:{document.line}"
    for field in ("apiVersion", "kind"):
        if not isinstance(obj.get(field), str) or not obj[field]:
            raise InputError(
                f"{where}: {field} must be a string, not {obj.get(field)!r:.60}", hint="Each object needs both."
            )
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: {obj['kind']}: metadata.name must be a string, not {name!r:.60}")
    from virt_types import check

    if check.ours(obj):
        obj = _converted(obj, where)
        _check_ours(obj, document, where)
    return Manifest(obj, where)


def _converted(obj: Json, where: str) -> Json:
    from virt_types import legacy

    converted, notes = legacy.convert(obj)
    for note in notes:
        print(f"{where}: {note}", file=sys.stderr)
    result: Json = converted
    return result


def _check_ours(obj: Json, document: Document, where: str) -> None:
    """Schema and rules, as admission will check them, so that a mistake needs no server to be found."""
    from virt_types import check
    from virt_types.presets import may_mend

    causes = sorted(check.judge(obj).causes, key=lambda cause: document.line_of(cause.field))
    complaints = [_complaint(cause, document) for cause in causes if not may_mend(obj, cause)]
    if complaints:
        more = [f"and {len(complaints) - MAX_SHOWN} more"] if len(complaints) > MAX_SHOWN else []
        name = obj["metadata"]["name"]
        listed = "".join(f"\n  {line}" for line in [*complaints[:MAX_SHOWN], *more])
        raise InputError(
            f'{where}: {obj["kind"]} "{name}" is invalid:{listed if len(complaints) > 1 else f" {complaints[0]}"}',
            hint="Nothing was created. `kubectl explain` and docs/manifests.md show the fields there are.",
        )


# What a schema says for programs -> the same for people.
PLAIN = (
    (r'Invalid value: (".*"): (\S+) in body should match .*KMGTPE.*', r"\2: \1 is no quantity like 64Mi, 2Gi or 500m"),
    (r'(?:Invalid value: "\w+": )?(\S+) in body must be of type (\S+): "(\w+)"', r"\1 must be of type \2, not \3"),
    (r"Invalid value: (.*): (\S+) in body should (be .*)", r"\2: \1 should \3"),
    (r"(.*): Required value", r"\1 is missing"),
)


def worded(cause: Cause) -> str:
    """The message, after its field where it does not name it itself."""
    named = cause.field.lower() in cause.message.lower()  # some write .Name
    text = cause.message if named else f"{cause.field}: {cause.message}"
    for pattern, plain in PLAIN:
        if re.fullmatch(pattern, text) is not None:
            return re.sub(pattern, plain, text)
    return text


def _complaint(cause: Cause, document: Document) -> str:
    """With the field, its line, and the value there if it is a plain one."""
    text = worded(cause)
    value = _value(document.obj, cause.field)
    shown = (
        f": {json.dumps(value)[:60]}" if isinstance(value, str | int | float) and json.dumps(value) not in text else ""
    )
    return f"{text} (line {document.line_of(cause.field)}{shown})"


def _value(obj: object, field: str) -> object:
    """What stands at a path such as `spec.disks[0].name`; None when nothing does."""
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", field):
        if key and isinstance(obj, dict):
            obj = obj.get(key)
        elif index and isinstance(obj, list) and int(index) < len(obj):
            obj = obj[int(index)]
        else:
            return None
    return obj
