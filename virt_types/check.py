"""What an API server with our admission would answer to a manifest, and what it would store, without any server.

Called by `virtctl validate` and by tests. Every kind of virt_types.kinds is known, those that one machine doesn't serve
included: their manifests are for a cluster.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
import uuid
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

import msgspec

from virt_types import crds, legacy, names, validation
from virt_types.codec import from_builtins, to_builtins
from virt_types.defaults import default_vm, default_vmi
from virt_types.errors import Cause, InvalidObject
from virt_types.expansion import Sizing, expand, prepare, refusals
from virt_types.expansion.offline import Neighbours, NotGiven, filled
from virt_types.kinds import KINDS, Kind
from virt_types.meta import ObjectMeta
from virt_types.presets import excused, instance_of
from virt_types.structural import UNCHECKED_RULES, Walker, compile_schema
from virt_types.structural.suggest import suggestion
from virt_types.v1 import VirtualMachine
from virt_types.validation.scope import shown
from virt_types.validation.templates import unknown_metadata

Json = dict[str, Any]
ALONE = Neighbours()
NOT_FOUND, MISSING, UNKNOWN = "FieldValueNotFound", "FieldValueRequired", "FieldUnknown"
# Ours to judge, unlike the kinds of Kubernetes itself.
GROUPS = frozenset(kind.group for kind in KINDS)
RULES: dict[str, Callable[[Any], list[Cause]]] = {
    "VirtualMachine": validation.validate_vm,
    "VirtualMachineInstance": validation.validate_vmi,
    "VirtualMachineInstanceReplicaSet": validation.validate_replica_set,
    "VirtualMachineInstancePreset": validation.validate_preset,
    "VirtualMachineInstanceMigration": validation.validate_migration,
    "VirtualMachinePool": validation.validate_pool,
    "VirtualMachineInstancetype": validation.validate_instancetype,
    "VirtualMachineClusterInstancetype": validation.validate_instancetype,
    "VirtualMachinePreference": validation.validate_preference,
    "VirtualMachineClusterPreference": validation.validate_preference,
    "DataVolume": validation.validate_data_volume,
    "DataSource": validation.validate_data_source,
}
OUR_KINDS = frozenset(kind.kind for kind in KINDS) | legacy.OLD_KINDS.keys()
# Of our groups, but not of what is typed here: a cluster's server knows them.
ELSEWHERE = frozenset(
    (
        "CDI", "CDIConfig", "DataImportCron", "KubeVirt", "ObjectTransfer", "OpenstackVolumePopulator",
        "OvirtVolumePopulator", "StorageProfile", "VolumeCloneSource", "VolumeImportSource", "VolumeUploadSource",
    )
)  # fmt: skip
# Fields that documents show where no version ever had them -> what to do instead.
MISPLACED = (
    (
        "DataSource",
        r"spec\.source\.(?:s3|gcs|imageio|vddk|upload|blank)",
        "a DataSource names a pvc, snapshot or dataSource: import with a DataVolume that has this below spec.source",
    ),
)


class Verdict(NamedTuple):
    """`stored` is the object as it would be kept (None when refused); `notes` tell what was converted before."""

    kind: str
    stored: Json | None
    causes: list[Cause]
    notes: list[str]

    @property
    def accepted(self) -> bool:
        return self.stored is not None


def ours(obj: Json) -> bool:
    """Whether `judge` is the one to ask.

    A kind that nobody knows, in a group of ours, counts as a mistake; so does a kind of ours in one of Kubernetes' own
    groups or in none, and an object that says neither.
    """
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    if not api_version or not kind:
        return True
    group = str(api_version).partition("/")[0]
    return (group in GROUPS and kind not in ELSEWHERE) or ("." not in group and kind in OUR_KINDS)


def known_kind(obj: Json) -> Kind | None:
    """The kind of an object of today's API, None when it is nobody's of ours."""
    api_version, name = obj.get("apiVersion"), obj.get("kind")
    return next(
        (kind for kind in KINDS if kind.kind == name and api_version in [f"{kind.group}/{v}" for v in kind.versions]),
        None,
    )


def random_uuid() -> str:
    return str(uuid.uuid4())


def random_mac() -> str:
    return "52:54:00:" + secrets.token_bytes(3).hex(":")


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def judge(
    manifest: Json,
    *,
    new_uuid: Callable[[], str] = random_uuid,
    new_mac: Callable[[], str] = random_mac,
    now: Callable[[], str] = utc_now,
    beside: Neighbours = ALONE,
    expanded: bool = False,
) -> Verdict:
    """Conversion of old spellings, schema, defaults and rules, in that order; `manifest` stays as it is.

    A machine is judged with the instancetype, preference and presets it finds `beside`, and `expanded` if wanted.
    Raises nothing: an object that can't be read at all is a verdict too.
    """
    obj, notes = legacy.convert(manifest)
    kind = known_kind(obj)
    if kind is None:
        return Verdict(str(obj.get("kind")), None, [_unknown_kind(obj)], notes)
    told = schema_causes(obj, kind)
    try:
        typed = from_builtins(obj, crds.TYPES[kind])
    except InvalidObject as error:
        return Verdict(kind.kind, None, told or list(error.causes) or [Cause(error.reason, error.message, "")], notes)
    judged: Any = typed
    causes: list[Cause] = []
    if kind.kind == "VirtualMachine":
        judged, causes = _machine(typed, beside, new_uuid, new_mac)  # type: ignore[arg-type]
        missing = [cause.message for cause in causes if cause.reason == NOT_FOUND]
        if expanded:
            typed = judged
        elif missing:  # a cluster may have it
            notes += [f"{message}; checked without it" for message in missing]
            causes = [cause for cause in causes if cause.reason != NOT_FOUND]
    elif kind.kind == "VirtualMachineInstance":
        causes = filled(typed, beside.presets(typed, typed.metadata.namespace))  # type: ignore[arg-type,attr-defined]
        default_vmi(typed, new_uuid=new_uuid, new_mac=new_mac, now=now())  # type: ignore[arg-type]
    causes += [*unknown_metadata(obj), *RULES[kind.kind](judged), *_metadata_causes(typed.metadata)]  # type: ignore[attr-defined]
    if kind.kind == "VirtualMachine":
        causes = excused(causes, beside.presets(instance_of(judged), typed.metadata.namespace))  # type: ignore[attr-defined]
    causes = [*told, *_besides(told, causes)]
    if causes:
        return Verdict(kind.kind, None, causes, notes)
    return Verdict(kind.kind, _stored(obj, to_builtins(typed), kind), [], notes)


def _besides(told: list[Cause], found: list[Cause]) -> list[Cause]:
    """What the rules find beyond the schema, which a server would tell one attempt later.

    Left out is what concerns a field that is told already, and what is missing only because its name is misspelt.
    """
    fields = [cause.field for cause in told]
    misspelt = [cause.field.rpartition(".")[0] for cause in told if cause.reason == UNKNOWN]
    return [
        cause
        for cause in found
        if not any(_within(cause.field, field) for field in fields)
        and not (cause.reason == MISSING and any(_within(cause.field, around) for around in misspelt))
    ]


def _within(field: str, around: str) -> bool:
    return field == around or field.startswith((f"{around}.", f"{around}["))


def _machine(
    vm: VirtualMachine,
    beside: Neighbours,
    new_uuid: Callable[[], str],
    new_mac: Callable[[], str],
) -> tuple[VirtualMachine, list[Cause]]:
    """Give the machine its defaults; it and what it refers to, as its instances will have it, or why they can't."""
    sizing, causes = Sizing(), []
    try:
        sizing = beside.sizing(vm)
    except NotGiven as error:
        causes.append(Cause(NOT_FOUND, error.message, error.message.partition(":")[0]))
    default_vm(vm, new_uuid=new_uuid, new_mac=new_mac, settings=prepare(vm, sizing.preference))
    causes += refusals(vm, *sizing)
    return (vm if causes or sizing == Sizing() else expand(vm, *sizing)), causes


def _stored(obj: Json, typed: Json, kind: Kind) -> Json:
    """What came, with what defaulting may have touched."""
    metadata = {key: typed["metadata"][key] for key in ("annotations", "finalizers") if key in typed["metadata"]}
    stored = obj | {"metadata": (obj.get("metadata") or {}) | metadata, "spec": typed["spec"]}
    stored.pop("status", None)  # no client writes it
    if kind.kind == "VirtualMachineInstance":
        stored["status"] = typed["status"]
    return stored


def _unknown_kind(obj: Json) -> Cause:
    api_version, name = obj.get("apiVersion"), obj.get("kind")
    if not name:
        return Cause(MISSING, "kind is missing: what is this object?", "kind")
    same = next((kind for kind in KINDS if kind.kind == name), None)
    hint = f', use apiVersion "{same.api_version}"' if same else _kind_meant(str(name))
    if not api_version:
        return Cause(MISSING, f"apiVersion is missing{hint}", "apiVersion")
    message = f'no matches for kind "{name}" in version "{api_version}"{hint}'
    return Cause("FieldValueNotFound", message, "apiVersion" if same else "kind")


def _kind_meant(name: str) -> str:
    near = get_close_matches(name, OUR_KINDS, n=1, cutoff=0.8)
    return f', did you mean "{near[0]}"?' if near else ""


def _metadata_causes(metadata: ObjectMeta) -> list[Cause]:
    """What an API server says of every object's names and labels, in its words."""
    found = []
    if not metadata.name and not metadata.generate_name:
        message = "Required value: name or generateName is required"
        found.append(Cause(MISSING, message, "metadata.name"))
    words = [("metadata.labels", key, names.qualified_name_problems(key)) for key in metadata.labels]
    words += [("metadata.labels", value, names.label_value_problems(value)) for value in metadata.labels.values()]
    words += [("metadata.annotations", key, names.qualified_name_problems(key.lower())) for key in metadata.annotations]
    for field, value, problems in words:
        quoted = json.dumps(shown(value), ensure_ascii=False)
        found += [Cause("FieldValueInvalid", f"Invalid value: {quoted}: {why}", field) for why in problems]
    return found


@cache
def _schema(kind: Kind) -> Json:
    return crds.stored_schema(kind)


@cache
def _with_metadata(kind: Kind) -> Json:
    """The schema with the fields of metadata, which a CRD does not list."""
    known: Json = {field.encode_name: {} for field in msgspec.structs.fields(ObjectMeta)}
    return _schema(kind) | {"properties": _schema(kind)["properties"] | {"metadata": {"properties": known}}}


@cache
def _walker(kind: Kind) -> Walker:
    return compile_schema(_schema(kind))


def schema_causes(obj: Json, kind: Kind) -> list[Cause]:
    """Wrong types, missing and unknown fields; sets the schema's defaults and drops nulls in `obj`."""
    result = _walker(kind)(obj, defaults=True, prune=True)
    causes = [cause for cause in result.causes if cause != UNCHECKED_RULES]
    for field in result.unknown:
        meant = _misplaced(kind.kind, field) or suggestion(_with_metadata(kind), field)
        causes.append(Cause(UNKNOWN, f'unknown field "{field}"' + (f", {meant}" if meant else ""), field))
    return causes


def _misplaced(kind: str, field: str) -> str:
    return next(
        (text for of, pattern, text in MISPLACED if of in ("", kind) and re.fullmatch(pattern, field) is not None), ""
    )
