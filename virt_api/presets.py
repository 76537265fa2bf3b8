"""Presets at the creation of an instance: those of its namespace are read, held against each other, and merged.

Called by `virt_api.admission` before an instance gets its defaults. Later changes of presets touch no instance.
"""

from __future__ import annotations

from virt_api import refusals
from virt_kube.api import KubeClient
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCE_PRESETS
from virt_types import codec, presets
from virt_types.kinds import PRESET
from virt_types.v1 import VirtualMachineInstance, VirtualMachineInstancePreset

DEPRECATED = PRESET.deprecation.format(version="kubevirt.io/v1")


async def apply_presets(kube: KubeClient | None, vmi: VirtualMachineInstance, namespace: str) -> tuple[str, ...]:
    """Fill the instance; the warnings for whoever creates it. Raises the 422 that tells of conflicts."""
    if kube is None:
        return ()
    page = await kube.list(VIRTUAL_MACHINE_INSTANCE_PRESETS, namespace)
    found = presets.matching([codec.decode(item, VirtualMachineInstancePreset) for item in page.items], vmi)
    if not found:
        return ()
    causes = presets.conflicts(found)
    if causes:
        raise refusals.invalid(causes, kind=refusals.VMI, name=vmi.metadata.name)
    presets.merge(found, vmi)
    return (DEPRECATED,)
