"""The recorded life of a replica set and of two pools, asked of our loops again: each step must end as it did there.

The requests are sent in the recorded order to an API in memory; after each step, status, conditions, the number of
members by phase, and the events of the step are held against the recording. `DELIBERATE` lists what differs, and why.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.fake_kube import FakeKube
from support.fake_node import FakeNode
from support.many import controllers

from virt_kube.api import Json, Resource
from virt_kube.resources import (
    EVENTS,
    REPLICA_SETS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINE_POOLS,
    VIRTUAL_MACHINES,
)
from virt_types import labels

RECORDING = Path(__file__).parents[4] / "shared/data/oracle/replicas.jsonl"
pytestmark = [
    pytest.mark.looptime,
    pytest.mark.skipif(not RECORDING.exists(), reason=f"no recording at {RECORDING}"),
]

RESOURCES = {each.plural: each for each in (REPLICA_SETS, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINE_POOLS)}
KINDS = {"VMIRS": REPLICA_SETS, "Pool": VIRTUAL_MACHINE_POOLS}
SOURCES = ("virtualmachinereplicaset-controller", "virtualmachinepool-controller")

# Of every step: our status says 0 where theirs leaves the number out, so that kubectl's columns show one.
# step: what differs, and why
DELIBERATE: dict[str, tuple[set[str], str]] = {
    "create-autoheal": (
        {"events", "status"},
        "FINDINGS 10: there a VM is made anew every 2 s, 31 times, with two failures told each time; ours rests longer "
        "each time, tells why, and is at another point of it when the step ends",
    ),
}


class Step(NamedTuple):
    """`status` and `conditions` are those of the keeper at the end of it, None when it is gone."""

    name: str
    requests: list[Json]
    kind: str
    status: Json | None
    conditions: list[tuple[str, ...]]
    members: Counter[str]
    events: Counter[tuple[str, ...]]


def steps(case: str, members: str) -> Iterator[Step]:
    entries = [json.loads(line) for line in RECORDING.read_text().splitlines()]
    entries = sorted((each for each in entries if each["case"] == case), key=lambda each: each["seq"])
    keeper: Json | None = None
    kind = ""
    alive: dict[str, str] = {}
    for name, group in groupby(entries, key=lambda each: each["step"]):
        requests: list[Json] = []
        events: Counter[tuple[str, ...]] = Counter()
        for each in group:
            view = each.get("view")
            match each["kind"]:
                case "Request":
                    requests.append(each["request"])
                case "VMIRS" | "Pool":
                    kind = each["kind"]
                    keeper = None if each["event"] == "DELETED" else view
                case "Event" if view["source"] in SOURCES:
                    events[(view["type"], view["reason"], plain(view["message"]))] += 1
                case found if found == members:
                    alive[each["name"]] = view.get("phase", "")
                    if each["event"] == "DELETED":
                        del alive[each["name"]]
        status = {"replicas": 0, "readyReplicas": 0, **keeper["status"]} if keeper else None
        conditions = conditions_of(keeper["conditions"]) if keeper else []
        yield Step(name, requests, kind, status, conditions, Counter(alive.values()), events)


def plain(message: str) -> str:
    """The text without names, uids and the mark of combined events."""
    message = message.removeprefix("(combined from similar events): ")
    message = re.sub(r"<uid\d+>|[0-9a-f]{8}-[0-9a-f-]{27}", "UID", message)
    message = re.sub(r"\b(NS|default)/", "NS/", message)
    return re.sub(r"\brsx(?:<r\d+>|[a-z0-9]{5}\b)", "NAME", message)


def conditions_of(conditions: list[Json]) -> list[tuple[str, ...]]:
    return sorted((each["type"], each["status"], each["reason"], each["message"]) for each in conditions)


class Life:
    """Our loops, asked what the real ones were asked."""

    def __init__(self, kube: FakeKube, node: FakeNode) -> None:
        self.kube = kube
        self.node = node
        self.told: Counter[tuple[str, ...]] = Counter()
        self.keeper: tuple[Resource, str] = (REPLICA_SETS, "")
        self.paused = ""  # the member whose guest is paused: there it was the next one asked for

    async def ask(self, request: Json) -> None:
        plural, _, rest = request["path"].partition("/namespaces/NS/")[2].partition("/")
        resource, (name, _, subresource) = RESOURCES[plural], rest.partition("/")
        body = json.loads(json.dumps(request["body"]).replace('"NS"', '"default"'))
        if plural == VIRTUAL_MACHINE_INSTANCES.plural and name:
            name = self.paused or self.one()
        match request["method"]:
            case "POST":
                if resource is not VIRTUAL_MACHINE_INSTANCES:
                    self.keeper = (resource, body["metadata"]["name"])
                await self.kube.create(resource, "default", body)
            case "PATCH":
                assert subresource in ("", "scale")
                await self.kube.patch(resource, "default", name, body, kind="merge")
            case "DELETE":
                propagation = (body or {}).get("propagationPolicy", "Background")
                await self.kube.delete(resource, "default", name, propagation=propagation)

    def one(self) -> str:
        """Any running member, but none that took the place of one that failed: a second failure in a row rests."""
        running = (each for each in self.kube.objects("virtualmachineinstances") if _runs(each))
        running = (each for each in running if labels.REPLICA_FAILURES not in each["metadata"].get("annotations", {}))
        return str(next(running)["metadata"]["name"])

    async def happen(self, step: str) -> None:
        """What befalls guests without a request."""
        if step == "one-succeeds":
            await self.node.end("default", self.one(), "Succeeded")
        if step == "one-fails":
            await self.node.end("default", self.one(), "Failed")
        if step == "one-paused":
            ready = {"type": "Ready", "status": "False", "reason": "GuestPaused", "lastTransitionTime": None}
            change = {"status": {"conditions": [ready]}}
            self.paused = self.one()
            await self.kube.patch(VIRTUAL_MACHINE_INSTANCES, "default", self.paused, change, kind="merge")

    def differences(self, step: Step, members: str) -> dict[str, tuple[object, object]]:
        resource, name = self.keeper
        found = self.kube.find(resource, "default", name)
        status = {**found.get("status", {})} if found else None
        ours: Json = {
            "status": status,
            "conditions": conditions_of(status.pop("conditions", [])) if status else [],
            "members": self._members(members),
            "events": self._news(),
        }
        theirs = step._asdict()
        return {field: (theirs[field], ours[field]) for field in ours if ours[field] != theirs[field]}

    def _members(self, kind: str) -> Counter[str]:
        if kind == "VM":
            return Counter("" for _ in self.kube.objects(VIRTUAL_MACHINES.plural))
        return Counter(each["status"]["phase"] for each in self.kube.objects("virtualmachineinstances"))

    def _news(self) -> Counter[tuple[str, ...]]:
        said: Counter[tuple[str, ...]] = Counter()
        for each in self.kube.objects(EVENTS.plural):
            if each["source"]["component"] in SOURCES:
                said[(each["type"], each["reason"], plain(each["message"]))] += each["count"]
        news = said - self.told
        self.told = said
        return news


def _runs(vmi: Json) -> bool:
    ready = next((each for each in vmi["status"].get("conditions", []) if each["type"] == "Ready"), {})
    owned = bool(vmi["metadata"].get("ownerReferences"))
    return vmi["status"]["phase"] == "Running" and ready.get("status") == "True" and owned


async def replay(case: str, members: str) -> dict[str, Any]:
    kube = FakeKube()
    odd: dict[str, Any] = {}
    async with controllers(kube) as node:
        life = Life(kube, node)
        for step in steps(case, members):
            for request in step.requests:
                await life.ask(request)
            await life.happen(step.name)
            await asyncio.sleep(2.7)
            fields, _ = DELIBERATE.get(step.name, (set(), ""))
            odd |= {
                f"{step.name} {key}": value
                for key, value in life.differences(step, members).items()
                if key not in fields
            }
    return odd


async def test_a_replica_sets_steps_end_as_recorded() -> None:
    assert await replay("vmirs", "VMI") == {}


async def test_the_pools_steps_end_as_recorded() -> None:
    assert await replay("vmpool-dvt-autoheal", "VM") == {}


async def test_every_deliberate_difference_is_in_the_recording() -> None:
    names = {each.name for case in ("vmirs", "vmpool-dvt-autoheal") for each in steps(case, "VM")}
    assert DELIBERATE.keys() <= names
