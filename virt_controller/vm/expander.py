"""A VM with its instancetype and preference filled in, as the instances it starts are made from."""

from __future__ import annotations

import msgspec

from virt_controller.revisions import RevisionCache, prune, revision, store
from virt_controller.vm.pins import KIND_LABEL, copy_of, revisions_in_use, status_ref, unpinned, with_ref
from virt_kube.api import KubeClient
from virt_kube.instancetypes import REFERENCES, NotFindable, Reference, find, sizing_of
from virt_types import labels
from virt_types.errors import VirtError
from virt_types.expansion import conflicts, expand
from virt_types.v1 import VirtualMachine, VirtualMachineStatus

# Reasons and texts are KubeVirt's (spec 2.10, and the recorded life of a VM whose instancetype is missing).
NOT_FOUND = {"instancetype": "FailedFindInstancetype", "preference": "FailedFindPreference"}
CONFLICT = (
    "Error creating virtual machine instance: Failed to apply instancetype: "
    "VMI conflicts with instancetype spec in fields: [{fields}]"
)
# Kind of a VM's reference -> the annotation of its instances that names it.
ANNOTATIONS = {
    "VirtualMachineInstancetype": labels.INSTANCETYPE_NAME,
    "VirtualMachineClusterInstancetype": labels.CLUSTER_INSTANCETYPE_NAME,
    "VirtualMachinePreference": labels.PREFERENCE_NAME,
    "VirtualMachineClusterPreference": labels.CLUSTER_PREFERENCE_NAME,
}


class ExpansionFailed(VirtError):
    """A VM can't be expanded; `reason` is that of its Failure condition. `lasting`: until the VM changes."""

    reason = "FailedCreate"

    def __init__(self, message: str, *, reason: str | None = None, lasting: bool) -> None:
        super().__init__(message, reason=reason)
        self.lasting = lasting


class Expander:
    """Expands VMs, from the revisions they hold to or from the objects themselves."""

    def __init__(self, client: KubeClient, revisions: RevisionCache) -> None:
        self._client = client
        self._revisions = revisions

    async def expanded(self, vm: VirtualMachine) -> VirtualMachine:
        """The VM itself when it refers to nothing, else an expanded copy; raises ExpansionFailed and ApiError."""
        if vm.spec.instancetype is None and vm.spec.preference is None:
            return vm
        try:
            sizing = await sizing_of(self._client, vm, known=self._known)
        except NotFindable as error:
            raise _missing(error) from error
        found = conflicts(vm, *sizing)
        if found:
            fields = ", ".join(cause.field for cause in found)
            raise ExpansionFailed(CONFLICT.format(fields=fields), lasting=True)
        expanded = expand(vm, *sizing)
        for reference in REFERENCES:
            expanded.spec.template.metadata.annotations |= _annotation(vm, reference)
        return expanded

    async def pin(self, vm: VirtualMachine) -> VirtualMachineStatus:
        """Store copies of what the VM refers to; the status that names them. Raises ExpansionFailed and ApiError."""
        status = vm.status
        for reference in unpinned(vm):
            try:
                name = await self._stored(vm, reference)
                status = with_ref(status, reference, status_ref(vm, reference, name))
            except NotFindable as error:
                raise _missing(error) from error
        return status

    async def _stored(self, vm: VirtualMachine, reference: Reference) -> str:
        """The name of the revision the reference is held to, "" for no reference."""
        found = await find(self._client, vm, reference, known=self._known)
        if found is None or found.revision:
            return "" if found is None else found.revision
        copy = copy_of(vm, found)
        await store(self._client, self._revisions, revision(vm, copy.name, copy.data, 0, marks=copy.marks))
        return copy.name

    async def forget_others(self, vm: VirtualMachine) -> None:
        """Delete the copies of what the VM referred to before."""
        used = revisions_in_use(vm.status)
        await prune(self._client, self._revisions, vm, label=KIND_LABEL, keep=used)

    def _known(self, namespace: str, name: str) -> bytes | None:
        stored = self._revisions.get(namespace, name)
        return None if stored is None else msgspec.json.encode(stored)


def _missing(error: NotFindable) -> ExpansionFailed:
    return ExpansionFailed(error.message, reason=NOT_FOUND[error.word], lasting=False)


def _annotation(vm: VirtualMachine, reference: Reference) -> dict[str, str]:
    matcher = reference.matcher_of(vm)
    if matcher is None or not matcher.name:
        return {}
    return {ANNOTATIONS[reference.resource_of(matcher.kind).kind]: matcher.name}
