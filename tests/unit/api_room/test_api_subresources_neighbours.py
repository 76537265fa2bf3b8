"""What virt-api answers beside the recorded cases: facts of its handlers, each with the state that shows it.

Where ours differs on purpose, `why` says so; the recorded differences are in subresource_differences.toml.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support.fake_kube import FakeKube
from support.fake_node import add_node

from virt_api import proxy
from virt_api.app import build
from virt_api.objects import Target
from virt_kube.api import Json
from virt_kube.resources import NODES, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES

CONFLICT = 'Operation cannot be fulfilled on {kind}.kubevirt.io "x": {text}'
UNREADABLE = "Can not unmarshal Request body to struct, error: "
ROOT = {"name": "root", "containerDisk": {"image": "registry.invalid/disk:1"}}
PLUGGED = {"name": "hp", "dataVolume": {"name": "data", "hotpluggable": True}}
SCSI = {"disk": {"bus": "scsi"}}
SECURED = {"domain": {"launchSecurity": {"sev": {"attestation": {}}}}}


def vm(strategy: str = "Always", *, volumes: tuple[Json, ...] = (ROOT,), **status: Any) -> Json:
    template = {"spec": {"domain": {"devices": {}}, "volumes": list(volumes)}}
    meta = {"name": "x", "namespace": "ns", "uid": "vm-uid"}
    return {"kind": "VirtualMachine", "metadata": meta, "spec": {"runStrategy": strategy, "template": template}} | {
        "status": status
    }


def vmi(phase: str = "Running", *, owned: bool = True, spec: Json | None = None, **status: Any) -> Json:
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "x", "uid": "vm-uid", "controller": True}
    meta: Json = {"name": "x", "namespace": "ns", "uid": "vmi-uid", "ownerReferences": [owner] if owned else []}
    status = {"phase": phase, "nodeName": "n1", "interfaces": [{"ipAddress": "127.0.0.1"}]} | status
    grace = {"terminationGracePeriodSeconds": 30}
    return {"metadata": meta, "spec": {"domain": {}} | grace | (spec or {}), "status": status}


def queue(*actions: str) -> list[Json]:
    return [{"action": action} | ({"uid": "vmi-uid"} if action == "Stop" else {}) for action in actions]


class Case(NamedTuple):
    verb: str
    vm: Json | None
    vmi: Json | None
    code: int
    text: str = ""
    body: Any = None
    vm_has: Mapping[str, Any] = MappingProxyType({})  # of spec and status afterwards
    vmi_has: Mapping[str, Any] = MappingProxyType({})
    node: Json | None = None
    why: str = ""


def machine(text: str) -> str:
    return CONFLICT.format(kind="virtualmachine", text=text)


def instance(text: str) -> str:
    return CONFLICT.format(kind="virtualmachineinstance", text=text)


STOPPING, STARTING = queue("Stop", "Start"), queue("Start")
MARKED = {"evacuationNodeName": "n1"}
TAINTED = {"spec": {"taints": [{"key": "kubevirt.io/drain", "effect": "NoSchedule"}]}}
OWN = "a request that can't be carried out says so with a code of its own, never 500"
MACHINE_CASES = [
    # start: a VMI without a phase is not running, and is not stopped first either
    Case("start", vm("Manual"), vmi(""), 202, vm_has={"stateChangeRequests": STARTING}),
    Case("start", vm("Manual"), vmi("Unknown"), 202, vm_has={"stateChangeRequests": STARTING}),
    Case("start", vm("RerunOnFailure"), vmi("Unknown"), 202, vm_has={"stateChangeRequests": STARTING}),
    Case("start", vm("Manual"), vmi("Failed"), 202, vm_has={"stateChangeRequests": STOPPING}),
    Case("start", vm("RerunOnFailure"), vmi("Succeeded"), 202, vm_has={"stateChangeRequests": STOPPING}),
    Case("start", vm("Manual"), vmi("WaitingForSync"), 409, machine("VM is already running")),
    Case("start", vm("Once"), None, 409, machine("Once does not support manual start requests")),
    Case("start", vm("WaitAsReceiver"), None, 202),
    Case(
        "start",
        vm("Halted", stateChangeRequests=STARTING),
        None,
        409,
        machine("unable to complete request"),
        {"paused": True},
    ),
    Case("start", vm("Halted"), None, 400, UNREADABLE, {"paused": "yes"}),
    Case("start", vm("Halted"), None, 400, UNREADABLE, ["paused"]),
    Case("start", vm("Halted"), None, 202, body={"pause": True}, vm_has={"runStrategy": "Always"}),
    # stop
    Case(
        "stop",
        vm("Always"),
        vmi(),
        202,
        body={"gracePeriod": 0},
        vm_has={"runStrategy": "Halted"},
        vmi_has={"terminationGracePeriodSeconds": 0},
    ),
    Case(
        "stop",
        vm("Always"),
        vmi(),
        400,
        UNREADABLE,
        {"gracePeriod": 1 << 63},
        vmi_has={"terminationGracePeriodSeconds": 30},
    ),
    Case("stop", vm("Always"), vmi(), 400, UNREADABLE, {"gracePeriod": "0"}),
    Case("stop", vm("Always"), vmi(), 400, UNREADABLE, {"dryRun": "All"}),
    Case("stop", vm("WaitAsReceiver"), None, 202),
    Case("stop", vm("Manual", stateChangeRequests=STOPPING), vmi(), 202, vm_has={"stateChangeRequests": queue("Stop")}),
    # restart
    Case("restart", vm("WaitAsReceiver"), vmi(), 202, vm_has={"stateChangeRequests": STOPPING}),
    Case("restart", vm("Once"), vmi(), 409, machine("RunStategy Once does not support manual restart requests")),
    Case(
        "restart",
        vm("Always"),
        vmi("Pending"),
        202,
        body={"gracePeriodSeconds": 0},
        vmi_has={"terminationGracePeriodSeconds": 1},
    ),
    Case(
        "restart",
        None,
        None,
        400,
        "For force restart, only gracePeriod=0 is supported for now",
        {"gracePeriodSeconds": 5},
    ),
    Case(
        "restart",
        vm(conditions=[{"type": "VolumesChange", "status": "True"}]),
        vmi(),
        409,
        machine("VM recovery required"),
    ),
    # volumes
    Case(
        "addvolume",
        vm(volumes=(ROOT, PLUGGED)),
        None,
        409,
        machine("Unable to add volume source [data] because it already exists"),
        {"name": "new", "disk": SCSI, "volumeSource": {"persistentVolumeClaim": {"claimName": "data"}}},
    ),
    Case(
        "addvolume",
        vm(volumes=(PLUGGED, ROOT)),
        None,
        409,
        machine("Unable to add volume source [data]"),
        {"name": "root", "disk": SCSI, "volumeSource": {"dataVolume": {"name": "data"}}},
    ),
    Case(
        "removevolume",
        vm(volumes=(ROOT, PLUGGED)),
        None,
        202,
        body={"name": "data"},
        vm_has={"volumes": [ROOT]},
        why="the volume with that source goes; theirs accepts and changes nothing",
    ),
    Case("removevolume", vm(volumes=(ROOT, PLUGGED)), None, 202, body={"name": "hp"}, vm_has={"volumes": [ROOT]}),
    # memory dumps: the machine before the guest before the claim
    Case("memorydump", vm(), None, 400, "Memory dump requires claim name to be set", {}),
    Case(
        "memorydump",
        vm(memoryDumpRequest={"claimName": "a", "phase": "Completed"}),
        None,
        409,
        machine("can't request memory dump for pvc [b] while pvc [a] is still associated"),
        {"claimName": "b"},
    ),
    Case(
        "memorydump",
        vm(memoryDumpRequest={"claimName": "a", "phase": "Completed"}),
        None,
        404,
        'virtualmachineinstance.kubevirt.io "x" not found',
        {},
    ),
    Case("memorydump", vm(), vmi(), 404, 'persistentvolumeclaim.kubevirt.io "a" not found', {"claimName": "a"}),
    # what is asked of a VM concerns the VMI that it made
    Case("evacuate/cancel", vm(), None, 409, machine("VMI is not started")),
    Case("evacuate/cancel", vm(created=True), None, 404, 'virtualmachineinstance.kubevirt.io "x" not found'),
    Case(
        "evacuate/cancel",
        vm(created=True),
        vmi(owned=False),
        409,
        machine("the VMI of that name does not belong"),
        why=OWN,
    ),
    Case(
        "evacuate/cancel",
        vm(),
        vmi(**MARKED),
        200,
        vmi_has={"evacuationNodeName": None},
        why="theirs needs the node's name in the body",
    ),
    Case("portforward/22", vm(), None, 409, machine("VMI is not started")),
    Case("portforward/22", vm(created=True), None, 404, 'virtualmachineinstance.kubevirt.io "x" not found'),
]
INSTANCE_CASES = [
    Case(
        "unpause",
        vm(snapshotInProgress="s"),
        vmi(conditions=[{"type": "Paused", "status": "True"}]),
        409,
        machine("VM snapshot is in progress"),
    ),
    Case("unpause", vm(snapshotInProgress="s"), None, 409, machine("VM snapshot is in progress")),
    Case("unpause", None, vmi(conditions=[{"type": "Paused", "status": "True"}]), 200),
    Case("pause", None, None, 400, UNREADABLE, "{"),
    Case("freeze", None, vmi("Scheduled"), 409, instance("VM is not running")),
    Case(
        "evacuate/cancel",
        None,
        vmi(**MARKED),
        200,
        body={"evacuationNodeName": "n1"},
        vmi_has={"evacuationNodeName": None},
    ),
    Case(
        "evacuate/cancel",
        None,
        vmi(**MARKED),
        409,
        instance("it is marked to leave n1, not n2"),
        {"evacuationNodeName": "n2"},
        vmi_has=MARKED,
        why=OWN,
    ),
    Case("evacuate/cancel", None, vmi(**MARKED), 200, body={"dryRun": ["All"]}, vmi_has=MARKED),
    Case(
        "evacuate/cancel",
        None,
        vmi(),
        400,
        'Node "n1" has NodeDrainTaintKey "kubevirt.io/drain:NoSchedule"',
        node=TAINTED,
    ),
    Case(
        "portforward/22",
        None,
        vmi(interfaces=[], conditions=[{"type": "Paused", "status": "True"}]),
        409,
        instance("VMI is paused"),
    ),
    Case(
        "vsock",
        None,
        vmi("Failed", spec={"domain": {"devices": {"autoattachVSOCK": True}}}),
        400,
        "Unable to connect to VirtualMachineInstance because phase is Failed instead of Running or Scheduled",
    ),
    Case("redefine-checkpoint", None, vmi("Pending"), 409, instance("ChangedBlockTracking is not enabled")),
    Case("sev/setupsession", None, None, 400, "Session blob is required"),
    Case("sev/setupsession", None, None, 400, "DH cert is required", {"session": "c2Vzc2lvbg=="}),
    Case(
        "sev/setupsession", None, vmi(), 409, instance("VMI is not in Scheduled phase"), {"session": "a", "dhCert": "b"}
    ),
    Case("sev/injectlaunchsecret", None, vmi("Scheduled", spec=SECURED), 409, instance("VMI is not running")),
    Case("sev/injectlaunchsecret", None, vmi(spec=SECURED), 409, instance("VMI is not paused")),
    Case("sev/querylaunchmeasurement", None, vmi(), 409, instance("Attestation not requested for VMI"), why=OWN),
    Case(
        "addvolume",
        None,
        vmi("Scheduled", owned=False),
        409,
        instance("VMI is not running"),
        {"name": "v", "disk": SCSI, "volumeSource": {"dataVolume": {"name": "d"}}},
    ),
]
GETS = ("portforward/22", "sev/querylaunchmeasurement", "vsock")


class Accepting:
    """A node agent that does whatever it is told."""

    async def call(self, method: str, target: Target, verb: str, **_: Any) -> web.Response:
        return web.Response(status=202)

    async def close(self) -> None:
        pass


async def ask(kind: str, case: Case) -> tuple[int, str, Json, Json]:
    kube = FakeKube()
    await add_node(kube, "n1")
    if case.node:
        await kube.patch(NODES, "", "n1", case.node, kind="merge")
    for resource, obj in ((VIRTUAL_MACHINES, case.vm), (VIRTUAL_MACHINE_INSTANCES, case.vmi)):
        if obj is not None:
            await kube.create(resource, "ns", copy.deepcopy(obj))
            kube._objects[resource.plural, "ns", "x"] |= copy.deepcopy({"status": obj["status"]})
            kube._objects[resource.plural, "ns", "x"]["metadata"]["uid"] = obj["metadata"]["uid"]
    app = build(kube, handler_socket="unused")
    app[proxy.AGENT] = Accepting()  # type: ignore[misc]  the application has not started
    body = case.body if isinstance(case.body, str) else json.dumps(case.body) if case.body is not None else None
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/ns/{kind}/x/{case.verb}"
    method = "GET" if case.verb in GETS else "PUT"
    async with TestClient(TestServer(app)) as http, http.request(method, path, data=body) as reply:
        text = await reply.text()
    message = json.loads(text)["message"] if text.startswith("{") else text
    found = (kube.find(resource, "ns", "x") or {} for resource in (VIRTUAL_MACHINES, VIRTUAL_MACHINE_INSTANCES))
    return reply.status, message, *found


def fields(obj: Json) -> Json:
    template = obj.get("spec", {}).get("template", {}).get("spec", {})
    return {**template, **obj.get("spec", {}), **obj.get("status", {})}


def named(case: Case) -> str:
    phase = case.vmi["status"]["phase"] if case.vmi else "absent"
    return f"{case.verb}-{case.vm['spec']['runStrategy'] if case.vm else 'none'}-{phase}-{case.code}"


@pytest.mark.parametrize(
    ("kind", "case"),
    [("virtualmachines", case) for case in MACHINE_CASES]
    + [("virtualmachineinstances", case) for case in INSTANCE_CASES],
    ids=[named(case) for case in [*MACHINE_CASES, *INSTANCE_CASES]],
)
def test_as_virt_api_answers(kind: str, case: Case) -> None:
    code, message, vm_after, vmi_after = asyncio.run(ask(kind, case))
    assert (code, message[: len(case.text)]) == (case.code, case.text), message
    assert {name: fields(vm_after).get(name) for name in case.vm_has} == case.vm_has
    assert {name: fields(vmi_after).get(name) for name in case.vmi_has} == case.vmi_has
    if code >= 400 and case.vm is not None:
        assert fields(vm_after) == fields(case.vm)
