"""Which VirtualMachines and VirtualMachineInstances get into the API, and in what shape.

The embedded API server calls `KubeVirtAdmission.admit` for every write; on a cluster `virt_api.webhooks` answers the
same question over HTTP. Defaults and rules are `virt_types`'; what is decided here is who may write what, and when.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from virt_types.defaults import default_vm, default_vmi
from virt_types.validation import validate_vm, validate_vmi

from virt_api import refusals
from virt_kube.admission import AdmissionRequest, AdmissionResult, UserInfo
from virt_kube.api import Json
from virt_types import codec, labels
from virt_types.errors import Cause, InvalidObject
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

NODE_GROUP_PREFIX = "system:node:"
NOT_SUPPORTED = "FieldValueNotSupported"
RUNNING_DEPRECATED = "spec.running is deprecated, please use spec.runStrategy instead."
LABELS_AT_CREATE = "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited"
LABELS_AT_UPDATE = "modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited"
SPEC_RESTRICTED = "update of VMI object is restricted"
OTHER_NODE = "Node restriction, virt-handler is only allowed to modify VMIs it owns"
NO_NODE = "Node restriction failed, virt-handler service account is missing node name"
MAX_LABEL = 63

T = TypeVar("T")


def new_mac() -> str:
    """A random address below QEMU's prefix."""
    return "52:54:00:" + secrets.token_bytes(3).hex(":")


def new_uuid() -> str:
    return str(uuid.uuid4())


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class KubeVirtAdmission:
    """Implements `virt_kube.admission.Admission`. Randomness and time are given, so that tests can fix them."""

    def __init__(
        self,
        *,
        new_uuid: Callable[[], str] = new_uuid,
        new_mac: Callable[[], str] = new_mac,
        now: Callable[[], str] = utc_now,
    ) -> None:
        self._new_uuid, self._new_mac, self._now = new_uuid, new_mac, now

    async def admit(self, request: AdmissionRequest) -> AdmissionResult:
        """Default, then validate; a refusal is a 422 with every cause."""
        if request.obj is None or request.group != labels.GROUP or request.subresource:
            return AdmissionResult(request.obj)
        if request.plural == "virtualmachines":
            return self._vm(request, request.obj)
        if request.plural == "virtualmachineinstances":
            return self._vmi(request, request.obj)
        return AdmissionResult(request.obj)

    def _vm(self, request: AdmissionRequest, obj: Json) -> AdmissionResult:
        old = request.old
        if old is not None and (_leaving(old) or old.get("spec") == obj.get("spec")):
            return AdmissionResult(obj)
        vm = _decode(obj, VirtualMachine, refusals.VM)
        if old is None:
            default_vm(vm, new_uuid=self._new_uuid, new_mac=self._new_mac)
        else:
            _keep_identity(vm, codec.from_builtins(old, VirtualMachine))
        _refuse(validate_vm(vm), refusals.VM, request.name)
        warnings = () if vm.spec.running is None else (RUNNING_DEPRECATED,)
        return AdmissionResult(obj | {"spec": codec.to_builtins(vm.spec)}, warnings)

    def _vmi(self, request: AdmissionRequest, obj: Json) -> AdmissionResult:
        if request.old is None:
            return self._new_vmi(request, obj)
        return self._changed_vmi(request, obj, request.old)

    def _new_vmi(self, request: AdmissionRequest, obj: Json) -> AdmissionResult:
        trusted = request.user.name in labels.COMPONENT_USERS
        if not trusted:
            if _reserved(obj):
                _refuse([Cause(NOT_SUPPORTED, LABELS_AT_CREATE, "metadata.labels")], refusals.VMI, request.name)
            obj = {key: value for key, value in obj.items() if key != "status"}
        vmi = _decode(obj, VirtualMachineInstance, refusals.VMI)
        default_vmi(vmi, new_uuid=self._new_uuid, new_mac=self._new_mac)
        _refuse(validate_vmi(vmi), refusals.VMI, request.name)
        return AdmissionResult(
            obj
            | {
                "metadata": self._vmi_metadata(obj.get("metadata") or {}, request.name),
                "spec": codec.to_builtins(vmi.spec),
                "status": self._first_status(codec.to_builtins(vmi.status)),
            }
        )

    def _vmi_metadata(self, metadata: Json, name: str) -> Json:
        finalizers = list(metadata.get("finalizers") or ())
        if labels.VMI_FINALIZER not in finalizers:
            finalizers.append(labels.VMI_FINALIZER)
        named = {labels.VMI_ID: vmi_id(name)} if name else {}
        return metadata | {"finalizers": finalizers, "labels": named | (metadata.get("labels") or {})}

    def _first_status(self, status: Json) -> Json:
        """Pending since now, unless its creator has placed it already."""
        phase = status.get("phase") or "Pending"
        stamps = status.get("phaseTransitionTimestamps") or [
            {"phase": phase, "phaseTransitionTimestamp": self._now()},
        ]
        return status | {"phase": phase, "phaseTransitionTimestamps": stamps}

    def _changed_vmi(self, request: AdmissionRequest, obj: Json, old: Json) -> AdmissionResult:
        if request.user.name in labels.COMPONENT_USERS:
            _check_node(request.user, old, request.name)
            return AdmissionResult(obj)
        obj = {key: value for key, value in obj.items() if key != "status"}
        if "status" in old:
            obj["status"] = old["status"]
        if _leaving(old):
            return AdmissionResult(obj)
        causes = []
        if _reserved(obj) != _reserved(old):
            causes.append(Cause(NOT_SUPPORTED, LABELS_AT_UPDATE, ""))
        if obj.get("spec") != old.get("spec"):
            causes.append(Cause(NOT_SUPPORTED, SPEC_RESTRICTED, ""))
        _refuse(causes, refusals.VMI, request.name)
        return AdmissionResult(obj)


def vmi_id(name: str) -> str:
    """The value of the label that Services made by `virtctl expose` select (virtctl shortens long names alike)."""
    if len(name) <= MAX_LABEL:
        return name
    return f"{name[:54]}-{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:8]}"


def _keep_identity(vm: VirtualMachine, old: VirtualMachine) -> None:
    """Replacing a VM with the manifest it was made from must not give the guest a new uuid, serial or MAC."""
    new_domain, old_domain = vm.spec.template.spec.domain, old.spec.template.spec.domain
    if old_domain.firmware is not None:
        if new_domain.firmware is None:
            new_domain.firmware = type(old_domain.firmware)()
        new_domain.firmware.uuid = new_domain.firmware.uuid or old_domain.firmware.uuid
        new_domain.firmware.serial = new_domain.firmware.serial or old_domain.firmware.serial
    macs = {interface.name: interface.mac_address for interface in old_domain.devices.interfaces}
    for interface in new_domain.devices.interfaces:
        interface.mac_address = interface.mac_address or macs.get(interface.name)


def _check_node(user: UserInfo, old: Json, name: str) -> None:
    """A node's agent writes the VMIs of its node only; its user carries the node as a group."""
    if user.name != labels.HANDLER_USER:
        return
    nodes = {group.removeprefix(NODE_GROUP_PREFIX) for group in user.groups if group.startswith(NODE_GROUP_PREFIX)}
    if not nodes:
        _refuse([Cause(NOT_SUPPORTED, NO_NODE, "")], refusals.VMI, name)
    if (old.get("status") or {}).get("nodeName") not in nodes:
        _refuse([Cause(NOT_SUPPORTED, OTHER_NODE, "")], refusals.VMI, name)


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
