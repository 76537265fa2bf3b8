"""Which VirtualMachines and VirtualMachineInstances get into the API, and in what shape.

The embedded API server calls `KubeVirtAdmission.admit` for every write; on a cluster `virt_api.webhooks` answers the
same question over HTTP. Defaults and rules are `virt_types`'; what is decided here is who may write what, and when.
"""

from __future__ import annotations

import datetime
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from virt_api import instancetypes, presets, refusals, surroundings
from virt_kube.admission import AdmissionRequest, AdmissionResult, UserInfo
from virt_kube.api import Json, KubeClient
from virt_types import codec, labels, v1, validation
from virt_types.cdi.objects import DataSource, DataVolume
from virt_types.defaults import carry_identity, default_vm, default_vmi
from virt_types.errors import Cause, InvalidObject
from virt_types.instancetype.v1beta1 import (
    VirtualMachineClusterInstancetype,
    VirtualMachineClusterPreference,
    VirtualMachineInstancetype,
    VirtualMachinePreference,
)
from virt_types.names import instance_id
from virt_types.pool.v1beta1 import VirtualMachinePool
from virt_types.presets import unmerged
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineInstanceSpec
from virt_types.validation import update, validate_vmi
from virt_types.validation.sizing import instancetype_warnings, preference_warnings
from virt_types.validation.templates import unknown_metadata

NODE_GROUP_PREFIX = "system:node:"
NOT_SUPPORTED = "FieldValueNotSupported"
RUNNING_DEPRECATED = "spec.running is deprecated, please use spec.runStrategy instead."
LABELS_AT_UPDATE = "modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited"
SPEC_RESTRICTED = "update of VMI object is restricted"
OTHER_NODE = "Node restriction, virt-handler is only allowed to modify VMIs it owns"
NO_NODE = "Node restriction failed, virt-handler service account is missing node name"
TARGET_NODE = "Node restriction, virt-handler is not allowed to set target node"
FORBIDDEN = "FieldValueForbidden"  # to users, not to our own components
OUR_FINALIZERS = (labels.VMI_FINALIZER, labels.VM_FINALIZER)
MACHINES = (labels.GROUP, "virtualmachines")
MACHINE_STATUS = (*MACHINES, "status")
INSTANCES = (labels.GROUP, "virtualmachineinstances")
INSTANCETYPE_GROUP = "instancetype.kubevirt.io"


class OtherKind(NamedTuple):
    """How a kind is judged that has no defaults of its own; `update` sees old and new, `create` the cluster."""

    type: type[Any]
    validate: Callable[[Any], list[Cause]]
    update: Callable[[Any, Any], list[Cause]] | None = None
    create: Callable[[KubeClient, Any, str], Awaitable[list[Cause]]] | None = None
    labels: Callable[[Any], dict[str, str]] | None = None  # of a new object, where it has none of that name
    warnings: Callable[[Any], Iterable[str]] | None = None


OTHERS = {
    (labels.GROUP, "virtualmachineinstancereplicasets"): OtherKind(
        v1.VirtualMachineInstanceReplicaSet, validation.validate_replica_set
    ),
    (labels.GROUP, "virtualmachineinstancepresets"): OtherKind(
        v1.VirtualMachineInstancePreset, validation.validate_preset, warnings=lambda it: unmerged(it.spec.domain)
    ),
    **{
        (INSTANCETYPE_GROUP, plural): OtherKind(
            type_, validation.validate_instancetype, warnings=lambda size: instancetype_warnings(size.spec)
        )
        for plural, type_ in (
            ("virtualmachineinstancetypes", VirtualMachineInstancetype),
            ("virtualmachineclusterinstancetypes", VirtualMachineClusterInstancetype),
        )
    },
    **{
        (INSTANCETYPE_GROUP, plural): OtherKind(
            type_, validation.validate_preference, warnings=lambda preference: preference_warnings(preference.spec)
        )
        for plural, type_ in (
            ("virtualmachinepreferences", VirtualMachinePreference),
            ("virtualmachineclusterpreferences", VirtualMachineClusterPreference),
        )
    },
    (labels.GROUP, "virtualmachineinstancemigrations"): OtherKind(
        v1.VirtualMachineInstanceMigration,
        validation.validate_migration,
        update.migration_update,
        surroundings.new_migration,
        lambda migration: {labels.VMI_NAME: instance_id(migration.spec.vmi_name or "")},
    ),
    ("pool.kubevirt.io", "virtualmachinepools"): OtherKind(
        VirtualMachinePool, validation.validate_pool, update.pool_update
    ),
    ("cdi.kubevirt.io", "datavolumes"): OtherKind(
        DataVolume, validation.validate_data_volume, update.data_volume_update, surroundings.new_data_volume
    ),
    ("cdi.kubevirt.io", "datasources"): OtherKind(DataSource, validation.validate_data_source),
}

T = TypeVar("T")


def new_mac() -> str:
    """A random address below QEMU's prefix."""
    return "52:54:00:" + secrets.token_bytes(3).hex(":")


def new_uuid() -> str:
    return str(uuid.uuid4())


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class KubeVirtAdmission:
    """Implements `virt_kube.admission.Admission`. Randomness and time are given, so that tests can fix them.

    `require_node`: a node agent whose user names no node may write nothing. One machine, with one agent, needs none.
    `kube`: reads instancetypes, preferences and presets; without it objects are judged by themselves.
    """

    def __init__(
        self,
        *,
        new_uuid: Callable[[], str] = new_uuid,
        new_mac: Callable[[], str] = new_mac,
        now: Callable[[], str] = utc_now,
        require_node: bool = True,
        kube: KubeClient | None = None,
    ) -> None:
        self._new_uuid, self._new_mac, self._now = new_uuid, new_mac, now
        self._require_node = require_node
        self._kube = kube

    def connect(self, kube: KubeClient | None) -> None:
        """For an API server that is itself what admission reads from."""
        self._kube = kube

    async def admit(self, request: AdmissionRequest) -> AdmissionResult:
        """Default, then validate; a refusal is a 422 with every cause."""
        resource, obj = (request.group, request.plural), request.obj
        if obj is not None and request.subresource:
            if (*resource, request.subresource) == MACHINE_STATUS:
                await self._vm_status(request, obj)
            return AdmissionResult(obj)
        if obj is not None and _made_from_a_template(request, obj):
            obj = await surroundings.with_fields_of_owner(self._kube, obj, request.namespace)
        if obj is not None and resource == MACHINES:
            return await self._vm(request, obj)
        if obj is not None and resource == INSTANCES:
            return await self._vmi(request, obj)
        if obj is not None and resource in OTHERS:
            return await self._other(request, obj, OTHERS[resource])
        return AdmissionResult(obj)

    async def _vm(self, request: AdmissionRequest, obj: Json) -> AdmissionResult:
        old = request.old
        if old is not None and (_leaving(old) or old.get("spec") == obj.get("spec")):
            return AdmissionResult(obj)
        vm = _decode(obj, VirtualMachine, refusals.VM)
        trusted = request.user.name in labels.COMPONENT_USERS
        broken_before: list[Cause] = []
        changes: list[Cause] = []
        if old is None:
            vm.metadata.namespace = request.namespace
            sized, settings = await instancetypes.admit_new(self._kube, vm)
            default_vm(vm, new_uuid=self._new_uuid, new_mac=self._new_mac, settings=settings)
        else:
            before = codec.from_builtins(old, VirtualMachine)
            carry_identity(before.spec.template.spec, vm.spec.template.spec, new_mac=self._new_mac)
            vm.status = before.status  # written through its own subresource only
            sized = await instancetypes.admit_change(self._kube, before, vm)
            # A machine stored before a rule existed must still be stopped, labelled, mended step by step.
            broken_before = instancetypes.judge_stored(before, vm, sized, trusted=trusted)
            broken_before += unknown_metadata(old)
            changes = update.vm_update(before, vm)
        causes = await presets.excused(self._kube, vm, instancetypes.judge(vm, sized, trusted=trusted))
        causes = [cause for cause in (*unknown_metadata(obj), *causes) if cause not in broken_before]
        _refuse([*changes, *causes], refusals.VM, request.name)
        warnings = () if vm.spec.running is None else (RUNNING_DEPRECATED,)
        return AdmissionResult(obj | {"spec": codec.to_builtins(vm.spec, keeping=obj["spec"])}, warnings)

    async def _vmi(self, request: AdmissionRequest, obj: Json) -> AdmissionResult:
        if request.old is None:
            return await self._new_vmi(request, obj)
        return self._changed_vmi(request, obj, request.old)

    async def _new_vmi(self, request: AdmissionRequest, obj: Json) -> AdmissionResult:
        trusted = request.user.name in labels.COMPONENT_USERS
        if not trusted:
            obj = {key: value for key, value in obj.items() if key != "status"}
        vmi = _decode(obj, VirtualMachineInstance, refusals.VMI)
        warnings = await presets.apply_presets(self._kube, vmi, request.namespace)
        # The VM controller creates its VMIs already placed; everybody else's begin at Pending.
        now = "" if vmi.status.phase else self._now()
        default_vmi(vmi, new_uuid=self._new_uuid, new_mac=self._new_mac, now=now)
        if labels.VMI_FINALIZER not in vmi.metadata.finalizers:
            vmi.metadata.finalizers.append(labels.VMI_FINALIZER)
        if request.name:
            vmi.metadata.labels.setdefault(labels.VMI_ID, instance_id(request.name))
        _refuse(validate_vmi(vmi, trusted=trusted), refusals.VMI, request.name)
        return AdmissionResult(obj | _changed_fields(vmi, obj), warnings)

    def _changed_vmi(self, request: AdmissionRequest, obj: Json, old: Json) -> AdmissionResult:
        if request.user.name in labels.COMPONENT_USERS:
            self._check_node(request.user, old, obj, request.name)
            if obj.get("spec") != old.get("spec") and not _leaving(old):
                was = codec.from_builtins(old, VirtualMachineInstance)
                now = _decode(obj, VirtualMachineInstance, refusals.VMI)
                _refuse(update.vmi_hotplug(was, now), refusals.VMI, request.name)
                # A list that a component writes anew has only the fields that it knows.
                kept = codec.with_unknown(obj["spec"], old["spec"], VirtualMachineInstanceSpec)
                return AdmissionResult(obj | {"spec": kept})
            return AdmissionResult(obj)
        obj = {key: value for key, value in obj.items() if key != "status"}
        if "status" in old:
            obj["status"] = old["status"]
        if _leaving(old):
            return AdmissionResult(obj)
        obj["metadata"] = _with_our_finalizers(obj.get("metadata") or {}, old.get("metadata") or {})
        causes = []
        if _reserved(obj) != _reserved(old):
            causes.append(Cause(NOT_SUPPORTED, LABELS_AT_UPDATE, ""))
        if not self._means_the_same(obj, old):
            causes.append(Cause(NOT_SUPPORTED, SPEC_RESTRICTED, ""))
        _refuse(causes, refusals.VMI, request.name)
        return AdmissionResult(obj | {"spec": old.get("spec")})

    def _means_the_same(self, obj: Json, old: Json) -> bool:
        """Whether the specs agree once defaults are filled in: the same manifest may be applied twice."""
        if obj.get("spec") == old.get("spec"):
            return True
        was = codec.from_builtins(old, VirtualMachineInstance)
        now = _decode(obj, VirtualMachineInstance, refusals.VMI)
        carry_identity(was.spec, now.spec)
        default_vmi(now, new_uuid=self._new_uuid)
        return codec.to_builtins(now.spec) == codec.to_builtins(was.spec)

    async def _vm_status(self, request: AdmissionRequest, obj: Json) -> None:
        """Of a status only the requests for volumes can be wrong in a way that matters."""
        if request.old is None or _volume_requests(obj) == _volume_requests(request.old):
            return
        old = codec.from_builtins(request.old, VirtualMachine)
        status = _decode(obj, VirtualMachine, refusals.VM).status
        new = VirtualMachine(metadata=old.metadata, spec=old.spec, status=status)
        vmi = await surroundings.instance_of(self._kube, request.namespace, request.name)
        _refuse(update.vm_update(old, new, vmi=vmi), refusals.VM, request.name)

    async def _other(self, request: AdmissionRequest, obj: Json, rules: OtherKind) -> AdmissionResult:
        """Kinds without defaults."""
        old = request.old
        if old is not None and (_leaving(old) or old.get("spec") == obj.get("spec")):
            return AdmissionResult(obj)
        kind = request.plural.removesuffix("s")
        typed = _decode(obj, rules.type, kind)
        trusted = request.user.name in labels.COMPONENT_USERS
        causes = [*unknown_metadata(obj), *rules.validate(typed)]
        causes = [cause for cause in causes if not (trusted and cause.reason == FORBIDDEN)]
        if old is not None and rules.update is not None:
            causes = [*rules.update(codec.from_builtins(old, rules.type), typed), *causes]
        if old is None and rules.create is not None and self._kube is not None and not causes:
            causes = await rules.create(self._kube, typed, request.namespace)
        _refuse(causes, kind, request.name)
        if old is None and rules.labels is not None:
            found = rules.labels(typed) | typed.metadata.labels
            obj = obj | {"metadata": (obj.get("metadata") or {}) | {"labels": found}}
        return AdmissionResult(obj, tuple(rules.warnings(typed)) if rules.warnings is not None else ())

    def _check_node(self, user: UserInfo, old: Json, obj: Json, name: str) -> None:
        """A node's agent writes the VMIs of its node only; its user carries the node as a group."""
        if user.name != labels.HANDLER_USER:
            return
        nodes = {group.removeprefix(NODE_GROUP_PREFIX) for group in user.groups if group.startswith(NODE_GROUP_PREFIX)}
        if not nodes and self._require_node:
            _refuse([Cause(NOT_SUPPORTED, NO_NODE, "")], refusals.VMI, name)
        if nodes and (old.get("status") or {}).get("nodeName") not in nodes:
            _refuse([Cause(NOT_SUPPORTED, OTHER_NODE, "")], refusals.VMI, name)
        if _target_node(old) != _target_node(obj):
            _refuse([Cause(NOT_SUPPORTED, TARGET_NODE, "")], refusals.VMI, name)


def _made_from_a_template(request: AdmissionRequest, obj: Json) -> bool:
    """Whether a controller of ours makes an object of its owner's template, or makes it follow that."""
    if request.user.name != labels.CONTROLLER_USER or request.group != labels.GROUP:
        return False
    if request.old is None:
        return request.plural in (MACHINES[1], INSTANCES[1])
    return request.plural == MACHINES[1] and request.old.get("spec") != obj.get("spec")


def _changed_fields(vmi: VirtualMachineInstance, obj: Json) -> Json:
    """What defaulting may have touched; the rest of the object stays as it came."""
    meta, metadata = vmi.metadata, obj.get("metadata") or {}
    touched = {"labels": meta.labels, "annotations": meta.annotations, "finalizers": meta.finalizers}
    return {
        "metadata": metadata | {key: value for key, value in touched.items() if value},
        "spec": codec.to_builtins(vmi.spec, keeping=obj.get("spec") or {}),
        "status": codec.to_builtins(vmi.status, keeping=obj.get("status") or {}),
    }


def _with_our_finalizers(metadata: Json, old: Json) -> Json:
    """What holds an instance until its guest is gone stays, also where a manifest replaces it; users may add theirs."""
    given = metadata.get("finalizers") or []
    held = [name for name in old.get("finalizers") or [] if name in OUR_FINALIZERS and name not in given]
    return metadata | {"finalizers": [*held, *given]} if held else metadata


def _volume_requests(obj: Json) -> list[Json]:
    return (obj.get("status") or {}).get("volumeRequests") or []


def _target_node(obj: Mapping[str, Any]) -> Any:
    return ((obj.get("metadata") or {}).get("labels") or {}).get(labels.MIGRATION_TARGET_NODE_NAME)


def _reserved(obj: Mapping[str, Any]) -> dict[str, str]:
    present = (obj.get("metadata") or {}).get("labels") or {}
    return {name: present[name] for name in labels.RESERVED_VMI_LABELS if name in present}


def _leaving(old: Mapping[str, Any]) -> bool:
    return bool((old.get("metadata") or {}).get("deletionTimestamp"))


def _decode(obj: Json, type_: type[T], kind: str) -> T:
    try:
        return codec.from_builtins(obj, type_)
    except InvalidObject as err:
        causes = err.causes or (Cause("FieldValueInvalid", err.message, ""),)
        raise refusals.invalid(causes, kind=kind, name=str((obj.get("metadata") or {}).get("name", ""))) from None


def _refuse(causes: list[Cause], kind: str, name: str) -> None:
    if causes:
        raise refusals.invalid(causes, kind=kind, name=name)
