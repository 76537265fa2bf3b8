"""Admission in a cluster that serves neither presets nor instancetypes: machines are judged by themselves."""

from __future__ import annotations

from typing import Any, cast

import pytest

from virt_api.admission import KubeVirtAdmission
from virt_kube.admission import AdmissionRequest, UserInfo
from virt_kube.api import Invalid, Json, KubeClient, ListPage, NotFound, Resource

SPEC: Json = {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}


class Bare:
    async def list(self, resource: Resource, namespace: str = "", **_: Any) -> ListPage:
        raise NotFound("the server could not find the requested resource")

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        raise NotFound("the server could not find the requested resource")


async def admitted(kind: str, spec: Json) -> Json:
    obj = {"apiVersion": "kubevirt.io/v1", "kind": kind, "metadata": {"name": "x", "namespace": "ns"}, "spec": spec}
    plural = f"{kind.lower()}s"
    asked = AdmissionRequest("CREATE", "kubevirt.io", "v1", plural, kind, "ns", "x", "", obj, None, UserInfo("alice"))
    result = await KubeVirtAdmission(kube=cast(KubeClient, Bare())).admit(asked)
    assert result.obj is not None
    assert result.warnings == ()
    return result.obj


async def test_machines_are_taken() -> None:
    assert (await admitted("VirtualMachineInstance", SPEC))["status"]["phase"] == "Pending"
    vm = await admitted("VirtualMachine", {"runStrategy": "Halted", "template": {"spec": SPEC}})
    assert vm["spec"]["template"]["spec"]["domain"]["firmware"]["uuid"]


async def test_what_can_not_be_had_is_refused() -> None:
    spec = {
        "runStrategy": "Halted",
        "instancetype": {"name": "small"},
        "template": {"spec": {"domain": {"devices": {}}}},
    }
    with pytest.raises(Invalid, match="Failure to find instancetype: the server could not find the requested resource"):
        await admitted("VirtualMachine", spec)
