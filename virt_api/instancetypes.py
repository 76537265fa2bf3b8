"""Instancetypes and preferences at admission: found, inferred, and held against the VM that refers to them (rule 18).

Called by `virt_api.admission` for every VirtualMachine. A VM is judged as its instances will be: expanded.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_api.inference import infer
from virt_kube.api import ApiError, KubeClient
from virt_kube.instancetypes import REFERENCES, NotFindable, sizing_of
from virt_types.errors import Cause
from virt_types.expansion import Sizing, expand, prepare, refusals
from virt_types.settings import DEFAULT, Settings
from virt_types.v1 import VirtualMachine
from virt_types.validation import validate_vm
from virt_types.validation.machine import matchers

NOT_FOUND = "Failure to find {word}: {error}"
NAMESAKE = "; there is a {kind} of that name: set spec.{word}.kind"


class Reference(NamedTuple):
    """What a VM refers to, and why it can't be had."""

    sizing: Sizing = Sizing()
    causes: tuple[Cause, ...] = ()


async def admit_new(kube: KubeClient | None, vm: VirtualMachine) -> tuple[Reference, Settings]:
    """Infer, find, and give a new VM what its other defaults depend on, and the settings for those.

    Without `kube` references are taken as they are. Raises ApiError: 400 when nothing can be inferred.
    """
    if kube is None or not _refers(vm):
        return Reference(), DEFAULT
    await infer(kube, vm)
    found = await _look_up(kube, vm)
    return found, prepare(vm, found.sizing.preference)


async def admit_change(kube: KubeClient | None, before: VirtualMachine, vm: VirtualMachine) -> Reference:
    """Infer and find what a changed VM refers to; one that lost its instancetype can still be stopped or mended."""
    if kube is None or not _refers(vm):
        return Reference()
    await infer(kube, vm)
    found = await _look_up(kube, vm)
    return Reference() if found.causes and not _refers_anew(before, vm) else found


def judge_stored(
    before: VirtualMachine, vm: VirtualMachine, reference: Reference, *, trusted: bool = False
) -> list[Cause]:
    """What was wrong already before a change; a new reference excuses nothing."""
    if _refers_anew(before, vm):
        return validate_vm(before, trusted=trusted)
    return judge(before, reference, trusted=trusted)


def _refers_anew(before: VirtualMachine, vm: VirtualMachine) -> bool:
    return any(reference.matcher_of(before) != reference.matcher_of(vm) for reference in REFERENCES)


def judge(vm: VirtualMachine, reference: Reference, *, trusted: bool = False) -> list[Cause]:
    """Every rule the VM breaks by itself or with what it refers to; `trusted` if a component of ours writes it."""
    if reference.causes:
        return [*reference.causes, *validate_vm(vm, trusted=trusted)]
    found = refusals(vm, *reference.sizing)
    if found or reference.sizing == Sizing():
        return [*found, *validate_vm(vm, trusted=trusted)]
    return [*matchers(vm.spec, "spec"), *validate_vm(expand(vm, *reference.sizing), trusted=trusted)]


def _refers(vm: VirtualMachine) -> bool:
    """Whether the VM refers to anything, in a way that the rules allow."""
    return any(reference.matcher_of(vm) for reference in REFERENCES) and not any(matchers(vm.spec, "spec"))


async def _look_up(kube: KubeClient, vm: VirtualMachine) -> Reference:
    try:
        return Reference(await sizing_of(kube, vm))
    except NotFindable as error:
        message = NOT_FOUND.format(word=error.word, error=error.message) + await _namesake(kube, vm, error.word)
        return Reference(causes=(Cause("FieldValueNotFound", message, f"spec.{error.word}"),))


async def _namesake(kube: KubeClient, vm: VirtualMachine, word: str) -> str:
    """A way out for who left the kind out, which means the cluster's, though the namespace has one of that name."""
    reference = next(each for each in REFERENCES if each.word == word)
    matcher, own = reference.matcher_of(vm), reference.resource
    if matcher is None or matcher.kind or matcher.revision_name:
        return ""
    try:
        await kube.get(own, vm.metadata.namespace, matcher.name or "")
    except ApiError:
        return ""
    return NAMESAKE.format(kind=own.kind, word=word)
