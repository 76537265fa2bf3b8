"""Structs to structural OpenAPI v3 schemas, as custom resources need them.

Types give the shape; the tables here add what a Python annotation can't say: which of the always-present fields a user
must write, limits, defaults that belong in the schema. Called by virt_types.crds.
"""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec
from msgspec.structs import FieldInfo

from virt_types import descriptions
from virt_types.meta import Base, ObjectMeta

Schema = dict[str, Any]

# What Kubernetes accepts as a quantity, a little wider than what it can read.
QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_INT_OR_STRING: Schema = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
FORMATTED: dict[str, Schema] = {
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "date-time": {"type": "string", "format": "date-time"},
    "int-or-string": _INT_OR_STRING,
    "quantity": {**_INT_OR_STRING, "pattern": QUANTITY_PATTERN},
}
SCALARS: dict[Any, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}

# Structs that the code always finds present but a manifest has to state.
REQUIRED: dict[str, tuple[str, ...]] = {
    "VirtualMachine": ("spec",),
    "VirtualMachineSpec": ("template",),
    "VirtualMachineInstance": ("spec",),
    "VirtualMachineInstanceReplicaSet": ("spec",),
    "VirtualMachineInstanceReplicaSetSpec": ("selector", "template"),
    "VirtualMachineInstancePresetSpec": ("selector",),
    "VirtualMachineInstanceMigration": ("spec",),
    "VirtualMachinePool": ("spec",),
    "VirtualMachinePoolSpec": ("selector", "virtualMachineTemplate"),
    "VirtualMachineInstancetypeSpec": ("cpu",),
    "VirtualMachinePreference": ("spec",),
    "VirtualMachineClusterPreference": ("spec",),
    "DataVolume": ("spec",),
    "DataSource": ("spec",),
    "DataSourceSpec": ("source",),
    "VirtualMachineInstanceSpec": ("domain",),
    "DomainSpec": ("devices",),
    "DataVolumeTemplateSpec": ("spec",),
    "Filesystem": ("virtiofs",),
    "PreferredSchedulingTerm": ("preference",),
    "SSHPublicKeyAccessCredential": ("propagationMethod", "source"),
    "UserPasswordAccessCredential": ("propagationMethod", "source"),
    "WeightedPodAffinityTerm": ("podAffinityTerm",),
    "AddVolumeOptions": ("disk", "volumeSource"),
}  # fmt: skip
_OVERHEAD = {"pattern": r"^(0(?:\.\d{1,3})?|1)$"}
_UINT32 = {"minimum": 0, "maximum": 2**32 - 1}
_MANY = {"maxItems": 256}
_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_NULLABLE = {"nullable": True}
_AT_LEAST_ONE = {"minimum": 1}
_INT32 = {"format": "int32"}
_PRESERVATION = {"enum": ["Disabled", "Offline", "Online"]}
# `Type.wireName` -> keywords added to that field's schema.
KEYWORDS: dict[str, Schema] = {
    "VirtualMachineStatus.printableStatus": {"default": "Stopped"},
    "VirtualMachineStatus.changedBlockTracking": _NULLABLE,
    "VirtualMachineStatus.instancetypeRef": _NULLABLE,
    "VirtualMachineStatus.memoryDumpRequest": _NULLABLE,
    "VirtualMachineStatus.preferenceRef": _NULLABLE,
    "VirtualMachineStatus.startFailure": _NULLABLE,
    "VirtualMachineCondition.lastProbeTime": _NULLABLE,
    "VirtualMachineCondition.lastTransitionTime": _NULLABLE,
    "VirtualMachineInstanceCondition.lastProbeTime": _NULLABLE,
    "VirtualMachineInstanceCondition.lastTransitionTime": _NULLABLE,
    "VirtualMachineInstanceReplicaSetCondition.lastProbeTime": _NULLABLE,
    "VirtualMachineInstanceReplicaSetCondition.lastTransitionTime": _NULLABLE,
    "VirtualMachineInstanceReplicaSet.status": _NULLABLE,
    "VirtualMachineInstanceMigrationCondition.lastProbeTime": _NULLABLE,
    "VirtualMachineInstanceMigrationCondition.lastTransitionTime": _NULLABLE,
    "VirtualMachinePoolCondition.lastProbeTime": _NULLABLE,
    "VirtualMachinePoolCondition.lastTransitionTime": _NULLABLE,
    "VirtualMachinePoolSpec.replicas": {"minimum": 0},
    "VirtualMachinePoolAutohealingStrategy.startUpFailureThreshold": _INT32 | _AT_LEAST_ONE,
    "VirtualMachinePoolOpportunisticScaleInStrategy.statePreservation": _PRESERVATION,
    "VirtualMachinePoolProactiveScaleInStrategy.statePreservation": _PRESERVATION,
    "VirtualMachinePoolSelectionPolicy.sortPolicy": {
        "enum": ["AscendingOrder", "DescendingOrder", "Newest", "Oldest", "Random"]
    },
    "CPUInstancetype.guest": _INT32,
    "CPUInstancetype.maxSockets": _INT32,
    "CPUPreferenceRequirement.guest": _INT32,
    "MemoryInstancetype.overcommitPercent": {"minimum": 0, "maximum": 100},
    "SpreadOptions.ratio": _INT32,
    "VirtualMachinePreferenceSpec.preferSpreadSocketToCoreRatio": _INT32,
    "VirtualMachineInstanceStatus.changedBlockTracking": _NULLABLE,
    "VirtualMachineInstanceStatus.VSOCKCID": _UINT32,
    "VirtualMachineInstanceMigrationState.startTimestamp": _NULLABLE,
    "VirtualMachineInstanceMigrationState.endTimestamp": _NULLABLE,
    "ChangedBlockTrackingStatus.backupStatus": _NULLABLE,
    "DataVolumeTemplateSpec.status": _NULLABLE,
    "VirtualMachineSpec.dataVolumeTemplates[]": _NULLABLE,
    "VirtualMachineInstanceSpec.accessCredentials": _MANY,
    "VirtualMachineInstanceSpec.networks": _MANY,
    "VirtualMachineInstanceSpec.volumes": _MANY,
    "VirtualMachineInstanceSpec.resourceClaims": _BY_NAME,
    "VirtualMachineInstanceSpec.utilityVolumes": _BY_NAME | _MANY,
    "VirtualMachineInstanceSpec.topologySpreadConstraints": {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["topologyKey", "whenUnsatisfiable"],
    },
    "CPU.cores": _INT32,
    "CPU.maxSockets": _INT32,
    "CPU.sockets": _INT32,
    "CPU.threads": _INT32,
    "CPUTopology.cores": _INT32,
    "CPUTopology.sockets": _INT32,
    "CPUTopology.threads": _INT32,
    "FeatureSpinlocks.spinlocks": _INT32,
    "DiskIOThreads.supplementalPoolThreadCount": _INT32,
    "VMIMConfigurationOptions.parallelMigrationsPerCluster": _INT32,
    "VMIMConfigurationOptions.parallelOutboundMigrationsPerNode": _INT32,
    "Devices.disks": _MANY,
    "Devices.interfaces": _MANY,
    "DomainSpec.clock": {"x-kubernetes-preserve-unknown-fields": True},
    "DomainSpec.rebootPolicy": {"enum": ["Reboot", "Terminate"]},
    "ReservedOverhead.memLock": {"enum": ["NotRequired", "Required"]},
    "QemuGuestAgentSSHPublicKeyAccessCredentialPropagation.users": {"x-kubernetes-list-type": "set"},
    "DataVolumeSpec.contentType": {"enum": ["kubevirt", "archive"]},
    "LocalObjectReference.name": {"default": ""},
    "ConfigMapVolumeSource.name": {"default": ""},
    "ContainerPathVolumeSource.path": {
        "maxLength": 4096,
        "x-kubernetes-validations": [
            {"rule": "self.startsWith('/')", "message": "path must be absolute (start with '/')"},
            {"rule": "!self.contains('..')", "message": "path must not contain '..'"},
        ],
    },
    "ContainerPathVolumeSource.readOnly": {
        "default": True,
        "x-kubernetes-validations": [
            {"rule": "self == true", "message": "readOnly must be true, write access is not supported"}
        ],
    },
    "PersistentVolumeClaimInfo.filesystemOverhead": _OVERHEAD,
    "InitrdInfo.checksum": _UINT32,
    "KernelInfo.checksum": _UINT32,
    "ContainerDiskInfo.checksum": _UINT32,
    "ExperimentalMigrationOptions.compression": {"enum": ["none", "zstd"]},
    "DowntimeTuningOptions.cooldownSeconds": _AT_LEAST_ONE,
    "DowntimeTuningOptions.initialMs": _AT_LEAST_ONE,
    "DowntimeTuningOptions.startAfterIteration": _AT_LEAST_ONE,
    "DowntimeTuningOptions.steps": _AT_LEAST_ONE,
    "StallDetectorOptions.stallMargin": {"minimum": 0, "maximum": 100},
    "StallDetectorOptions.stallProgressTimeout": {"minimum": 0},
    "StallDetectorOptions.switchoverTimeout": {"minimum": 0},
    "VMIMConfigurationOptions.maxDowntimeMs": {"minimum": 1, "maximum": 2_000_000},
}
# Replaced as a whole by server-side apply.
ATOMIC_MAPS = frozenset(
    (
        "LocalObjectReference", "TypedLocalObjectReference", "LabelSelector", "NodeSelector", "NodeSelectorTerm",
        "ObjectFieldSelector", "ResourceFieldSelector", "ConfigMapVolumeSource",
    )
)  # fmt: skip


_FIELDS: dict[type[Any], tuple[FieldInfo, ...]] = {}


def _fields(type_: type[Any]) -> tuple[FieldInfo, ...]:
    """Kept, because it evaluates annotations; a VMI's are in seven kinds."""
    if type_ not in _FIELDS:
        _FIELDS[type_] = msgspec.structs.fields(type_)
    return _FIELDS[type_]


def object_schema(type_: type[Base]) -> Schema:
    """The structural schema of a kind: metadata is left open at the root, as an API server wants it."""
    return _struct(type_, root=True)


def _struct(type_: type[Any], *, root: bool = False) -> Schema:
    name = type_.__name__
    schema: Schema = {}
    if about := descriptions.of_type(name):
        schema["description"] = about
    schema["type"] = "object"
    fields = _fields(type_)
    if fields:
        schema["properties"] = {field.encode_name: _field(type_, field, root=root) for field in fields}
    required = {field.encode_name for field in fields if _is_required(field)} | set(REQUIRED.get(name, ()))
    if required:
        schema["required"] = sorted(required)
    if name in ATOMIC_MAPS:
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


def _is_required(field: FieldInfo) -> bool:
    """Without default, or with the factory that marks a required scalar (see meta.Base)."""
    return field.required or field.default_factory in SCALARS


def _field(owner: type[Any], field: FieldInfo, *, root: bool) -> Schema:
    # What is said of a field holds in the types that extend its own.
    owners = [type_.__name__ for type_ in owner.__mro__]
    keys = [f"{name}.{field.encode_name}" for name in owners]
    if field.type is ObjectMeta:
        schema: Schema = {"type": "object"}
        if root:  # the API server knows it, and takes no word about it
            return schema
        schema |= {"nullable": True, "x-kubernetes-preserve-unknown-fields": True}  # embedded: kept as it is
    else:
        schema = _type(field.type)
    for key in keys:
        schema |= KEYWORDS.get(key, {})
        if f"{key}[]" in KEYWORDS:
            schema["items"] |= KEYWORDS[f"{key}[]"]
    # A field without words of its own has its type's.
    inner = schema.get("description", "")
    about = descriptions.of_field(owners, field.encode_name) or inner or descriptions.EVERYWHERE.get(field.encode_name)
    return {**schema, "description": about} if about else schema


def _type(annotation: Any) -> Schema:
    """The schema of an annotation; each call makes a new dict."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return dict(FORMATTED[annotation.__metadata__[0].extra["format"]])
    if origin in (types.UnionType, typing.Union):
        return _type(next(argument for argument in arguments if argument is not types.NoneType))
    if origin is list:
        return {"type": "array", "items": _type(arguments[0])}
    if origin is dict:
        values = {"x-kubernetes-preserve-unknown-fields": True}
        return {"type": "object"} | (values if arguments[1] is Any else {"additionalProperties": _type(arguments[1])})
    return {"type": SCALARS[annotation]} if annotation in SCALARS else _struct(annotation)
