"""OfflineVirtualMachine, as KubeVirt called a VirtualMachine in 2018: the same objects under their former name.

`kubectl get ovms` and a manifest of that time work against today's machines, and neither name can say something else
than the other. Given to the `Registry` of a server that has KubeVirt's admission.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from virt_local.apiserver.registry import ResourceType

VIRTUAL_MACHINES = "virtualmachines.kubevirt.io"
PLURAL, KIND, VERSION, SHORT_NAMES = "offlinevirtualmachines", "OfflineVirtualMachine", "v1alpha1", ("ovm", "ovms")
WARNING = f"kubevirt.io/{VERSION} {KIND} is the former name of kubevirt.io/v1 VirtualMachine: this is the same object"


def views(resource: ResourceType) -> Iterator[ResourceType]:
    """The resources that show the objects of `resource` under another name."""
    if resource.qualified == VIRTUAL_MACHINES:
        yield replace(
            resource,
            plural=PLURAL,
            kind=KIND,
            singular=KIND.lower(),
            list_kind=f"{KIND}List",
            versions=(replace(resource.storage, name=VERSION, served=True, warning=WARNING),),
            short_names=SHORT_NAMES,
            categories=(),  # `kubectl get all` shows a machine once
            view_of=resource,
        )
