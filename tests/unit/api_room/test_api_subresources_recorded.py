"""Every recorded case of the subresource API, replayed over HTTP: the same answer, and the same change in the VM.

What was recorded before a request is put into an in-memory Kubernetes; the application gets the request as it was sent.
Differences on purpose are in subresource_differences.toml.
"""

from __future__ import annotations

import asyncio
import functools
import json
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support.fake_kube import FakeKube
from support.fake_node import add_node

from virt_api import proxy
from virt_api.app import build
from virt_api.objects import Target
from virt_api.subresources import resource_list
from virt_kube.api import Json
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES

RECORDED = Path(__file__).parents[3].parent / "shared/data/oracle/subresources.jsonl"
DIFFERENCES = tomllib.loads(Path(__file__).with_name("subresource_differences.toml").read_text())["answers"]
ELSEWHERE = ("get-h2-*",)  # a request of the plain API
GUESTS_ANSWER = {"filesystemlist": {"items": [], "metadata": {}}, "guestosinfo": {}, "userlist": {"items": []}}
WITH_AGENT = {"phase": "Running", "nodeName": "n1", "conditions": [{"type": "AgentConnected", "status": "True"}]}
HEADER_CASES = {"h1": ("Always", WITH_AGENT), "h2": ("Halted", None)}  # the VMs that headers are tried with


class Answer(NamedTuple):
    code: int
    text: str
    vm: Json | None
    vmi: Json | None
    created: int


class Accepting:
    """A node agent that does whatever it is told."""

    async def call(self, method: str, target: Target, verb: str, **_: Any) -> web.Response:
        if verb in GUESTS_ANSWER:
            return web.json_response(GUESTS_ANSWER[verb])
        return web.Response(status=200 if method == "GET" else 202)

    async def close(self) -> None:
        pass


def recorded() -> list[Json]:
    if not RECORDED.exists():
        return []
    cases = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    return [case for case in cases if not any(fnmatchcase(case["action"], name) for name in ELSEWHERE)]


def key(case: Json) -> str:
    request = case["request"]
    return f"{case['case']}:{case['step']}:{request.get('accept')}:{request.get('content_type')}:{request['path']}"


@functools.cache
def answers() -> dict[str, Answer]:
    """All cases, through one server."""
    return asyncio.run(replay())


async def replay() -> dict[str, Answer]:
    found = {}
    kube = FakeKube()
    app = build(kube, handler_socket="unused")
    app[proxy.AGENT] = Accepting()  # type: ignore[misc]  the application has not started
    await add_node(kube, "n1")
    async with TestClient(TestServer(app)) as http:
        for case in recorded():
            for stored in [stored for stored in kube._objects if stored[0] != "nodes"]:
                del kube._objects[stored]
            await store(kube, case)
            found[key(case)] = await send(kube, http, case)
    return found


async def store(kube: FakeKube, case: Json) -> None:
    if "/h1/" in case["request"]["path"] or "/h2/" in case["request"]["path"]:
        name = case["request"]["path"].split("/")[-2]
        strategy, status = HEADER_CASES[name]
        await kube.create(VIRTUAL_MACHINES, "NS", machine(name, {"runStrategy": strategy}, []))
        if status is not None:
            vmi = {"metadata": {"name": name, "namespace": "NS"}, "spec": {}, "status": status}
            await kube.create(VIRTUAL_MACHINE_INSTANCES, "NS", vmi)
        return
    before = case.get("before") or {}
    if before.get("vm"):
        vm = machine("NAME", before["vm"]["spec"], before["template_volumes"])
        await kube.create(VIRTUAL_MACHINES, "NS", vm)
        status = {"status": before["vm"]["status"]}
        await kube.patch(VIRTUAL_MACHINES, "NS", "NAME", status, kind="merge", subresource="status")
    if before.get("vmi"):
        await kube.create(VIRTUAL_MACHINE_INSTANCES, "NS", instance(case, before["vmi"]))
        for owner in before["vmi"]["ownerReferences"]:
            kube._objects["virtualmachines", "NS", "NAME"]["metadata"]["uid"] = owner["uid"]
        kube._objects["virtualmachineinstances", "NS", "NAME"]["metadata"]["uid"] = before["vmi"]["uid"]


def machine(name: str, spec: Json, volumes: list[Json]) -> Json:
    disks = [{"name": volume["name"], "disk": {"bus": "virtio"}} for volume in volumes]
    template = {"spec": {"domain": {"devices": {"disks": disks}}, "volumes": volumes}}
    meta = {"name": name, "namespace": "NS"}
    return {"kind": "VirtualMachine", "metadata": meta, "spec": {**spec, "template": template}}


def instance(case: Json, vmi: Json) -> Json:
    interfaces = {"scheduled": [{"name": "default"}], "pending": [], "scheduling": []}
    return {
        "metadata": {
            "name": "NAME",
            "namespace": "NS",
            "uid": vmi["uid"],
            "ownerReferences": vmi["ownerReferences"],
        },
        "spec": {"terminationGracePeriodSeconds": vmi["terminationGracePeriodSeconds"], "domain": {}},
        "status": {
            "phase": vmi["phase"],
            "conditions": vmi["conditions"],
            "nodeName": vmi.get("nodeName"),
            "interfaces": interfaces.get(case["state"], [{"ipAddress": "10.0.2.2"}]),
        },
    }


async def send(kube: FakeKube, http: TestClient[Any, Any], case: Json) -> Answer:
    request = case["request"]
    headers = {"Accept": request["accept"]} if request.get("accept") else {}
    if request.get("content_type"):
        headers["Content-Type"] = request["content_type"]
    body = request["body"]
    data = None if body is None else body if isinstance(body, str) else json.dumps(body)
    before = len(kube._objects)
    async with http.request(request["method"], request["path"], data=data, headers=headers) as reply:
        text = message(await reply.text())
        vm = kube.find(VIRTUAL_MACHINES, "NS", "NAME")
        vmi = kube.find(VIRTUAL_MACHINE_INSTANCES, "NS", "NAME")
        return Answer(reply.status, text, vm, vmi, len(kube._objects) - before)


def message(text: str) -> str:
    try:
        body = json.loads(text)
    except ValueError:
        return text
    return str(body.get("message", "")) if isinstance(body, dict) else str(body or "")


def recorded_message(case: Json) -> str:
    body = case["response"]["body"]
    return str(body.get("message", "")) if isinstance(body, dict) else str(body or "")


def difference(case: Json) -> Json | None:
    code, text = case["response"]["code"], recorded_message(case)
    for entry in DIFFERENCES:
        named = any(fnmatchcase(case["action"], name) for name in entry["actions"])
        if named and entry["code"] == code and entry.get("text", "") in text and applies(entry, case):
            return dict(entry)
    return None


def applies(entry: Json, case: Json) -> bool:
    """One entry depends on what is queued, which no text of the answer tells."""
    if "queued" not in entry["why"] or entry["ours"][0] != 202:
        return True
    vm = (case.get("before") or {}).get("vm") or {"status": {}}
    return any(request["action"] == "Start" for request in vm["status"].get("stateChangeRequests", []))


CASES = [pytest.param(case, id=key(case)) for case in recorded()]
needs_recording = pytest.mark.skipif(not RECORDED.exists(), reason=f"recorded answers not found at {RECORDED}")


@needs_recording
@pytest.mark.parametrize("case", CASES)
def test_same_answer_as_recorded(case: Json) -> None:
    ours, entry = answers()[key(case)], difference(case)
    if entry is None:
        assert (ours.code, ours.text) == (case["response"]["code"], recorded_message(case))
        return
    assert ours.code == entry["ours"][0]
    name = (case["request"]["path"] + "/" * 8).split("/")[7]
    assert ours.text.startswith(entry["ours"][1].replace("NAME", name))
    if entry.get("same_text"):
        assert ours.text == recorded_message(case)


@needs_recording
@pytest.mark.parametrize("case", [case for case in CASES if "after_request" in case.values[0]])
def test_same_change_as_recorded(case: Json) -> None:
    ours = answers()[key(case)]
    if ours.code >= 400:
        assert changes(ours) == untouched(case)
        return
    expected = recorded_changes(case)
    entry = difference(case)
    if entry is not None and entry["ours"][0] == 202:
        expected = {**expected, "queue": None}  # the queued start is what was taken back
    assert changes(ours) == expected
    assert not ours.created


@needs_recording
@pytest.mark.parametrize("version", ["v1", "v1alpha3"])
def test_discovery_names_all_that_was_recorded(version: str) -> None:
    (case,) = [case for case in recorded() if case["action"] == f"discovery-{version}"]
    ours = {entry["name"] for entry in resource_list(version)["resources"]}
    assert {entry["name"] for entry in case["response"]["body"]["resources"]} <= ours


@needs_recording
def test_every_difference_is_needed() -> None:
    used = [difference(case) for case in recorded()]
    assert [entry["why"] for entry in DIFFERENCES if entry not in used] == []


@needs_recording
def test_the_whole_recording_is_replayed() -> None:
    everything = RECORDED.read_text().splitlines()
    elsewhere = len(everything) - len(recorded())
    assert len(answers()) == len(recorded()) == len(everything) - elsewhere
    assert elsewhere == 1


def changes(ours: Answer) -> Json:
    assert ours.vm is not None
    spec = {name: value for name, value in ours.vm["spec"].items() if name != "template"}
    return {
        "spec": spec,
        "queue": ours.vm.get("status", {}).get("stateChangeRequests") or None,
        "volumes": ours.vm["spec"]["template"]["spec"]["volumes"],
        "grace": ours.vmi["spec"].get("terminationGracePeriodSeconds") if ours.vmi else None,
    }


def _observed(seen: Json) -> Json:
    return {
        "spec": seen["vm"]["spec"],
        "queue": seen["vm"]["status"].get("stateChangeRequests") or None,
        "volumes": seen["template_volumes"],
        "grace": (seen["vmi"] or {}).get("terminationGracePeriodSeconds"),
    }


def untouched(case: Json) -> Json:
    """A refusal changes nothing: upstream stores the grace period of a stop that it refuses (FINDINGS 15)."""
    return _observed(case["before"])


def recorded_changes(case: Json) -> Json:
    found, before = _observed(case["after_request"]), _observed(case["before"])
    if case["action"] == "stop" and found["spec"] != before["spec"]:
        found["queue"] = None  # they leave a queued restart behind, which undoes the stop (FINDINGS 1)
    if (case["before"]["vmi"] or {}).get("phase") in {"Succeeded", "Failed"} or not case["after_request"]["vmi"]:
        found["grace"] = before["grace"]  # they change a guest that has ended
    return found
