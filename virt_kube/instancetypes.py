"""Which instancetype and preference a VM means: its revision where it has one, else the object itself.

Called by admission, by the expand-spec verbs and by the VM controller; what the two do to a VM is virt_types.expansion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from virt_kube.api import KubeClient, NotFound, Resource
from virt_kube.resources import (
    CONTROLLER_REVISIONS,
    VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES,
    VIRTUAL_MACHINE_CLUSTER_PREFERENCES,
    VIRTUAL_MACHINE_INSTANCETYPES,
    VIRTUAL_MACHINE_PREFERENCES,
)
from virt_types import codec
from virt_types.errors import InvalidObject, VirtError
from virt_types.expansion import Sizing
from virt_types.instancetype.v1beta1 import VirtualMachineInstancetype, VirtualMachinePreference
from virt_types.v1 import InstancetypeMatcher, InstancetypeStatusRef, PreferenceMatcher, VirtualMachine

SpecT = TypeVar("SpecT")
Matcher = InstancetypeMatcher | PreferenceMatcher
# A revision somebody has at hand, as JSON; None when it has to be asked for.
KnownRevision = Callable[[str, str], bytes | None]

UNEXPECTED_KIND = "got unexpected kind in {matcher}: {kind}"
UNRESOLVED = "spec.{word} names none (inferFromVolume is resolved when the VM is created)"
HELD = "; the VM is held to it: name another {word}, or set spec.{word}.revisionName"
EMPTY_REVISION = "ControllerRevision {namespace}/{name} holds no {word}"


class NotFindable(VirtError):
    """A VM names an instancetype or preference that can't be had; `word` says which of the two."""

    reason = "NotFound"

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message)
        self.word = word


class Reference(NamedTuple):
    """One of the two things a VM refers to. `word` is its field of the VM's spec."""

    word: str
    matcher: str
    resource: Resource
    cluster_resource: Resource
    type: type[Any]

    def matcher_of(self, vm: VirtualMachine) -> Matcher | None:
        found: Matcher | None = getattr(vm.spec, self.word)
        return found

    def status_of(self, vm: VirtualMachine) -> InstancetypeStatusRef | None:
        found: InstancetypeStatusRef | None = getattr(vm.status, f"{self.word}_ref")
        return found

    def resource_of(self, kind: str | None) -> Resource:
        """The resource of a matcher's kind, which may be in any case and number; without one the cluster's."""
        for resource in (self.cluster_resource, self.resource):
            if (kind or self.cluster_resource.kind).lower() in (resource.kind.lower(), resource.plural):
                return resource
        raise NotFindable(self.word, UNEXPECTED_KIND.format(matcher=self.matcher, kind=kind))


INSTANCETYPE = Reference(
    "instancetype",
    "InstancetypeMatcher",
    VIRTUAL_MACHINE_INSTANCETYPES,
    VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES,
    VirtualMachineInstancetype,
)
PREFERENCE = Reference(
    "preference",
    "PreferenceMatcher",
    VIRTUAL_MACHINE_PREFERENCES,
    VIRTUAL_MACHINE_CLUSTER_PREFERENCES,
    VirtualMachinePreference,
)
REFERENCES = (INSTANCETYPE, PREFERENCE)


class Found(NamedTuple, Generic[SpecT]):
    """The object's JSON and spec; `revision` names the ControllerRevision it comes from, "" for the object itself."""

    body: bytes
    spec: SpecT
    revision: str


async def sizing_of(kube: KubeClient, vm: VirtualMachine, *, known: KnownRevision | None = None) -> Sizing:
    """Both specs; NotFindable when one is missing, ApiError when the API can't say."""
    size = await find(kube, vm, INSTANCETYPE, known=known)
    preference = await find(kube, vm, PREFERENCE, known=known)
    return Sizing(size and size.spec, preference and preference.spec)


async def find(
    kube: KubeClient, vm: VirtualMachine, reference: Reference, *, known: KnownRevision | None = None
) -> Found[Any] | None:
    """What the VM refers to; None when it refers to none."""
    matcher = reference.matcher_of(vm)
    if matcher is None:
        return None
    if not (matcher.name or matcher.revision_name):
        raise NotFindable(reference.word, UNRESOLVED.format(word=reference.word))
    resource, namespace = reference.resource_of(matcher.kind), vm.metadata.namespace
    revision = revision_of(vm, reference)
    try:
        if revision:
            stored = known(namespace, revision) if known is not None else None
            stored = stored or await kube.get(CONTROLLER_REVISIONS, namespace, revision)
            body = _data(stored, reference.word, namespace, revision)
        else:
            body = await kube.get(resource, namespace if resource.namespaced else "", matcher.name or "")
        return Found(body, codec.decode(body, reference.type).spec, revision)
    except (NotFound, InvalidObject) as error:
        held = HELD.format(word=reference.word) if revision else ""
        raise NotFindable(reference.word, error.message + held) from None


def revision_of(vm: VirtualMachine, reference: Reference) -> str:
    """The revision a VM is held to: the one its owner chose, else the one it was given; "" when there is none."""
    matcher, status = reference.matcher_of(vm), reference.status_of(vm)
    if matcher is None:
        return ""
    if matcher.revision_name:
        return matcher.revision_name
    if status is None or status.name != matcher.name or status.controller_revision_ref is None:
        return ""
    same_kind = reference.resource_of(status.kind) == reference.resource_of(matcher.kind)
    return (status.controller_revision_ref.name or "") if same_kind else ""


class _Revision(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"null")


def _data(stored: bytes, word: str, namespace: str, name: str) -> bytes:
    data = bytes(codec.decode(stored, _Revision).data)
    if data == b"null":
        raise NotFindable(word, EMPTY_REVISION.format(namespace=namespace, name=name, word=word))
    return data
