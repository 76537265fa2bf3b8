"""VirtualMachine and VMI Structs for tests, in one line each."""

from __future__ import annotations

from typing import Any

from support.fake_kube import EPOCH

from virt_kube.clock import rfc3339
from virt_types import labels
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

UID = "11111111-aaaa"


def vm(strategy: str | None = "Always", *, meta: dict[str, Any] | None = None, **status: Any) -> VirtualMachine:
    """A VM that the controller has met before (its finalizer is set); `status` fields by their wire names."""
    spec: dict[str, Any] = {"template": {"spec": {"domain": {"firmware": {"uuid": "f"}, "devices": {}}}}}
    if strategy is not None:
        spec["runStrategy"] = strategy
    metadata = {
        "name": "vm1",
        "namespace": "ns",
        "uid": UID,
        "generation": 3,
        "resourceVersion": "7",
        "finalizers": [labels.VM_FINALIZER],
        **(meta or {}),
    }
    return from_builtins(
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": metadata,
            "spec": spec,
            "status": status,
        },
        VirtualMachine,
    )


def vmi(
    phase: str = "Running",
    *,
    uid: str = "22222222-bbbb",
    ran: bool | None = None,
    going: bool = False,
    owner: str | None = UID,
    meta: dict[str, Any] | None = None,
    lived: float = 90.0,
    **status: Any,
) -> VirtualMachineInstance:
    """An instance in `phase`; `ran` (default: whenever it makes sense) puts Running into its history.

    A final one ended at EPOCH, after it had run for `lived` seconds; any other entered its phase at EPOCH.
    """
    ran = phase in ("Running", "Succeeded", "Failed") if ran is None else ran
    phases = [
        "Pending",
        "Scheduled",
        *(["Running"] if ran else []),
        *([phase] if phase in ("Succeeded", "Failed") else []),
    ]
    reference = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "name": "vm1",
        "uid": owner,
        "controller": True,
    }
    metadata = {
        "name": "vm1",
        "namespace": "ns",
        "uid": uid,
        "resourceVersion": "9",
        "annotations": {labels.VM_GENERATION: "3"},
        "finalizers": [labels.VM_FINALIZER, labels.VMI_FINALIZER],
        "ownerReferences": [reference] if owner else [],
        **({"deletionTimestamp": rfc3339(EPOCH)} if going else {}),
        **(meta or {}),
    }
    body = {
        "phase": phase,
        "nodeName": "node1",
        "phaseTransitionTimestamps": [
            {"phase": each, "phaseTransitionTimestamp": rfc3339(EPOCH - (lived if each != phases[-1] else 0))}
            for each in phases
        ],
        **status,
    }
    return from_builtins(
        {"metadata": metadata, "spec": {"domain": {"devices": {}}}, "status": body}, VirtualMachineInstance
    )
