"""The VM a pool makes for one ordinal, and what an existing one becomes when the template has changed (spec 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from virt_controller.members import owner_reference
from virt_kube.resources import VIRTUAL_MACHINES
from virt_types import labels
from virt_types.codec import decode, encode
from virt_types.defaults import carry_identity
from virt_types.meta import ObjectMeta
from virt_types.pool.v1beta1 import VirtualMachinePool, VirtualMachinePoolNameGeneration, VirtualMachineTemplateSpec
from virt_types.v1 import AccessCredential, VirtualMachine, VirtualMachineInstanceSpec, VirtualMachineSpec, Volume

NOT_NUMBERED = 2**31  # the ordinal of a VM whose name has none: it sorts last


def name_of(pool: VirtualMachinePool, ordinal: int) -> str:
    return f"{pool.metadata.name}-{ordinal}"


def ordinal_of(pool: VirtualMachinePool, name: str) -> int:
    text = name.removeprefix(f"{pool.metadata.name}-")
    return int(text) if text.isdecimal() and len(text) < 10 and text != name else NOT_NUMBERED


def build_machine(pool: VirtualMachinePool, ordinal: int, revision: str, *, healed: int = 0) -> VirtualMachine:
    """A new VM of the pool, made from the template as stored under `revision`."""
    template = pool.spec.virtual_machine_template
    annotations = {**template.metadata.annotations}
    if healed:
        annotations[labels.POOL_HEALINGS] = str(healed)
    return VirtualMachine(
        api_version=VIRTUAL_MACHINES.api_version,
        kind=VIRTUAL_MACHINES.kind,
        metadata=ObjectMeta(
            name=name_of(pool, ordinal),
            namespace=pool.metadata.namespace,
            labels={**template.metadata.labels, labels.POOL_REVISION: revision},
            annotations=annotations,
            owner_references=[owner_reference(pool)],
            finalizers=[labels.POOL_FINALIZER],
        ),
        spec=numbered_spec(template, ordinal, revision, pool.spec.name_generation),
    )


def renewed(
    pool: VirtualMachinePool, vm: VirtualMachine, revision: str, was: VirtualMachineTemplateSpec | None
) -> VirtualMachine:
    """`vm` as the template wants it now. What makes it itself stays: uuid, serial, MACs, and stored instancetypes.

    `was` is the template it was made from, where that is known: what a user changed of the run strategy since (a
    `stop`) stays too, and labels and annotations that the template had and has no more go.
    """
    template = pool.spec.virtual_machine_template
    spec = numbered_spec(template, ordinal_of(pool, vm.metadata.name), revision, pool.spec.name_generation)
    carry_identity(vm.spec.template.spec, spec.template.spec)
    _carry_matchers(vm.spec, spec)
    if was is not None and _strategy(was.spec) != _strategy(vm.spec):
        spec.running, spec.run_strategy = _strategy(vm.spec)
    old = was.metadata if was is not None else ObjectMeta()
    metadata = ObjectMeta(
        labels={**_without(vm.metadata.labels, old.labels), **template.metadata.labels, labels.POOL_REVISION: revision},
        annotations={**_without(vm.metadata.annotations, old.annotations), **template.metadata.annotations},
    )
    return VirtualMachine(metadata=metadata, spec=spec)


def numbered_spec(
    template: VirtualMachineTemplateSpec,
    ordinal: int,
    revision: str,
    naming: VirtualMachinePoolNameGeneration | None,
) -> VirtualMachineSpec:
    """The template's spec for one ordinal: disks of its own, and ConfigMaps and Secrets where the pool wants that."""
    spec = decode(encode(template.spec), VirtualMachineSpec)
    spec.template.metadata.labels = {**spec.template.metadata.labels, labels.POOL_REVISION: revision}
    names = {each.metadata.name: f"{each.metadata.name}-{ordinal}" for each in spec.data_volume_templates}
    for each in spec.data_volume_templates:
        each.metadata.name = names[each.metadata.name]
    _rename(_disks(spec.template.spec), lambda name: names.get(name, name))
    if naming is not None and naming.append_index_to_config_map_refs:
        _rename(_config_maps(spec.template.spec), lambda name: f"{name}-{ordinal}")
    if naming is not None and naming.append_index_to_secret_refs:
        _rename(_secrets(spec.template.spec), lambda name: f"{name}-{ordinal}")
    return spec


Reference = tuple[Any, str]  # a Struct and the name of its field that names an object


def _rename(references: Iterator[Reference], renamed: Callable[[str], str]) -> None:
    for owner, field in references:
        name = getattr(owner, field) if owner is not None else None
        if name:
            setattr(owner, field, renamed(name))


def _disks(spec: VirtualMachineInstanceSpec) -> Iterator[Reference]:
    for volume in spec.volumes:
        yield volume.data_volume, "name"
        yield volume.persistent_volume_claim, "claim_name"
        yield volume.ephemeral.persistent_volume_claim if volume.ephemeral else None, "claim_name"


def _config_maps(spec: VirtualMachineInstanceSpec) -> Iterator[Reference]:
    for volume in spec.volumes:
        yield volume.config_map, "name"
        yield volume.sysprep.config_map if volume.sysprep else None, "name"


def _secrets(spec: VirtualMachineInstanceSpec) -> Iterator[Reference]:
    for volume in spec.volumes:
        yield from _secrets_of_volume(volume)
    for credential in spec.access_credentials:
        yield from _secrets_of_credential(credential)


def _secrets_of_volume(volume: Volume) -> Iterator[Reference]:
    yield volume.secret, "secret_name"
    yield volume.sysprep.secret if volume.sysprep else None, "name"
    for source in (volume.cloud_init_no_cloud, volume.cloud_init_config_drive):
        if source is not None:
            yield source.secret_ref, "name"
            yield source.network_data_secret_ref, "name"


def _secrets_of_credential(credential: AccessCredential) -> Iterator[Reference]:
    for method in (credential.ssh_public_key, credential.user_password):
        if method is not None:
            yield method.source.secret, "secret_name"


def _strategy(spec: VirtualMachineSpec) -> tuple[bool | None, str | None]:
    return spec.running, spec.run_strategy


def _carry_matchers(old: VirtualMachineSpec, new: VirtualMachineSpec) -> None:
    """The stored copy of an instancetype or preference stays in use while the VM names the same one."""
    for was, now in ((old.instancetype, new.instancetype), (old.preference, new.preference)):
        if was is not None and now is not None and (was.kind or now.kind, was.name) == (now.kind or was.kind, now.name):
            now.revision_name = now.revision_name or was.revision_name


def _without(mine: dict[str, str], theirs: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in mine.items() if key not in theirs}
