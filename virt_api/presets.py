"""Presets at the creation of an instance: those of its namespace are read, held against each other, and merged.

Called by `virt_api.admission` before an instance gets its defaults. Later changes of presets touch no instance.
"""

from __future__ import annotations

from virt_api import refusals
from virt_kube.api import KubeClient, NotFound
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCE_PRESETS
from virt_types import codec, presets
from virt_types.errors import Cause
from virt_types.kinds import PRESET
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineInstancePreset

DEPRECATED = PRESET.deprecation.format(version="kubevirt.io/v1")


async def apply_presets(kube: KubeClient | None, vmi: VirtualMachineInstance, namespace: str) -> tuple[str, ...]:
    """Fill the instance; the warnings for whoever creates it. Raises the 422 that tells of conflicts."""
    found = await _matching(kube, vmi, namespace)
    if not found:
        return ()
    causes = presets.conflicts(found)
    if causes:
        raise refusals.invalid(causes, kind=refusals.VMI, name=vmi.metadata.name)
    presets.merge(found, vmi)
    return (DEPRECATED,)


async def excused(kube: KubeClient | None, vm: VirtualMachine, causes: list[Cause]) -> list[Cause]:
    """What is still wrong with a VM, as its instances will be filled by presets."""
    if not any(cause.field in presets.NO_MEMORY for cause in causes):
        return causes
    return presets.excused(causes, await _matching(kube, presets.instance_of(vm), vm.metadata.namespace))


async def _matching(
    kube: KubeClient | None, vmi: VirtualMachineInstance, namespace: str
) -> list[VirtualMachineInstancePreset]:
    if kube is None:
        return []
    try:
        page = await kube.list(VIRTUAL_MACHINE_INSTANCE_PRESETS, namespace)
    except NotFound:  # a cluster that doesn't serve the kind
        return []
    return presets.matching([codec.decode(item, VirtualMachineInstancePreset) for item in page.items], vmi)
