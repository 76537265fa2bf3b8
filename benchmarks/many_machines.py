"""200 VMs created at once on a one-machine cluster whose node answers at once: what the control plane costs.

    python -m benchmarks.many_machines [--machines N]

The API, the controllers, and this program (the user and the node agent without a hypervisor) are processes of their own
and speak HTTPS. The limits are what KubeVirt's own programs took for the same on a machine of two cores (no more
requests than 6 where they need 16 and 23 webhook calls; 12.9 s of CPU; 24 s in all), times how much slower this machine
is just now: a loop of plain Python says that, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks import api_peers, measure
from benchmarks.api_wire import Access
from benchmarks.cluster import BIN, machine_manifest
from benchmarks.measure import Amount
from virt_api.admission import KubeVirtAdmission
from virt_kube.admission import AdmissionRequest, Operation, UserInfo
from virt_kube.api import AlreadyExists, Conflict, Invalid, Json, KubeClient, NotFound, Resource
from virt_kube.clock import rfc3339
from virt_kube.http import HttpClient
from virt_kube.resources import NODES, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types import labels
from virt_types.crds import custom_resource_definitions

DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
MACHINES = 200
NODE = "bench"
AT_ONCE = 50  # requests of the user under way
LOOP = 4_000_000
LOOP_SECONDS = 0.103  # of that loop on the machine of the limits, alone
CPU_LIMIT, WALL_LIMIT, REQUEST_LIMIT, MEMORY_LIMIT = 12.9, 24.0, 6.0, 40.0
DONE_WITHIN = 120.0


class Plane(NamedTuple):
    """The running control plane: kubeconfigs, the API's log of requests, its processes and the controllers'.

    `admits`: the API has KubeVirt's admission; else machines are sent as admission leaves them.
    """

    user: Path
    node: Path
    audit: Path
    api: tuple[int, ...]
    controllers: int
    admits: bool = True

    def memory(self) -> int:
        return sum(measure.resident_bytes(pid) for pid in (*self.api, self.controllers))


class Cost(NamedTuple):
    """What so many machines took. Seconds, bytes; `requests` are the controllers', counted by what they are."""

    wall: float
    controllers: float
    admission: float
    memory: float
    requests: Counter[str]


def results(machines: int = MACHINES) -> list[Amount]:
    """The four promises, scaled by how fast this machine is just now."""
    with _plane() as plane:
        before = slowness()
        cost = asyncio.run(_measure(plane, machines))
        slow = max(before, slowness())
    share = machines / MACHINES
    asked = sum(cost.requests.values()) / machines
    what = f"{machines} VMs created at once, all Running"
    cpu = cost.controllers + cost.admission
    return [
        Amount(f"{what}: requests of the controllers per VM, events included", asked, "", REQUEST_LIMIT),
        Amount(f"{what}: CPU of controllers and admission", cpu, "s", CPU_LIMIT * share * slow),
        Amount(f"{what}: time", cost.wall, "s", WALL_LIMIT * share * slow),
        Amount(f"{what}: API and controllers grow per VM", cost.memory / machines / 1024, "KiB", MEMORY_LIMIT),
        *(results_on(api_peers.peer, "kube-apiserver", machines) if api_peers.peer_here() else []),
    ]


def results_on(serve: api_peers.Serve, name: str, machines: int) -> list[Amount]:
    """The same on an API server of somebody else's, without admission: what the controllers cost there."""
    with _plane_on(serve) as plane:
        before = slowness()
        cost = asyncio.run(_measure(plane, machines))
        slow = max(before, slowness())
    share, what = machines / MACHINES, f"{machines} VMs created at once on {name}"
    asked = sum(cost.requests.values()) / machines
    return [
        Amount(f"{what}: requests of the controllers per VM, events included", asked, "", REQUEST_LIMIT),
        Amount(f"{what}: CPU of controllers", cost.controllers, "s", CPU_LIMIT * share * slow),
        Amount(f"{what}: time", cost.wall, "s", WALL_LIMIT * share * slow),
    ]


def slowness() -> float:
    """How many times longer a loop takes here and now than on the machine of the limits, alone; never below 1."""

    def spin() -> None:
        total = 0
        for number in range(LOOP):
            total += number

    return max(1.0, min(measure.seconds(spin) for _ in range(3)) / LOOP_SECONDS)


@contextmanager
def _plane() -> Iterator[Plane]:
    root = Path(tempfile.mkdtemp(prefix="vm-", dir="/var/tmp"))
    root.chmod(0o711)
    places = ["--state-dir", str(root / "s"), "--run-dir", str(root / "r")]
    env = measure.environment()
    try:
        for components in ("api", "controllers"):
            up = [str(BIN / "virtctl"), "local", "up", "--components", components, "--node-name", NODE, *places]
            extra = ["--audit-log", str(root / "audit.log")] if components == "api" else []
            measure.run([*up, *extra], env=env)
        register: Json = json.loads((root / "r" / "local.json").read_text())
        pids = {name: int(each["pid"]) for each in register["processes"] for name in each["components"]}
        state = root / "s"
        yield Plane(
            user=state / "kubeconfig",
            node=state / "pki" / "virt-handler.kubeconfig",
            audit=root / "audit.log",
            api=(pids["api"],),
            controllers=pids["controllers"],
        )
    finally:
        down = [str(BIN / "virtctl"), "local", "down", *places]
        subprocess.run(down, env=env, check=False, capture_output=True)
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _plane_on(serve: api_peers.Serve) -> Iterator[Plane]:
    """Our controllers on a bare API server that has our definitions."""
    root = Path(tempfile.mkdtemp(prefix="vm-", dir="/var/tmp"))
    try:
        with serve(root / "api", audit=True) as server:
            user, controller = root / "user", root / "controller"
            _write_kubeconfig(user, server.access, api_peers.TOKEN)
            _write_kubeconfig(controller, server.access, api_peers.CONTROLLER_TOKEN)
            asyncio.run(_define(user))
            command = [sys.executable, "-m", "virt_controller", "--kubeconfig", str(controller)]
            log = root / "controllers.log"
            with log.open("w") as out, subprocess.Popen(command, env=measure.environment(), stderr=out) as process:
                try:
                    audit = root / "api" / api_peers.AUDIT_LOG
                    yield Plane(user, user, audit, server.pids, process.pid, admits=False)
                except TimeoutError:
                    raise SystemExit(
                        f"machines do not become Running; controllers: {log.read_text()[-2000:]}"
                    ) from None
                finally:
                    process.terminate()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _write_kubeconfig(path: Path, access: Access, token: str) -> None:
    cluster = {"server": access.url, "certificate-authority": str(access.ca)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "clusters": [{"name": "bench", "cluster": cluster}],
        "users": [{"name": "bench", "user": {"token": token}}],
    }
    path.write_text(json.dumps(config))


async def _define(kubeconfig: Path) -> None:
    """Install the definitions, and wait until the last of them is served."""
    client = HttpClient.from_kubeconfig(str(kubeconfig), None)
    try:
        for definition in custom_resource_definitions():
            with suppress(AlreadyExists):
                await client.create(DEFINITIONS, "", definition)
        async with asyncio.timeout(60):
            while True:
                if all(_is_served(json.loads(each)) for each in (await client.list(DEFINITIONS)).items):
                    return
                await asyncio.sleep(0.2)
    finally:
        await client.close()


def _is_served(definition: Json) -> bool:
    conditions = definition.get("status", {}).get("conditions") or []
    return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)


async def _measure(plane: Plane, machines: int) -> Cost:
    user, node = (HttpClient.from_kubeconfig(str(path), None) for path in (plane.user, plane.node))
    agent = asyncio.create_task(_agent(node))
    try:
        await _add_node(node)
        # What the first ones ever load is no price per machine.
        await _create(user, "warm", AT_ONCE, admitted=not plane.admits)
        await asyncio.sleep(3)
        memory, cpu = plane.memory(), measure.cpu_seconds(plane.controllers)
        seen = _asked(plane)
        begin = time.perf_counter()
        await _create(user, "many", machines, admitted=not plane.admits)
        wall = time.perf_counter() - begin
        await asyncio.sleep(3)  # the last events
        controllers = measure.cpu_seconds(plane.controllers) - cpu
        grown = plane.memory() - memory
        requests = _asked(plane) - seen
    finally:
        agent.cancel()
        await asyncio.gather(agent, return_exceptions=True)
        await user.close()
        await node.close()
    return Cost(wall, controllers, await _admission(machines), grown, requests)


async def _create(user: KubeClient, prefix: str, count: int, *, admitted: bool) -> None:
    """All of them, and wait until each says that it runs."""
    limit = asyncio.Semaphore(AT_ONCE)
    machines = [_machine(f"{prefix}-{number}") for number in range(count)]
    if admitted:
        admission, who = KubeVirtAdmission(require_node=False), UserInfo("user")
        machines = [await _admit(admission, VIRTUAL_MACHINES, each, None, who) for each in machines]

    async def create(number: int) -> None:
        async with limit:
            await user.create(VIRTUAL_MACHINES, "default", machines[number])

    missing = {f"{prefix}-{number}" for number in range(count)}
    creating = asyncio.gather(*(create(number) for number in range(count)))
    async with asyncio.timeout(DONE_WITHIN):
        while True:  # a real server ends a young definition's watches
            page = await user.list(VIRTUAL_MACHINES, "default")
            missing -= _running(page.items)
            if not missing:
                break
            async for event in user.watch(VIRTUAL_MACHINES, "default", resource_version=page.resource_version):
                missing -= _running([event.object])
                if not missing:
                    break
        await creating


def _running(machines: list[bytes]) -> set[str]:
    """The names of those that say they run."""
    found = map(json.loads, machines)
    return {vm["metadata"]["name"] for vm in found if vm.get("status", {}).get("printableStatus") == "Running"}


def _machine(name: str) -> Json:
    manifest = machine_manifest(name)
    manifest["spec"]["runStrategy"] = "Always"
    return manifest


async def _add_node(node: KubeClient) -> None:
    marks = {labels.NODE_SCHEDULABLE: "true", labels.HOSTNAME: NODE}
    beat = {labels.NODE_HEARTBEAT: rfc3339(time.time())}
    await node.create(NODES, "", {"metadata": {"name": NODE, "labels": marks, "annotations": beat}})
    # A new node begins as not ready, and nobody here takes that off it as kube-controller-manager does.
    await node.patch(NODES, "", NODE, {"spec": {"taints": None}}, kind="merge")
    room = {"status": {"allocatable": {"cpu": "1000", "memory": "1000Gi"}}}
    await node.patch(NODES, "", NODE, room, kind="merge", subresource="status")


async def _agent(node: KubeClient) -> None:
    """What a node agent says of each VMI it is given: it runs."""
    async with asyncio.TaskGroup() as tasks:
        while True:
            page = await node.list(VIRTUAL_MACHINE_INSTANCES)
            for listed in page.items:
                tasks.create_task(_run(node, json.loads(listed)))
            async for event in node.watch(VIRTUAL_MACHINE_INSTANCES, resource_version=page.resource_version):
                if event.type in ("ADDED", "MODIFIED"):
                    tasks.create_task(_run(node, json.loads(event.object)))


async def _run(node: KubeClient, vmi: Json) -> None:
    if vmi.get("status", {}).get("phase") != "Scheduled":
        return
    now = rfc3339(time.time())
    stamps = [*vmi["status"]["phaseTransitionTimestamps"], {"phase": "Running", "phaseTransitionTimestamp": now}]
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": vmi["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/status/phase", "value": "Running"},
        {"op": "add", "path": "/status/phaseTransitionTimestamps", "value": stamps},
        {"op": "add", "path": "/status/conditions", "value": [ready]},
    ]
    try:
        await node.patch(VIRTUAL_MACHINE_INSTANCES, vmi["metadata"]["namespace"], vmi["metadata"]["name"], patch)
    except (Conflict, Invalid, NotFound):
        return  # its next event is coming


def _asked(plane: Plane) -> Counter[str]:
    """The requests of the controllers so far, lists and watches apart: those are the same for any number of VMs."""
    asked: Counter[str] = Counter()
    for line in plane.audit.read_text().splitlines():
        entry: Json = json.loads(line)
        if entry["user"]["username"] != labels.CONTROLLER_USER or entry["verb"] in ("list", "watch"):
            continue
        if entry["stage"] == "ResponseComplete":
            about = entry.get("objectRef", {})
            name = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
            asked[f"{entry['verb']} {name}"] += 1
    return asked


async def _admission(machines: int) -> float:
    """CPU seconds of what admission does for so many: two VMs' requests and two VMIs' for each, one after the other."""
    admission = KubeVirtAdmission(require_node=False)
    user, controller = UserInfo("user"), UserInfo(labels.CONTROLLER_USER)
    begin = time.process_time()
    for number in range(machines):
        vm = _machine(f"m-{number}")
        made = await _admit(admission, VIRTUAL_MACHINES, vm, None, user)
        marked = {**made, "metadata": {**made["metadata"], "finalizers": [labels.VM_FINALIZER]}}
        await _admit(admission, VIRTUAL_MACHINES, marked, made, controller)
        template = made["spec"]["template"]
        vmi = {"metadata": {"name": vm["metadata"]["name"]}, "spec": template["spec"], "status": {"phase": "Scheduled"}}
        born = await _admit(admission, VIRTUAL_MACHINE_INSTANCES, vmi, None, controller)
        runs = {**born, "status": {"phase": "Running"}}
        await _admit(admission, VIRTUAL_MACHINE_INSTANCES, runs, born, controller)
    return time.process_time() - begin


async def _admit(admission: KubeVirtAdmission, resource: Resource, obj: Json, old: Json | None, user: UserInfo) -> Json:
    operation: Operation = "CREATE" if old is None else "UPDATE"
    kind = (resource.group, resource.version, resource.plural, resource.kind)
    request = AdmissionRequest(operation, *kind, "default", obj["metadata"]["name"], "", obj, old, user)
    made = (await admission.admit(request)).obj
    assert made is not None
    return made


def main() -> int:
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description="Many machines at once.")
    parser.add_argument("--machines", type=int, default=MACHINES)
    parser.add_argument("--bare", action="store_true", help="on our API server without admission, as on kube-apiserver")
    chosen = parser.parse_args()
    bare = chosen.bare and results_on(api_peers.ours, "our API server alone", chosen.machines)
    measured = bare or results(chosen.machines)
    print(table([*measured]))
    return 0 if all(each.met for each in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
