"""Our defaults against KubeVirt's, for every recorded VirtualMachineInstance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from virt_types.codec import from_builtins, to_builtins
from virt_types.defaults import default_vmi
from virt_types.v1 import VirtualMachineInstance

# File -> why ours differs on purpose.
DIFFERENT: dict[str, str] = {}


def load(path: Path) -> Any:
    documents = yaml.load_all(path.read_text(), yaml.CSafeLoader)
    return next((document for document in documents if document["kind"] == "VirtualMachineInstance"), None)


def normal(obj: Any) -> Any:
    """Empty lists and maps are as good as absent."""
    if isinstance(obj, dict):
        cleaned = {key: normal(value) for key, value in obj.items()}
        return {key: value for key, value in cleaned.items() if value not in (None, {}, [], "", 0) or value is False}
    return [normal(value) for value in obj] if isinstance(obj, list) else obj


def difference(ours: Any, theirs: Any, path: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys())
        return [line for key in keys for line in difference(ours.get(key), theirs.get(key), f"{path}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            line for i, pair in enumerate(zip(ours, theirs, strict=True)) for line in difference(*pair, f"{path}[{i}]")
        ]
    return [] if ours == theirs else [f"{path}: {ours!r} instead of {theirs!r}"]


def test_every_recorded_instance(shared_data: Path) -> None:
    folder = shared_data / "domainxml"
    wrong = {}
    count = 0
    for path in sorted((folder / "vmi").glob("*.yaml")):
        expected = load(folder / "defaulted" / path.name)
        manifest = load(path)
        if manifest is None:  # a VirtualMachine: the controller makes the instance
            continue
        vmi = from_builtins(manifest, VirtualMachineInstance)
        default_vmi(vmi, new_uuid=lambda: "random")
        ours = to_builtins(vmi)
        for obj in (ours, expected):
            obj["spec"]["domain"].get("firmware", {}).pop("uuid", None)
            obj["metadata"].pop("uid", None)
        lines = difference(normal(ours), normal(expected))
        if lines and path.name not in DIFFERENT:
            wrong[path.name] = lines
        count += 1
    assert count > 190
    assert wrong == {}
