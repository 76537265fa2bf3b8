"""Which instancetype or preference a volume suggests: labels on the claim, DataVolume or DataSource behind it.

Called by admission for VMs that say `inferFromVolume`. Texts are KubeVirt's.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_api import refusals
from virt_kube.api import KubeClient, NotFound, Resource
from virt_kube.instancetypes import INSTANCETYPE, REFERENCES, Reference
from virt_kube.resources import DATA_SOURCES, DATA_VOLUMES, PERSISTENT_VOLUME_CLAIMS
from virt_types import codec
from virt_types.cdi.objects import DataSource, DataVolume
from virt_types.cdi.v1beta1 import DataVolumeSpec
from virt_types.errors import VirtError
from virt_types.meta import Base, ObjectMeta
from virt_types.v1 import InstancetypeMatcher, PreferenceMatcher, VirtualMachine

IGNORE = "Ignore"
NO_VOLUME = "unable to find volume {name} to infer defaults"
OTHER_VOLUME = "unable to infer defaults from volume {name} as type is not supported"
NO_LABEL = "unable to find required {label} label on the volume"
OTHER_SOURCE = "unable to infer defaults from DataVolumeSpec as DataVolumeSource is not supported"
OTHER_REFERENCE = "unable to infer defaults from DataVolumeSourceRef as Kind {kind} is not supported"
OTHER_DATA_SOURCE = "unable to infer defaults from DataSource that doesn't provide DataVolumeSourcePVC"


class NotInferable(VirtError):
    """The volume is there but suggests nothing, which inferFromVolumeFailurePolicy may ignore."""


class _Labels(NamedTuple):
    """The labels that carry a default's name and its kind."""

    name: str
    kind: str


_LABELS = {
    word: _Labels(f"instancetype.kubevirt.io/default-{word}", f"instancetype.kubevirt.io/default-{word}-kind")
    for word in (reference.word for reference in REFERENCES)
}


class _Claim(Base, kw_only=True):
    metadata: ObjectMeta


class _Suggestion(NamedTuple):
    name: str
    kind: str | None


async def infer(kube: KubeClient, vm: VirtualMachine) -> None:
    """Replace each `inferFromVolume` of the VM by what it leads to; raises the 400 that says why there is nothing."""
    for reference in REFERENCES:
        matcher = reference.matcher_of(vm)
        if matcher is None or not matcher.infer_from_volume or matcher.name:
            continue
        ignorable = matcher.infer_from_volume_failure_policy == IGNORE
        try:
            found = await _Volumes(kube, vm, _LABELS[reference.word]).suggestion(matcher.infer_from_volume)
        except NotInferable as error:
            if not ignorable:
                raise refusals.bad_request(error.message) from None
            setattr(vm.spec, reference.word, None)
            continue
        except NotFound as error:
            raise refusals.bad_request(error.message) from None
        _settle(vm, reference, found, guessed=ignorable)


def _settle(vm: VirtualMachine, reference: Reference, found: _Suggestion, *, guessed: bool) -> None:
    if reference is INSTANCETYPE:
        vm.spec.instancetype = InstancetypeMatcher(name=found.name, kind=found.kind)
        if guessed:  # whoever guesses gives memory for the case that nothing is found, as `virtctl create vm` does
            vm.spec.template.spec.domain.memory = None
    else:
        vm.spec.preference = PreferenceMatcher(name=found.name, kind=found.kind)


class _Volumes:
    """The way from a volume to labels, for one VM and one pair of labels."""

    def __init__(self, kube: KubeClient, vm: VirtualMachine, wanted: _Labels) -> None:
        self._kube = kube
        self._vm = vm
        self._namespace = vm.metadata.namespace
        self._wanted = wanted

    async def suggestion(self, name: str) -> _Suggestion:
        volume = next((each for each in self._vm.spec.template.spec.volumes if each.name == name), None)
        if volume is None:
            raise refusals.bad_request(NO_VOLUME.format(name=name))
        if volume.persistent_volume_claim is not None:
            return await self._of_claim(volume.persistent_volume_claim.claim_name, self._namespace)
        if volume.data_volume is not None:
            return await self._of_data_volume(volume.data_volume.name)
        raise NotInferable(OTHER_VOLUME.format(name=name))

    async def _of_claim(self, name: str, namespace: str) -> _Suggestion:
        claim = await self._read(PERSISTENT_VOLUME_CLAIMS, namespace, name)
        return self._labelled(codec.decode(claim, _Claim).metadata)

    async def _of_data_volume(self, name: str) -> _Suggestion:
        for template in self._vm.spec.data_volume_templates:
            if template.metadata.name == name:
                return self._said(template.metadata) or await self._of_spec(template.spec)
        try:
            found = codec.decode(await self._read(DATA_VOLUMES, self._namespace, name), DataVolume)
        except NotFound:  # collected after its import; the claim stays
            return await self._of_claim(name, self._namespace)
        return self._said(found.metadata) or await self._of_spec(found.spec)

    async def _of_spec(self, spec: DataVolumeSpec) -> _Suggestion:
        if spec.source is not None and spec.source.pvc is not None:
            return await self._of_claim(spec.source.pvc.name, spec.source.pvc.namespace or self._namespace)
        if spec.source_ref is None:
            raise NotInferable(OTHER_SOURCE)
        if spec.source_ref.kind != DATA_SOURCES.kind:
            raise NotInferable(OTHER_REFERENCE.format(kind=spec.source_ref.kind))
        return await self._of_data_source(spec.source_ref.name, spec.source_ref.namespace or self._namespace)

    async def _of_data_source(self, name: str, namespace: str) -> _Suggestion:
        found = codec.decode(await self._read(DATA_SOURCES, namespace, name), DataSource)
        said = self._said(found.metadata)
        if said is not None:
            return said
        claim = found.spec.source.pvc
        if claim is None:
            raise NotInferable(OTHER_DATA_SOURCE)
        return await self._of_claim(claim.name, claim.namespace or namespace)

    async def _read(self, resource: Resource, namespace: str, name: str) -> bytes:
        return await self._kube.get(resource, namespace, name)

    def _said(self, metadata: ObjectMeta) -> _Suggestion | None:
        name = metadata.labels.get(self._wanted.name)
        return None if name is None else _Suggestion(name, metadata.labels.get(self._wanted.kind))

    def _labelled(self, metadata: ObjectMeta) -> _Suggestion:
        said = self._said(metadata)
        if said is None:
            raise NotInferable(NO_LABEL.format(label=self._wanted.name))
        return said
