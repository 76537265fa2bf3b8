"""The kinds of the API: names, versions, short names, printer columns; and which of them this product acts on.

Every kind is typed and validated, and has a CRD in manifests/crds/. The one-machine API serves only those in SERVED:
an object that nothing reconciles would be a promise nobody keeps.

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
    """One kind. `versions` has the stored version first; `deprecated` are those a client is warned of."""

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
    deprecated: tuple[str, ...] = ()
    deprecation: str = DEPRECATION

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


OLD = ("v1alpha3", "v1alpha2")
AGE = Column("Age", "date", ".metadata.creationTimestamp")
READY = Column("Ready", "string", ".status.conditions[?(@.type=='Ready')].status")


def _counted(noun: str) -> tuple[Column, ...]:
    """The columns of a kind that keeps a number of others."""
    return (
        Column("Desired", "integer", ".spec.replicas", description=f"Number of desired {noun}"),
        Column(
            "Current",
            "integer",
            ".status.replicas",
            description=f"Number of managed and not final or deleted {noun}",
        ),
        Column(
            "Ready",
            "integer",
            ".status.readyReplicas",
            description=f"Number of managed {noun} which are ready to receive traffic",
        ),
        AGE,
    )


VIRTUAL_MACHINE = Kind(
    group="kubevirt.io",
    versions=("v1", *OLD),
    deprecated=OLD,
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
    versions=("v1", *OLD),
    deprecated=OLD,
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
REPLICA_SET = Kind(
    group="kubevirt.io",
    versions=("v1", *OLD),
    deprecated=OLD,
    kind="VirtualMachineInstanceReplicaSet",
    plural="virtualmachineinstancereplicasets",
    singular="virtualmachineinstancereplicaset",
    short_names=("vmirs", "vmirss"),
    scale=True,
    columns=_counted("VirtualMachineInstances"),
)
PRESET = Kind(
    group="kubevirt.io",
    versions=("v1", "v1alpha3"),
    deprecated=("v1", "v1alpha3"),
    deprecation="{version} VirtualMachineInstancePresets is now deprecated and will be removed in v2.",
    kind="VirtualMachineInstancePreset",
    plural="virtualmachineinstancepresets",
    singular="virtualmachineinstancepreset",
    short_names=("vmipreset", "vmipresets"),
    status=False,
)
MIGRATION = Kind(
    group="kubevirt.io",
    versions=("v1", "v1alpha3"),
    deprecated=("v1alpha3",),
    kind="VirtualMachineInstanceMigration",
    plural="virtualmachineinstancemigrations",
    singular="virtualmachineinstancemigration",
    short_names=("vmim", "vmims"),
    columns=(
        Column("Phase", "string", ".status.phase", description="The current phase of VM instance migration"),
        Column("VMI", "string", ".spec.vmiName", description="The name of the VMI to perform the migration on"),
    ),
)
POOL = Kind(
    group="pool.kubevirt.io",
    versions=("v1beta1", "v1alpha1"),
    kind="VirtualMachinePool",
    plural="virtualmachinepools",
    singular="virtualmachinepool",
    short_names=("vmpool", "vmpools"),
    scale=True,
    columns=_counted("VirtualMachines"),
)
INSTANCETYPE = Kind(
    group="instancetype.kubevirt.io",
    versions=("v1beta1",),
    kind="VirtualMachineInstancetype",
    plural="virtualmachineinstancetypes",
    singular="virtualmachineinstancetype",
    short_names=("vminstancetype", "vminstancetypes", "vmf", "vmfs"),
    status=False,
)
CLUSTER_INSTANCETYPE = Kind(
    group="instancetype.kubevirt.io",
    versions=("v1beta1",),
    kind="VirtualMachineClusterInstancetype",
    plural="virtualmachineclusterinstancetypes",
    singular="virtualmachineclusterinstancetype",
    short_names=("vmclusterinstancetype", "vmclusterinstancetypes", "vmcf", "vmcfs"),
    namespaced=False,
    status=False,
    categories=(),
)
PREFERENCE = Kind(
    group="instancetype.kubevirt.io",
    versions=("v1beta1",),
    kind="VirtualMachinePreference",
    plural="virtualmachinepreferences",
    singular="virtualmachinepreference",
    short_names=("vmpref", "vmprefs", "vmp", "vmps"),
    status=False,
)
CLUSTER_PREFERENCE = Kind(
    group="instancetype.kubevirt.io",
    versions=("v1beta1",),
    kind="VirtualMachineClusterPreference",
    plural="virtualmachineclusterpreferences",
    singular="virtualmachineclusterpreference",
    short_names=("vmcp", "vmcps"),
    namespaced=False,
    status=False,
    categories=(),
)
DATA_VOLUME = Kind(
    group="cdi.kubevirt.io",
    versions=("v1beta1",),
    kind="DataVolume",
    plural="datavolumes",
    singular="datavolume",
    short_names=("dv", "dvs"),
    columns=(
        Column("Phase", "string", ".status.phase", description="The phase the data volume is in"),
        Column(
            "Progress",
            "string",
            ".status.progress",
            description="Transfer progress in percentage if known, N/A otherwise",
        ),
        Column(
            "Restarts",
            "integer",
            ".status.restartCount",
            description="The number of times the transfer has been restarted.",
        ),
        AGE,
    ),
)
DATA_SOURCE = Kind(
    group="cdi.kubevirt.io",
    versions=("v1beta1",),
    kind="DataSource",
    plural="datasources",
    singular="datasource",
    short_names=("das",),
    status=False,
)
KINDS = (
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_INSTANCE,
    REPLICA_SET,
    PRESET,
    MIGRATION,
    POOL,
    INSTANCETYPE,
    CLUSTER_INSTANCETYPE,
    PREFERENCE,
    CLUSTER_PREFERENCE,
    DATA_VOLUME,
    DATA_SOURCE,
)
# The kinds that admission, a controller or the node agent of this product carries out.
SERVED = (
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_INSTANCE,
    REPLICA_SET,
    POOL,
    PRESET,
    INSTANCETYPE,
    CLUSTER_INSTANCETYPE,
    PREFERENCE,
    CLUSTER_PREFERENCE,
    DATA_VOLUME,
    DATA_SOURCE,
)


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
