"""The kinds this product serves: names, versions, short names, printer columns.

Read by the CRD writer, the API server and the command line. Standard library only, for the command line's fast path.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

DEPRECATION = "{version} is now deprecated and will be removed in a future release."


class Column(NamedTuple):
    """One printer column of `kubectl get`; `priority` above 0 shows only in wide output."""

    name: str
    type: str
    json_path: str
    priority: int = 0
    description: str = ""


class Kind(NamedTuple):
    """One kind. `versions` has the stored version first; every later one is deprecated."""

    group: str
    versions: tuple[str, ...]
    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    namespaced: bool = True
    status: bool = True
    scale: bool = False
    columns: tuple[Column, ...] = ()
    categories: tuple[str, ...] = ("all",)
    aliases: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version objects are stored in."""
        return self.versions[0]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.versions[0]}" if self.group else self.versions[0]

    @property
    def resource(self) -> str:
        """The name Kubernetes' errors use, e.g. `virtualmachines.kubevirt.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


AGE = Column("Age", "date", ".metadata.creationTimestamp")
READY = Column("Ready", "string", ".status.conditions[?(@.type=='Ready')].status")

VIRTUAL_MACHINE = Kind(
    group="kubevirt.io",
    versions=("v1", "v1alpha3", "v1alpha2"),
    kind="VirtualMachine",
    plural="virtualmachines",
    singular="virtualmachine",
    short_names=("vm", "vms"),
    columns=(
        AGE,
        Column("Status", "string", ".status.printableStatus", description="Human Readable Status"),
        READY,
    ),
    # What the kind was called in 2018.
    aliases=("offlinevirtualmachine", "offlinevirtualmachines", "ovm", "ovms", "omv", "omvs"),
)
VIRTUAL_MACHINE_INSTANCE = Kind(
    group="kubevirt.io",
    versions=("v1", "v1alpha3", "v1alpha2"),
    kind="VirtualMachineInstance",
    plural="virtualmachineinstances",
    singular="virtualmachineinstance",
    short_names=("vmi", "vmis"),
    status=False,
    columns=(
        AGE,
        Column("Phase", "string", ".status.phase"),
        Column("IP", "string", ".status.interfaces[0].ipAddress"),
        Column("NodeName", "string", ".status.nodeName"),
        READY,
        Column("Live-Migratable", "string", ".status.conditions[?(@.type=='LiveMigratable')].status", 1),
        Column("Paused", "string", ".status.conditions[?(@.type=='Paused')].status", 1),
    ),
)
KINDS = (VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE)


@cache
def _by_word() -> dict[str, Kind]:
    words: dict[str, Kind] = {}
    for kind in KINDS:
        for word in (kind.kind, kind.plural, kind.singular, *kind.short_names, *kind.aliases):
            words[word.lower()] = kind
            words[f"{word.lower()}.{kind.group}"] = kind
    return words


def find_kind(word: str) -> Kind | None:
    """The kind a user means: any spelling, case and number; with or without `.group`; None when there is none."""
    return _by_word().get(word.lower())
