"""The recorded life of VMs, lived again: the same requests and guests' fates at the same times, under our controllers.

After every step the VM, its VMI and the events told of the VM must be the recorded ones. What the user's verbs write is
virt_api's own decision; nodes and pods are played. `DELIBERATE` lists every place where we differ, and why.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import msgspec
import pytest
from support.fake_kube import FakeKube, loop_clock
from support.fake_node import FakeNode, add_node
from support.simulated import simulate
from test_controller_replay import RECORDING, needs_recording

from virt_api import hotplug, lifecycle, migration
from virt_controller.app import Options, run
from virt_kube.api import Json, PatchKind
from virt_kube.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINE_INSTANCETYPES,
    VIRTUAL_MACHINES,
)
from virt_types import labels
from virt_types.codec import decode
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

ALONE = "vmi-standalone"
CASES = (
    "Always",
    "Manual",
    "RerunOnFailure",
    "Once",
    "running=true",
    "running=false",
    "orphan",
    "strategy-switch",
    "live-update",
    "vm-trouble",
    "vm-migration",
    ALONE,
)
# Conditions that KubeVirt's own controllers write; the others came from the stand-in for its node agent.
COMPARED = frozenset({"Ready", "Failure", "RestartRequired", "Paused", "PodScheduled", "Synchronized"})
GUESTS_FAIL = frozenset({"strategy-back", "start-failing"})
PODS_DIE = "launcher-pod-force-deleted"
EDITS = ("template-cores-change", "template-change-reverted", "template-sockets-change", "template-label-change")
RUNNING = ("running=true", "running=false")
# Reasons of Ready that tell of pods, and what they are called where there are none.
WITHOUT_PODS = {"PodTerminating": "GuestNotRunning", "ReadinessGatesNotReady": "GuestPaused"}
JITTER = 0.2
NS = "NS"

FIRST_SHORT_LIFE = "a guest that ended within a minute is counted, and forgiven when the next one lives"
STOPPED = "a VM that is stopped needs no restart"
EXPLAINED = "why the last start failed is told until a guest runs"
NO_PODS = "we have no pods: unplaced is Pending and says so"

# step, cases (none: every one): the fields that differ, and why
DIFFERENCES: list[tuple[tuple[str, ...], tuple[str, ...], set[str], str]] = [
    (("guest-crash", "start-after-crash"), ("Always", "RerunOnFailure", *RUNNING), {"failures"}, FIRST_SHORT_LIFE),
    ((PODS_DIE, *EDITS), ("Always", "Once", *RUNNING), {"failures"}, FIRST_SHORT_LIFE),
    (("stop",), ("Always", "Manual", "RerunOnFailure", "Once", *RUNNING), {"conditions"}, STOPPED),
    (("strategy-back",), ("Always", "Once", "running=true"), {"conditions"}, EXPLAINED),
    (("start-failing",), ("Always", "RerunOnFailure", *RUNNING), {"conditions"}, EXPLAINED),
    (("start-8",), ("Always", "RerunOnFailure", "Once", *RUNNING), {"conditions"}, EXPLAINED),
    (
        (PODS_DIE,),
        ("Manual",),
        {"conditions", "finalizers"},
        "no pods; the agent lets a VMI that ended go when it is deleted",
    ),
    (
        ("vm-on-top-of-standalone",),
        ("orphan",),
        {
            "printableStatus",
            "created",
            "ready",
            "runStrategy",
            "desiredGeneration",
            "conditions",
            "finalizers",
        },
        "FINDINGS 3: there the status of a VM that adopts a stand-alone VMI is never updated",
    ),
    (
        ("7-to-Halted",),
        ("strategy-switch",),
        {"desiredGeneration"},
        "there the last generation is missed, as nothing looks at the VM after the last change",
    ),
    (
        ("sockets-8-over-max",),
        ("live-update",),
        {"conditions"},
        "FINDINGS 6: there a pending hot-plug turns what waits for a restart into a failure",
    ),
    (
        ("sockets-1-reduced",),
        ("live-update",),
        {"conditions", "generation", "observedGeneration"},
        "there the guest counts as up to date, and what waits for a restart as a failure (FINDINGS 6)",
    ),
    (
        ("memory-512mi", "memory-8gi"),
        ("live-update",),
        {"conditions"},
        "FINDINGS 6: there a pending hot-plug turns what waits for a restart into a failure",
    ),
    (("create-unschedulable",), ("vm-trouble",), {"conditions", "phase"}, NO_PODS),
    (("create-unschedulable",), (ALONE,), {"conditions", "phase", "events"}, NO_PODS),
    (("pvc-appears",), (ALONE,), {"events"}, "that the claim has to be bound first is told"),
    (
        ("create-missing-instancetype",),
        ("vm-trouble",),
        {"events"},
        "the failure is told as an event as well",
    ),
]
DELIBERATE = {
    (case, step): (fields, why) for steps_, cases, fields, why in DIFFERENCES for step in steps_ for case in cases
}


class Step(NamedTuple):
    case: str
    name: str
    begins: float
    ends: float
    entries: list[Json]

    def last(self, kind: str) -> Json | None:
        """The object as it stood when the step was over; None when it did not change in it."""
        mine = [entry for entry in self.entries if entry["kind"] == kind]
        return mine[-1] if mine else None


def steps(case: str) -> Iterator[Step]:
    entries = [json.loads(line) for line in RECORDING.read_text().splitlines()]
    mine = sorted((each for each in entries if each["case"] == case and "t" in each), key=lambda each: each["seq"])
    groups = [(name, list(group)) for name, group in groupby(mine, key=lambda each: each["step"])]
    begins = [group[0]["t"] for _, group in groups]
    for (name, group), (start, end) in zip(groups, pairwise([*begins, begins[-1] + 20]), strict=True):
        yield Step(case, name, start, end, group)


class Replay:
    """Lives one recorded life again and notes, step by step, what came out otherwise."""

    def __init__(self, case: str) -> None:
        self.case = case
        self.kube = FakeKube()
        self.kube.on_create = make_room
        self.agent = FakeNode(self.kube)
        self.recorded: dict[str, Json | None] = {"VM": None, "VMI": None}
        self.found: dict[str, dict[str, tuple[object, object]]] = {}
        self.told = 0
        self.said = 0

    async def live(self) -> None:
        await add_node(self.kube)
        options = Options(clock=loop_clock, jitter=lambda: JITTER)
        tasks = [asyncio.create_task(run(self.kube, options=options)), asyncio.create_task(self.agent.run())]
        try:
            for step in steps(self.case):
                await self.play(step)
                await asyncio.sleep(step.begins + (step.ends - step.begins) - loop_time())
                self.compare(step)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def play(self, step: Step) -> None:
        await asyncio.sleep(max(0.0, step.begins - loop_time()))
        self.agent.fails = step.name in GUESTS_FAIL
        if step.name == "create-unschedulable":
            await self.resize_node("32Mi")
        if step.name in ("becomes-schedulable", "delete-unschedulable"):
            await self.resize_node("16Gi")
        if step.name == PODS_DIE:
            await self.agent.end(NS, "vm1", first_end(step))
        for entry in step.entries:
            if entry["kind"] == "Request" and entry["response"]["code"] < 300:
                await self.request(entry["request"])
            elif entry["kind"] == "NodeAction":
                await self.fate(entry["action"])

    async def fate(self, action: str) -> None:
        match action:
            case "succeed":
                await self.agent.end(NS, "vm1", "Succeeded")
            case "fail":
                await self.agent.end(NS, "vm1", "Failed")
            case "ioerror":
                await self.pause("PausedIOError", "VMI was paused, low-level IO error detected")
            case "unpause":
                await self.unpause()

    async def resize_node(self, memory: str) -> None:
        change = {"status": {"allocatable": {"cpu": "8", "memory": memory}}}
        await self.kube.patch(NODES, "", "node1", change, kind="merge", subresource="status")

    async def request(self, request: Json) -> None:
        plural, _, rest = request["path"].partition("/namespaces/NS/")[2].partition("/")
        verb = rest.partition("/")[2]
        match request["method"], plural, verb:
            case "POST", "virtualmachines", _:
                body = request["body"]
                body["spec"]["template"]["spec"]["domain"]["firmware"] = {"uuid": "u"}  # as admission does
                await self.kube.create(VIRTUAL_MACHINES, NS, body)
            case "POST", "virtualmachineinstances", _:
                await self.kube.create(VIRTUAL_MACHINE_INSTANCES, NS, as_admitted(request["body"]))
            case "POST", "persistentvolumeclaims", _:
                await self.kube.create(PERSISTENT_VOLUME_CLAIMS, NS, request["body"])
                name, bound = request["body"]["metadata"]["name"], {"status": {"phase": "Bound"}}
                await self.kube.patch(PERSISTENT_VOLUME_CLAIMS, NS, name, bound, kind="merge", subresource="status")
            case "PUT", "virtualmachines", "migrate":
                self.refuse_to_migrate()
            case "POST", "virtualmachineinstancetypes", _:
                await self.kube.create(VIRTUAL_MACHINE_INSTANCETYPES, NS, request["body"])
            case "PATCH", "virtualmachineinstancetypes", _:
                await self.kube.patch(VIRTUAL_MACHINE_INSTANCETYPES, NS, "it", request["body"], kind="merge")
            case "PATCH", "virtualmachines", _:
                kind: PatchKind = "json" if "json-patch" in request["content_type"] else "merge"
                await self.kube.patch(VIRTUAL_MACHINES, NS, "vm1", request["body"], kind=kind)
            case "DELETE", _, _:
                resource = VIRTUAL_MACHINES if plural == "virtualmachines" else VIRTUAL_MACHINE_INSTANCES
                propagation = (request["body"] or {}).get("propagationPolicy", "Background")
                await self.kube.delete(resource, NS, "vm1", propagation=propagation)
            case "PUT", _, "pause":
                await self.pause("PausedByUser", "VMI was paused by user")
            case "PUT", _, "unpause":
                await self.unpause()
            case "PUT", "virtualmachines", "start" | "stop" | "restart":
                await self.verb(verb, request["body"] or {})
            case "PUT", "virtualmachines", "addvolume" | "removevolume":
                await self.plug(verb, request["body"])

    async def plug(self, verb: str, body: Json) -> None:
        """What virt_api makes of a volume's coming or going."""
        spec = decode(await self.kube.get(VIRTUAL_MACHINES, NS, "vm1"), VirtualMachine).spec.template.spec
        if verb == "removevolume":
            patch = hotplug.remove(spec, body["name"])
        else:
            asked = hotplug.read_addition(msgspec.convert(body, hotplug.AddOptions))
            assert not isinstance(asked, lifecycle.Refusal), asked
            patch = hotplug.add(spec, *asked)
        assert not isinstance(patch, lifecycle.Refusal), patch
        await self.kube.patch(VIRTUAL_MACHINES, NS, "vm1", {"spec": {"template": {"spec": patch}}}, kind="merge")

    async def verb(self, verb: str, body: Json) -> None:
        """What virt_api makes of a verb."""
        deciders: dict[str, tuple[Callable[..., Any], Any]] = {
            "start": (lifecycle.decide_start, lifecycle.StartOptions),
            "stop": (lifecycle.decide_stop, lifecycle.StopOptions),
            "restart": (lifecycle.decide_restart, lifecycle.RestartOptions),
        }
        decide, options = deciders[verb]
        vm = decode(await self.kube.get(VIRTUAL_MACHINES, NS, "vm1"), VirtualMachine)
        there = self.kube.find(VIRTUAL_MACHINE_INSTANCES, NS, "vm1")
        vmi = decode(msgspec.json.encode(there), VirtualMachineInstance) if there is not None else None
        answer = decide(vm, vmi, msgspec.convert(body, options))
        assert isinstance(answer, lifecycle.Accept), answer
        if answer.spec:
            await self.kube.patch(VIRTUAL_MACHINES, NS, "vm1", {"spec": answer.spec}, kind="merge")
        if answer.status:
            status = {"status": answer.status}
            await self.kube.patch(VIRTUAL_MACHINES, NS, "vm1", status, kind="merge", subresource="status")

    def refuse_to_migrate(self) -> None:
        """Nothing here moves a running guest: the verb says so, and the life goes on where it is."""
        vmi = decode(msgspec.json.encode(self.kube.find(VIRTUAL_MACHINE_INSTANCES, NS, "vm1")), VirtualMachineInstance)
        assert "is the only node that takes guests" in migration.why_not(vmi, []).message

    async def pause(self, reason: str, message: str) -> None:
        await self.write_conditions(
            {"type": "Paused", "status": "True", "reason": reason, "message": message},
            {"type": "Ready", "status": "False", "reason": "GuestPaused"},
        )

    async def unpause(self) -> None:
        await self.write_conditions({"type": "Ready", "status": "True"})

    async def write_conditions(self, *written: Json) -> None:
        vmi = self.kube.find(VIRTUAL_MACHINE_INSTANCES, NS, "vm1")
        assert vmi is not None
        conditions = [each for each in vmi["status"]["conditions"] if each["type"] not in ("Paused", "Ready")]
        change = {"status": {"conditions": [*conditions, *written]}}
        await self.kube.patch(VIRTUAL_MACHINE_INSTANCES, NS, "vm1", change, kind="merge")

    def compare(self, step: Step) -> None:
        for kind in self.recorded:
            last = step.last(kind)
            if last is not None:
                self.recorded[kind] = None if last["event"] == "DELETED" else last["view"]
        vm = self.kube.find(VIRTUAL_MACHINES, NS, "vm1")
        vmi = self.kube.find(VIRTUAL_MACHINE_INSTANCES, NS, "vm1")
        theirs = {**recorded_vm(self.recorded["VM"]), **recorded_vmi(self.recorded["VMI"]), **recorded_events(step)}
        ours = {**shown_vm(vm), **shown_vmi(vmi), "events": self.events()}
        if self.case == ALONE:
            theirs |= alone(self.recorded["VMI"], recorded_conditions(self.recorded["VMI"]), recorded_facts(step))
            ours |= alone(vmi, (vmi or {}).get("status", {}).get("conditions", []), self.facts())
        self.found[step.name] = {
            field: (theirs[field], ours[field]) for field in theirs if theirs[field] != ours[field]
        }

    def events(self) -> list[str]:
        """What was told of the VM since the last step."""
        said = [
            obj
            for _, plural, _, obj in self.kube.history
            if plural == "events" and obj["involvedObject"]["kind"] == "VirtualMachine"
        ]
        new, self.told = said[self.told :], len(said)
        return sorted(told(each) for each in new)

    def facts(self) -> list[str]:
        """What was told of the VMI since the last step."""
        said = [obj for _, plural, _, obj in self.kube.history if plural == "events"]
        new, self.said = said[self.said :], len(said)
        return sorted({told(each) for each in new if is_fact(each, each["involvedObject"])})


def as_admitted(vmi: Json) -> Json:
    """With the finalizer that admission gives."""
    return {**vmi, "metadata": {**vmi["metadata"], "finalizers": [labels.VMI_FINALIZER]}}


def alone(vmi: Json | None, conditions: list[Json], facts: list[str]) -> Json:
    """What a VMI without a VM tells of itself."""
    told = {each["type"]: each for each in conditions if each["type"] in COMPARED}
    return {
        "events": facts,
        "conditions": {
            type_: (each["status"], WITHOUT_PODS.get(each.get("reason"), each.get("reason")))
            for type_, each in sorted(told.items())
        }
        if vmi is not None
        else None,
    }


def recorded_conditions(view: Json | None) -> list[Json]:
    return view["conditions"] if view is not None else []


def recorded_facts(step: Step) -> list[str]:
    """The events of the VMI that tell of no pod."""
    mine = [each["view"] for each in step.entries if each["kind"] == "Event" and each["event"] != "DELETED"]
    return sorted({told(each) for each in mine if is_fact(each, each["involved"])})


def is_fact(event: Json, involved: Json) -> bool:
    return involved["kind"] == "VirtualMachineInstance" and "pod " not in event["message"]


def told(event: Json) -> str:
    return f"{event['type']} {event['reason']} {nameless(event['message'])}"


def make_room(plural: str, obj: Json) -> None:
    """As admission does: a guest can be given up to four times its sockets and its memory."""
    if plural != "virtualmachineinstances":
        return
    cpu, memory = (obj["spec"]["domain"].get(name) for name in ("cpu", "memory"))
    if cpu:
        cpu.setdefault("maxSockets", 4 * cpu.get("sockets", 1))
    if memory and memory.get("guest") == "1Gi":
        memory.setdefault("maxGuest", "4Gi")
        obj.setdefault("status", {})["memory"] = {"guestAtBoot": "1Gi", "guestCurrent": "1Gi", "guestRequested": "1Gi"}


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def first_end(step: Step) -> str:
    """The phase the guest of a dead pod was first given."""
    phases = (entry["view"]["phase"] for entry in step.entries if entry["kind"] == "VMI")
    return next(phase for phase in phases if phase in ("Succeeded", "Failed"))


def nameless(text: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|<uid\d+>", "<uid>", text)


def recorded_events(step: Step) -> Json:
    mine = [each["view"] for each in step.entries if each["kind"] == "Event" and each["event"] != "DELETED"]
    mine = [each for each in mine if each["involved"]["kind"] == "VirtualMachine"]
    return {"events": sorted(told(each) for each in mine)}


def recorded_vm(view: Json | None) -> Json:
    if view is None:
        return dict.fromkeys(shown_vm(None))
    return {"spec": view["spec"], **status_shown({**view["status"], "conditions": view["conditions"]})}


def shown_vm(vm: Json | None) -> Json:
    if vm is None:
        return dict.fromkeys(("spec", *status_shown({})))
    spec = {key: value for key, value in vm["spec"].items() if key in ("running", "runStrategy")}
    return {"spec": spec, **status_shown(vm.get("status", {}))}


def status_shown(status: Json) -> Json:
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    return {
        "printableStatus": status.get("printableStatus"),
        "created": status.get("created", False),
        "ready": status.get("ready", False),
        "runStrategy": status.get("runStrategy"),
        "observedGeneration": status.get("observedGeneration"),
        "desiredGeneration": status.get("desiredGeneration"),
        "requests": [each["action"] for each in status.get("stateChangeRequests", [])],
        "failures": status.get("startFailure", {}).get("consecutiveFailCount", 0),
        "conditions": {
            type_: (each["status"], WITHOUT_PODS.get(each.get("reason"), each.get("reason")))
            for type_, each in conditions.items()
            if type_ in COMPARED
        },
    }


def recorded_vmi(view: Json | None) -> Json:
    if view is None:
        return dict.fromkeys(shown_vmi(None))
    annotations = view.get("annotations", {})
    return {
        "phase": view["phase"],
        "generation": annotations.get("kubevirt.io/vm-generation"),
        "revision": nameless(view.get("virtualMachineRevisionName", "")),
        "finalizers": sorted(view["finalizers"]),
        "owned": bool(view.get("ownerReferences")),
    }


def shown_vmi(vmi: Json | None) -> Json:
    if vmi is None:
        return dict.fromkeys(("phase", "generation", "revision", "finalizers", "owned"))
    meta, status = vmi["metadata"], vmi["status"]
    return {
        "phase": status["phase"],
        "generation": meta.get("annotations", {}).get("kubevirt.io/vm-generation"),
        "revision": nameless(status.get("virtualMachineRevisionName", "")),
        "finalizers": sorted(meta.get("finalizers", [])),
        "owned": bool(meta.get("ownerReferences")),
    }


@needs_recording
@pytest.mark.parametrize("case", CASES)
def test_a_recorded_life_is_lived_again(case: str) -> None:
    replay = Replay(case)
    simulate(replay.live)
    assert len(replay.found) >= 5
    odd = []
    for step, found in replay.found.items():
        fields, why = DELIBERATE.get((case, step), (set(), ""))
        if found.keys() != fields:
            odd.append(f"{step}: (recorded, ours) {found} {why}")
    assert odd == [], "\n".join(odd)


@needs_recording
def test_every_deliberate_difference_is_of_a_recorded_step() -> None:
    assert {(case, step.name) for case in CASES for step in steps(case)} >= DELIBERATE.keys()
