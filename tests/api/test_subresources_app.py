"""The subresource API over HTTP, with an in-memory Kubernetes and a stand-in for the node agent behind it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer
from support.fake_kube import FakeKube

from virt_api.app import build
from virt_kube.api import Invalid, Json, ServerFault
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES

BASE = "/apis/subresources.kubevirt.io/v1/namespaces/default"
VM, VMI = f"{BASE}/virtualmachines/vm1", f"{BASE}/virtualmachineinstances/vm1"


class World(NamedTuple):
    kube: FakeKube
    http: TestClient[Any, Any]
    agent: Agent

    async def vm(self, strategy: str = "Halted", **status: Any) -> None:
        spec = {"runStrategy": strategy, "template": {"spec": {"domain": {}}}}
        await self.kube.create(VIRTUAL_MACHINES, "default", _object("VirtualMachine", spec, {}))
        if status:
            patch = {"status": status}
            await self.kube.patch(VIRTUAL_MACHINES, "default", "vm1", patch, kind="merge", subresource="status")

    async def vmi(self, phase: str = "Running", spec: Json | None = None, **status: Any) -> None:
        obj = _object("VirtualMachineInstance", {"domain": {}} | (spec or {}), {"phase": phase} | status)
        await self.kube.create(VIRTUAL_MACHINE_INSTANCES, "default", obj)

    async def own(self) -> None:
        """The VMI is the VM's."""
        vm = self.kube.find(VIRTUAL_MACHINES, "default", "vm1")
        assert vm is not None
        owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "vm1", "uid": vm["metadata"]["uid"]}
        patch = {"metadata": {"ownerReferences": [owner]}}
        await self.kube.patch(VIRTUAL_MACHINE_INSTANCES, "default", "vm1", patch, kind="merge")

    async def put(self, path: str, body: Any = None, **options: Any) -> tuple[int, str]:
        async with self.http.put(path, json=body, **options) as reply:
            return reply.status, await _message(reply)


class Agent:
    """The node agent's server: it echoes consoles and remembers calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bytes]] = []
        self.refusal = ""
        self.close_code = 1000
        self.app = web.Application()
        self.app.router.add_route("*", "/v1/{tail:.*}", self.serve)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request.method, request.path_qs, await request.read()))
        if self.refusal:
            return web.Response(status=503, text=self.refusal)
        if "Upgrade" not in request.headers:
            body = b"\x89PNG" if request.path.endswith("screenshot") else b""
            return web.Response(body=body, content_type="image/png" if body else None)
        ws = web.WebSocketResponse(protocols=("plain.kubevirt.io",))
        await ws.prepare(request)
        async for message in ws:
            if message.data == b"end":
                await ws.close(code=self.close_code, message=b"somebody else took the console")
                break
            await ws.send_bytes(b"echo:" + message.data)
        return ws


def _object(kind: str, spec: Json, status: Json) -> Json:
    meta = {"name": "vm1", "namespace": "default"}
    return {"apiVersion": "kubevirt.io/v1", "kind": kind, "metadata": meta, "spec": spec, "status": status}


async def _message(reply: aiohttp.ClientResponse) -> str:
    text = await reply.text()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError):
        return text


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    kube, agent = FakeKube(), Agent()
    runner = web.AppRunner(agent.app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "h.sock")).start()
    app = build(kube, handler_socket=tmp_path / "h.sock")
    async with TestClient(TestServer(app)) as http:
        yield World(kube, http, agent)
    await runner.cleanup()


def writes(kube: FakeKube) -> list[tuple[str, str, str]]:
    return [(each.verb, each.plural, each.subresource) for each in kube.writes() if each.verb != "create"]


async def test_start_is_one_guarded_write(world: World) -> None:
    await world.vm()
    assert await world.put(VM + "/start") == (202, "")
    assert world.kube.objects("virtualmachines")[0]["spec"]["runStrategy"] == "Always"
    assert writes(world.kube) == [("patch", "virtualmachines", "")]


async def test_start_again_after_somebody_else_wrote_in_between(world: World) -> None:
    await world.vm()
    meddled = False

    def meddle(request: Any, moment: str) -> bool:
        nonlocal meddled
        if request.verb == "patch" and moment == "before" and not meddled:
            meddled = True
            world.kube._objects["virtualmachines", "default", "vm1"]["metadata"]["resourceVersion"] = "99999"
        return False

    world.kube.freeze = meddle
    assert await world.put(VM + "/start") == (202, "")
    assert meddled
    assert world.kube.objects("virtualmachines")[0]["spec"]["runStrategy"] == "Always"


async def test_stop_while_a_restart_is_queued_takes_the_start_back(world: World) -> None:
    await world.vm("Always", stateChangeRequests=[{"action": "Stop", "uid": "u"}, {"action": "Start"}])
    await world.vmi()
    assert await world.put(VM + "/stop") == (202, "")
    vm = world.kube.objects("virtualmachines")[0]
    assert vm["spec"]["runStrategy"] == "Halted"
    assert not vm["status"].get("stateChangeRequests")


async def test_a_refused_stop_leaves_the_grace_period_alone(world: World) -> None:
    await world.vm("Halted")
    await world.vmi(spec={"terminationGracePeriodSeconds": 30})
    code, message = await world.put(VM + "/stop", {"gracePeriod": 600})
    assert (code, message.rpartition(": ")[2]) == (
        409,
        "Halted only supports manual stop requests with a shorter graceperiod",
    )
    assert writes(world.kube) == []


async def test_a_grace_period_is_taken_back_when_the_stop_fails(world: World) -> None:
    await world.vm("Always")
    await world.vmi(spec={"terminationGracePeriodSeconds": 30})
    world.kube.freeze = _fail_spec_patch
    code, message = await world.put(VM + "/stop", {"gracePeriod": 0})
    assert (code, message) == (500, "no disk")
    assert world.kube.objects("virtualmachineinstances")[0]["spec"]["terminationGracePeriodSeconds"] == 30


def _fail_spec_patch(request: Any, _moment: str) -> bool:
    if request.verb == "patch" and request.plural == "virtualmachines":
        raise ServerFault("no disk")
    return False


@pytest.mark.parametrize(("body", "query"), [({"dryRun": ["All"]}, ""), (None, "?dryRun=All")])
async def test_a_dry_run_decides_and_writes_nothing(world: World, body: Any, query: str) -> None:
    await world.vm()
    assert await world.put(VM + "/start" + query, body) == (202, "")
    assert writes(world.kube) == []
    code, message = await world.put(VM + "/restart" + query, body)
    assert (code, "does not support manual restart" in message) == (409, True)


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/json, */*"])
async def test_any_accept_a_client_sends_is_fine(world: World, accept: str) -> None:
    await world.vm()
    assert await world.put(VM + "/start", headers={"Accept": accept}) == (202, "")


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "message"),
    [
        ("PUT", f"{BASE}/virtualmachines/nosuch/start", b"", 404, 'virtualmachine.kubevirt.io "nosuch" not found'),
        ("PUT", f"{VMI}/pause", b"", 404, 'virtualmachineinstance.kubevirt.io "vm1" not found'),
        ("PUT", f"{VM}/start", b"{", 400, "Can not unmarshal Request body to struct, error: "),
        ("PUT", f"{VM}/start", b'{"dryRun":["Some"]}', 400, 'dryRun: Unsupported value: "Some"'),
        ("PUT", f"{VM}/restart", b'{"gracePeriodSeconds":5}', 400, "For force restart, only gracePeriod=0"),
        ("PUT", f"{VM}/start", b" " * (4 << 20), 413, "the request's body is larger than"),
        ("PUT", f"{VM}/nosuchverb", b"", 404, "the server could not find the requested resource"),
        ("GET", f"{VM}/start", b"", 405, "the server does not allow GET on "),
        ("GET", f"{VMI}/portforward/0", b"", 404, 'virtualmachineinstance.kubevirt.io "vm1" not found'),
    ],
)
async def test_refusals_are_statuses(  # noqa: PLR0917  pytest passes them by name
    world: World, method: str, path: str, body: bytes, code: int, message: str
) -> None:
    async with world.http.request(method, path, data=io.BytesIO(body)) as reply:
        status = await reply.json()
    assert (reply.status, status["kind"], status["code"]) == (code, "Status", code)
    assert status["message"].startswith(message)


ISOLATED = {"type": "NetworkReachable", "status": "False", "message": "the guest is connected in user mode"}


@pytest.mark.parametrize(
    ("path", "vmi", "code", "message"),
    [
        ("console", {"phase": "Scheduling"}, 400, "VMI is not running"),
        ("console", {"phase": "Failed"}, 409, "VMI is in failed status"),
        (
            "console",
            {"spec": {"domain": {"devices": {"autoattachSerialConsole": False}}}},
            400,
            "No serial consoles are present.",
        ),
        (
            "vnc",
            {"spec": {"domain": {"devices": {"autoattachGraphicsDevice": False}}}},
            400,
            "No graphics devices are present.",
        ),
        ("portforward/22", {"phase": "Pending"}, 400, "no network interfaces are present"),
        ("portforward/22", {"interfaces": [{"name": "default"}]}, 409, "VMI has no IP address yet"),
        ("portforward/22", {"interfaces": [{"name": "default"}], "conditions": [ISOLATED]}, 409, "in user mode"),
        ("portforward/70000", {"interfaces": [{"ipAddress": "127.0.0.1"}]}, 400, 'invalid port "70000"'),
        ("portforward/x", {"interfaces": [{"ipAddress": "127.0.0.1"}]}, 400, 'invalid port "x"'),
        ("portforward/22/icmp", {"interfaces": [{"ipAddress": "127.0.0.1"}]}, 400, 'unsupported protocol "icmp"'),
        ("portforward/1", {"interfaces": [{"ipAddress": "127.0.0.1"}]}, 500, "dialing VM: dial tcp 127.0.0.1:1: "),
    ],
)
async def test_streams_are_refused_before_the_upgrade(
    world: World, path: str, vmi: Json, code: int, message: str
) -> None:
    await world.vmi(**vmi)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(b"0" * 16).decode(),
    }
    async with world.http.get(f"{VMI}/{path}", headers=headers) as reply:
        assert reply.status == code
        assert message in await _message(reply)


async def test_a_console_carries_bytes_both_ways_and_its_end(world: World) -> None:
    await world.vmi()
    world.agent.close_code = 4001
    async with world.http.ws_connect(f"{VMI}/console?replay=0", protocols=("plain.kubevirt.io",)) as ws:
        assert ws.protocol == "plain.kubevirt.io"
        await ws.send_bytes(bytes(range(256)))
        assert await ws.receive_bytes() == b"echo:" + bytes(range(256))
        await ws.send_str("text messages are nobody's bytes")
        await ws.send_bytes(b"x" * 100_000)
        assert await ws.receive_bytes() == b"echo:" + b"x" * 100_000
        await ws.send_bytes(b"end")
        message = await ws.receive()
        assert (message.type, ws.close_code) == (WSMsgType.CLOSE, 4001)
        assert message.extra == "somebody else took the console"
    assert world.agent.calls[0][1].endswith("/vm1/console?replay=0")


async def test_the_agents_refusal_of_a_stream_reaches_the_client(world: World) -> None:
    await world.vmi()
    world.agent.refusal = "Active VNC connection. Request denied."
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await world.http.ws_connect(f"{VMI}/vnc?preserveSession=true")
    assert caught.value.status == 503
    async with world.http.put(f"{VMI}/softreboot") as reply:
        assert (reply.status, await _message(reply)) == (503, "Active VNC connection. Request denied.")


async def test_guest_verbs_reach_the_agent_when_they_may(world: World) -> None:
    await world.vmi()
    assert await world.put(f"{VMI}/pause") == (200, "")
    assert await world.put(f"{VMI}/pause", {"dryRun": ["All"]}) == (200, "")
    assert (await world.put(f"{VMI}/unpause"))[0] == 409
    async with world.http.get(f"{VMI}/vnc/screenshot?moveCursor=true") as reply:
        assert (reply.content_type, await reply.read()) == ("image/png", b"\x89PNG")
    assert [(method, path.rpartition("vm1/")[2]) for method, path, _ in world.agent.calls] == [
        ("PUT", "pause"),
        ("GET", "vnc/screenshot?moveCursor=true"),
    ]


async def test_no_agent_is_said_so(tmp_path: Path) -> None:
    kube = FakeKube()
    await World(kube, None, Agent()).vmi()  # type: ignore[arg-type]
    app = build(kube, handler_socket=tmp_path / "none")
    async with TestClient(TestServer(app)) as http, http.put(f"{VMI}/pause") as reply:
        assert reply.status == 503
        assert "the node agent (virt-handler) can't be reached" in await _message(reply)


async def test_portforward_carries_tcp_until_the_guest_ends(world: World) -> None:
    async def guest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0\r\n" + await reader.readexactly(5))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(guest, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await world.vm("Always")
    await world.vmi(interfaces=[{"ipAddress": "127.0.0.1"}])
    await world.own()
    async with server, world.http.ws_connect(f"{VM}/portforward/{port}/tcp") as ws:
        await ws.send_bytes(b"hello")
        received = b"".join([message.data async for message in ws])
        assert received == b"SSH-2.0\r\nhello"
        assert ws.close_code == 1000


async def test_portforward_keeps_datagrams_apart(world: World) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data.upper(), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    await world.vmi(interfaces=[{"ipAddress": "127.0.0.1"}])
    async with world.http.ws_connect(f"{VMI}/portforward/{port}/udp") as ws:
        for text in (b"one", b"two"):
            await ws.send_bytes(text)
            assert await ws.receive_bytes() == text.upper()
    transport.close()


async def test_portforward_to_a_vm_that_is_off(world: World) -> None:
    await world.vm("Halted")
    async with world.http.get(f"{VM}/portforward/22") as reply:
        assert (reply.status, (await _message(reply)).rpartition(": ")[2]) == (409, "VMI is not started")


async def test_discovery_names_what_is_served(world: World) -> None:
    async with world.http.get("/apis/subresources.kubevirt.io") as reply:
        assert [each["version"] for each in (await reply.json())["versions"]] == ["v1", "v1alpha3"]
    async with world.http.get("/apis/subresources.kubevirt.io/v1alpha3") as reply:
        listed = await reply.json()
    names = {each["name"] for each in listed["resources"]}
    assert {"virtualmachines/start", "virtualmachineinstances/console", "virtualmachineinstances/vnc"} <= names
    async with world.http.get("/apis/subresources.kubevirt.io/v1/version") as reply:
        assert (await reply.json())["gitVersion"].startswith("v")
    async with world.http.get("/apis/subresources.kubevirt.io/v1/healthz") as reply:
        assert await reply.json() == {"apiserver": {"connectivity": "ok"}}


async def test_webhooks_default_and_refuse(world: World) -> None:
    vm = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "x"},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"memory": {"guest": "64Mi"}}}}},
    }
    resource = {"group": "kubevirt.io", "version": "v1", "resource": "virtualmachines"}
    review = {"request": {"uid": "1", "operation": "CREATE", "resource": resource, "object": vm}}
    async with world.http.post("/mutate", json=review) as reply:
        response = (await reply.json())["response"]
    patch = json.loads(base64.b64decode(response["patch"]))
    assert (response["allowed"], [each["path"] for each in patch]) == (True, ["/spec"])
    assert patch[0]["value"]["template"]["spec"]["domain"]["firmware"]["uuid"]
    vm["spec"]["runStrategy"] = "Sometimes"  # type: ignore[index]
    async with world.http.post("/validate", json=review) as reply:
        response = (await reply.json())["response"]
    assert (response["uid"], response["allowed"]) == ("1", False)
    assert response["status"]["details"]["causes"][0]["field"] == "spec.runStrategy"
    async with world.http.post("/validate", data=b"no review") as reply:
        assert reply.status == 400


async def test_the_webhook_writes_an_old_spelling_anew(world: World) -> None:
    volumes = [{"name": "a", "registryDisk": {"image": "i"}}]
    spec = {"domain": {"memory": {"guest": "64Mi"}, "devices": {"disks": [{"name": "a", "disk": {}}]}}}
    vmi = {
        "apiVersion": "kubevirt.io/v1alpha2",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "x"},
        "spec": spec | {"volumes": volumes},
    }
    resource = {"group": "kubevirt.io", "version": "v1alpha2", "resource": "virtualmachineinstances"}
    review = {"request": {"uid": "1", "operation": "CREATE", "resource": resource, "object": vmi}}
    async with world.http.post("/mutate", json=review) as reply:
        response = (await reply.json())["response"]
    changed = {each["path"]: each["value"] for each in json.loads(base64.b64decode(response["patch"]))}
    assert changed["/spec"]["volumes"][0]["containerDisk"]["image"] == "i"
    assert "registryDisk" not in changed["/spec"]["volumes"][0]
    assert "/apiVersion" not in changed  # the version of the request is the API server's to convert
    assert any("registryDisk is containerDisk today" in warning for warning in response["warnings"])


async def test_freeze_tells_the_agent_seconds(world: World) -> None:
    await world.vmi()
    assert await world.put(VMI + "/freeze", {"unfreezeTimeout": "5m0s"}) == (200, "")
    assert await world.put(VMI + "/freeze") == (200, "")
    assert await world.put(VMI + "/freeze", {"unfreezeTimeout": "5m0s", "dryRun": ["All"]}) == (200, "")
    code, message = await world.put(VMI + "/freeze", {"unfreezeTimeout": "soon"})
    assert (code, '"soon" is not a duration' in message) == (400, True)
    sent = [json.loads(body) for _, _, body in world.agent.calls]
    assert sent == [{"unfreezeTimeoutSeconds": 300.0}, {"unfreezeTimeoutSeconds": 0.0}]


PLUG = {"name": "hp", "disk": {"disk": {"bus": "scsi"}}, "volumeSource": {"persistentVolumeClaim": {"claimName": "c"}}}


async def test_a_volume_is_added_by_one_guarded_write_and_not_by_a_dry_run(world: World) -> None:
    await world.vm()
    assert await world.put(VM + "/addvolume?dryRun=All", PLUG) == (202, "")
    assert await world.put(VM + "/addvolume", PLUG | {"dryRun": ["All"]}) == (202, "")
    assert writes(world.kube) == []
    assert await world.put(VM + "/addvolume", PLUG) == (202, "")
    assert writes(world.kube) == [("patch", "virtualmachines", "")]
    spec = world.kube.objects("virtualmachines")[0]["spec"]["template"]["spec"]
    assert spec["volumes"] == [{"name": "hp", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}}]
    assert spec["domain"]["devices"]["disks"] == [{"name": "hp", "disk": {"bus": "scsi"}}]
    assert await world.put(VM + "/removevolume", {"name": "hp"}) == (202, "")
    spec = world.kube.objects("virtualmachines")[0]["spec"]["template"]["spec"]
    assert (spec["volumes"], spec["domain"]["devices"]["disks"]) == ([], [])


async def test_two_who_add_volumes_at_once_both_get_theirs(world: World) -> None:
    await world.vm()
    other = {**PLUG, "name": "other", "volumeSource": {"dataVolume": {"name": "d"}}}
    results = await asyncio.gather(*(world.put(VM + "/addvolume", body) for body in (PLUG, other)))
    assert results == [(202, ""), (202, "")]
    spec = world.kube.objects("virtualmachines")[0]["spec"]["template"]["spec"]
    assert {volume["name"] for volume in spec["volumes"]} == {"hp", "other"}


async def test_what_admission_refuses_is_its_own_words_and_not_tried_again(world: World) -> None:
    await world.vm()
    refusals = 0

    def refuse(request: Any, moment: str) -> bool:
        nonlocal refusals
        if request.verb == "patch" and moment == "before":
            refusals += 1
            raise Invalid("spec.template.spec.volumes: too many")
        return False

    world.kube.freeze = refuse
    code, message = await world.put(VM + "/addvolume", PLUG)
    assert (code, "too many" in message) == (422, True)
    assert refusals <= 2


async def test_a_lone_running_instance_gets_its_volume_itself(world: World) -> None:
    await world.vmi()
    assert await world.put(VMI + "/addvolume", PLUG) == (202, "")
    assert world.kube.objects("virtualmachineinstances")[0]["spec"]["volumes"][0]["name"] == "hp"


async def test_an_evacuation_is_taken_back(world: World) -> None:
    await world.vmi(nodeName="n1", evacuationNodeName="n1")
    assert await world.put(VMI + "/evacuate/cancel?dryRun=All") == (200, "")
    assert world.kube.objects("virtualmachineinstances")[0]["status"]["evacuationNodeName"] == "n1"
    assert await world.put(VMI + "/evacuate/cancel") == (200, "")
    assert "evacuationNodeName" not in world.kube.objects("virtualmachineinstances")[0]["status"]
