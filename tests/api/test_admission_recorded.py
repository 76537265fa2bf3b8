"""Every request of ../shared/data/oracle/admission.jsonl, sent to our API server in its order: code, causes, object.

KubeVirt's answers were recorded with its webhooks on a real kube-apiserver. admission_differences.toml lists each case
that is answered otherwise, with the reason; a case that is answered alike has to leave it.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from virt_api.admission import KubeVirtAdmission
from virt_kube.admission import Admission, AdmissionRequest, AdmissionResult, UserInfo
from virt_kube.api import Resource
from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.server import ApiServer
from virt_local.store import Store
from virt_types import labels
from virt_types.check import judge, known_kind
from virt_types.crds import custom_resource_definitions
from virt_types.kinds import KINDS
from virt_types.structural import UNCHECKED_RULES
from virt_types.validation.corrections import corrected

HERE = Path(__file__).parent
RECORDED = HERE.parents[2] / "shared/data/oracle/admission.jsonl"
DIFFERENT: dict[str, dict[str, str]] = tomllib.loads((HERE / "admission_differences.toml").read_text())
TOKENS = 'alice,alice,1,"system:masters"\ncontroller-token,system:serviceaccount:kubevirt:virt-controller,2,"{}"\n'
COMPONENTS = "system:masters,system:serviceaccounts:kubevirt"
UID = "5d307ca9-b3ef-428c-8861-06e72d69f223"
TIME = "2026-01-01T00:00:00Z"
NAMESPACE = "adm"

pytestmark = pytest.mark.skipif(not RECORDED.is_file(), reason="no recorded data here: ../shared/data is missing")


class Case(NamedTuple):
    """A recorded request with KubeVirt's answer and ours. `offline` is what `virtctl validate` would say."""

    name: str
    method: str
    code: int
    body: Any
    our_code: int
    our_body: Any
    offline: list[tuple[str, str]] | None


class Switch:
    """Admission that lets everything in until it is on: the recording begins with objects that were there."""

    def __init__(self, inner: Admission) -> None:
        self.inner = inner
        self.on = False

    async def admit(self, request: AdmissionRequest) -> AdmissionResult:
        return await self.inner.admit(request) if self.on else AdmissionResult(request.obj)


def real(value: Any) -> Any:
    """The recording's placeholders as something a server takes."""
    if isinstance(value, dict):
        return {re.sub(r"<uid\d+>", UID, key): real(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [real(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"<uid\d+>", UID, value).replace("<time>", TIME).replace("<podip>", "10.0.0.1")
    return value


class World:
    """One server, with what the recorded cluster had before its updates began."""

    def __init__(self, server: ApiServer, base: str, http: aiohttp.ClientSession) -> None:
        self.base, self.http = base, http
        self.admin = server.client(UserInfo("admin", ("system:masters",)))

    async def put(self, obj: dict[str, Any], **changes: str) -> None:
        """Stores an object of the recording, its status too."""
        obj = real(copy.deepcopy(obj))
        obj["metadata"] = {
            key: value for key, value in obj["metadata"].items() if key not in {"uid", "resourceVersion", "generation"}
        } | changes
        kind = known_kind(obj)
        assert kind is not None
        resource = Resource(kind.group, kind.version, kind.plural, kind.kind)
        await self.admin.create(resource, NAMESPACE, obj)
        if kind.status and "status" in obj:
            status = {"status": obj["status"]}
            await self.admin.patch(
                resource, NAMESPACE, obj["metadata"]["name"], status, kind="merge", subresource="status"
            )

    async def current(self, path: str) -> dict[str, Any]:
        async with self.http.get(self.base + path, headers={"Authorization": "Bearer alice"}) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def send(self, record: dict[str, Any]) -> tuple[int, Any]:
        request = record["request"]
        body = request["body"]
        if request["method"] == "PUT" and "uid" in body["metadata"]:
            now = (await self.current(request["path"]))["metadata"]
            version = "1" if record["case"] == "update/put-stale" else now["resourceVersion"]
            body = body | {"metadata": body["metadata"] | {"uid": now["uid"], "resourceVersion": version}}
        data = body if isinstance(body, str) else json.dumps(real(body)).encode() if body is not None else None
        content = request.get("content_type") or "application/json"
        headers = {"Authorization": f"Bearer {request['user']}", "Content-Type": content}
        async with self.http.request(
            request["method"], self.base + request["path"], params=request["query"], data=data, headers=headers
        ) as answer:
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[World, Switch]]:
    tokens = folder / "tokens.csv"
    tokens.write_text(TOKENS.format(COMPONENTS))
    store = await Store.open(folder / "store.db")
    admission = KubeVirtAdmission(require_node=False)
    switch = Switch(admission)
    server = ApiServer(store, admission=switch, authenticator=Authenticator(tokens))
    await server.bootstrap(custom_resource_definitions(KINDS))
    admission.connect(server.client(UserInfo(labels.API_USER, (labels.SERVICE_ACCOUNTS_GROUP,))))  # with its own rights
    port = await server.start("127.0.0.1", 0, None)
    async with aiohttp.ClientSession() as http:
        made = World(server, f"http://127.0.0.1:{port}", http)
        await made.admin.create(Resource("", "v1", "namespaces", "Namespace", False), "", {"metadata": {"name": "adm"}})
        yield made, switch
    await server.stop()
    await store.close()


async def replay(folder: Path) -> list[Case]:
    records = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    answers = {record["case"]: record["response"]["body"] for record in records}
    cases = []
    async with world(folder) as (made, switch):
        for record in records:
            if record["case"] in BEFORE:
                switch.on = False
                await BEFORE[record["case"]](made, answers)
            switch.on = True
            code, body = await made.send(record)
            sent = record["request"]["body"]
            strict = record["request"]["method"] == "POST" and isinstance(sent, dict)
            offline = causes_offline(sent) if strict and known_kind(sent) is not None else None
            response = record["response"]
            name = re.sub(r"(-vmi|-vm)(?=[-/])", r"\1", record["case"])
            cases.append(
                Case(name, record["request"]["method"], response["code"], response["body"], code, body, offline)
            )
    return cases


Answers = dict[str, Any]


async def replica_set(made: World, answers: Answers) -> None:
    obj = copy.deepcopy(answers["update-vmirs/selector-and-labels"])
    obj["spec"]["selector"] = {"matchLabels": {"app": "r"}}
    obj["spec"]["template"]["metadata"] = {"labels": {"app": "r"}}
    await made.put(obj)


async def selector(made: World, _answers: Answers) -> None:
    """What the controller had written for autoscalers."""
    await made.admin.patch(
        Resource("kubevirt.io", "v1", "virtualmachineinstancereplicasets", "VirtualMachineInstanceReplicaSet"),
        NAMESPACE, "r", {"status": {"labelSelector": "app=r"}}, kind="merge", subresource="status",
    )  # fmt: skip


async def pool(made: World, answers: Answers) -> None:
    await made.put(answers["update-vmpool/template"])


async def presets(made: World, _answers: Answers) -> None:
    watchdog = {"name": "w", "i6300esb": {"action": "poweroff"}}
    for name, label, domain in (
        ("pc4", {"flavor": "big"}, {"cpu": {"cores": 4}, "devices": {}}),
        ("pc6", {"flavor2": "y"}, {"cpu": {"cores": 6}, "devices": {}}),
        ("pwd", {"flavor3": "y"}, {"devices": {"watchdog": watchdog}}),
    ):
        spec = {"selector": {"matchLabels": label}, "domain": domain}
        await made.put(
            {
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstancePreset", "metadata": {"name": name},
                "spec": spec,
            }
        )  # fmt: skip


async def machines(made: World, answers: Answers) -> None:
    await made.put(answers["update/vm-labels"] | {"metadata": answers["update/put-ok"]["metadata"]})
    await made.put(answers["update/vmi-same"])
    await made.put(answers["update/vmi-same"], name="u2")


async def running(made: World, answers: Answers) -> None:
    """What the controller had made of the machine."""
    machines = Resource("kubevirt.io", "v1", "virtualmachines", "VirtualMachine")
    seen = answers["update/runningvm-memory"]
    finalizers = {"metadata": {"finalizers": seen["metadata"]["finalizers"]}}
    await made.admin.patch(machines, NAMESPACE, "u2", finalizers, kind="merge")
    status = real({"status": seen["status"]})
    await made.admin.patch(machines, NAMESPACE, "u2", status, kind="merge", subresource="status")


async def end_of_migration(made: World, _answers: Answers) -> None:
    """The guest that was migrated has ended."""
    await made.admin.patch(
        Resource("kubevirt.io", "v1", "virtualmachineinstances", "VirtualMachineInstance"),
        NAMESPACE, "ui", {"status": {"phase": "Succeeded"}}, kind="merge",
    )  # fmt: skip


async def size(made: World, answers: Answers) -> None:
    await made.put(answers["create-instancetype/ok"])


# What the recorded cluster had been given before a case, without a record.
BEFORE: dict[str, Callable[[World, Answers], Awaitable[None]]] = {
    "update-vmirs/selector": replica_set,
    "update-vmirs/scale-put": selector,
    "update-vmpool/template": pool,
    "preset-apply/vmi-wins": presets,
    "update/vm-add-running": machines,
    "update/runningvm-memory": running,
    "create-migration/finished-vmi": end_of_migration,
    "vm-instancetype/ok": size,
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return asyncio.run(replay(tmp_path_factory.mktemp("adm")))


SCHEMA_WORDS = (
    (r"Required value()|(\S+) in body is required", "required"),
    (r'(?:Invalid value: "\w+": )?(\S+) in body must be of type \S+: "\w+"', "of another type"),
    (r"(\S+) (?:in body )?should be one of \[.*\]", "one of"),
)


def plain(field: str, message: str) -> tuple[str, str]:
    """What the schema says, whoever says it: KubeVirt's webhooks name the field in the text, without its index."""
    for pattern, word in SCHEMA_WORDS:
        said = re.fullmatch(pattern, message)
        if said is not None:
            return re.sub(r"\[\d+\]", "", next(filter(None, said.groups()), field)), word
    return field.removeprefix("."), message  # Kubernetes itself says .spec.replicas


def causes(status: Any) -> set[tuple[str, str]]:
    found = (status.get("details") or {}).get("causes") or () if isinstance(status, dict) else ()
    return {
        plain(cause.get("field") or "", cause["message"])
        for cause in found
        if cause["message"] != UNCHECKED_RULES.message
    }


def causes_offline(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [plain(cause.field, cause.message) for cause in judge(body).causes]


def their_causes(status: Any) -> set[tuple[str, str]]:
    found = (status.get("details") or {}).get("causes") or () if isinstance(status, dict) else ()
    return {
        plain(corrected(cause.get("field") or ""), corrected(cause["message"]))
        for cause in found
        if cause["message"] != UNCHECKED_RULES.message
    }


def listed(table: str, found: dict[str, Any]) -> None:
    """What differs is in the table of that name, and what is there differs."""
    known = DIFFERENT[table]
    assert {name: what for name, what in found.items() if name not in known} == {}
    assert known.keys() - found.keys() == set(), "alike now: take them off the list"


def test_enough_was_recorded(cases: list[Case]) -> None:
    assert len(cases) > 550


def test_what_kubevirt_takes_and_we_refuse(cases: list[Case]) -> None:
    listed(
        "stricter",
        {
            case.name: (case.our_code, sorted(causes(case.our_body)) or case.our_body.get("message"))
            for case in cases
            if case.code < 300 <= case.our_code
        },
    )


def test_what_kubevirt_refuses_and_we_take(cases: list[Case]) -> None:
    listed("wider", {case.name: case.body.get("message") for case in cases if case.our_code < 300 <= case.code})


def test_codes_of_what_both_refuse(cases: list[Case]) -> None:
    listed(
        "codes",
        {
            case.name: (case.code, case.our_code, case.body, case.our_body)
            for case in cases
            if case.code >= 300 and case.our_code >= 300 and case.code != case.our_code
        },
    )


def test_causes_of_what_both_refuse(cases: list[Case]) -> None:
    found = {}
    for case in cases:
        if case.code == case.our_code == 422 and causes(case.our_body) != their_causes(case.body):
            ours, theirs = causes(case.our_body), their_causes(case.body)
            found[case.name] = (sorted(ours - theirs), sorted(theirs - ours))
    listed("causes", found)


# Random, or of that moment; and what every answer of KubeVirt's has or lacks of bookkeeping.
VOLATILE = frozenset(
    (
        "uid", "uuid", "serial", "creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink",
        "phaseTransitionTimestamps", "lastProbeTime", "lastTransitionTime",
        "kubevirt.io/latest-observed-api-version", "kubevirt.io/storage-observed-api-version",
        "vmi.kubevirt.io/id",  # ours: what Services of virtctl expose select
    )
)  # fmt: skip


def comparable(obj: Any) -> Any:
    """Without what is empty or volatile."""
    if isinstance(obj, dict):
        kept = {key: comparable(value) for key, value in obj.items() if key not in VOLATILE}
        return {key: value for key, value in kept.items() if value not in (None, {}, [], "")}
    return [comparable(value) for value in obj] if isinstance(obj, list) else obj


def without_identity(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Better here on purpose: a VirtualMachine keeps its default network and each MAC address from the beginning."""
    ours, recorded = (obj["spec"]["template"]["spec"] for obj in (mine, theirs))
    if "networks" not in recorded and "interfaces" not in recorded["domain"].get("devices", {}):
        ours.pop("networks", None)
        ours["domain"].get("devices", {}).pop("interfaces", None)
        if not ours["domain"].get("devices", True):
            del ours["domain"]["devices"]
    given = {nic["name"]: nic.get("macAddress") for nic in recorded["domain"].get("devices", {}).get("interfaces", ())}
    for nic in ours["domain"].get("devices", {}).get("interfaces", ()):
        if given.get(nic["name"]) is None:
            nic.pop("macAddress", None)


def difference(ours: Any, theirs: Any, path: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys())
        return [line for key in keys for line in difference(ours.get(key), theirs.get(key), f"{path}.{key}")]
    return [] if ours == theirs else [f"{path}: {ours!r} instead of {theirs!r}"]


def test_what_is_stored(cases: list[Case]) -> None:
    found = {}
    for case in cases:
        if case.code >= 300 or case.our_code >= 300 or "kind" not in case.body:
            continue
        mine, theirs = comparable(case.our_body), comparable(real(case.body))
        if theirs["kind"] == "VirtualMachine":
            without_identity(mine, theirs)
        if theirs["kind"] == "VirtualMachineInstance" and case.method == "POST":
            macs = theirs["spec"]["domain"].get("devices", {}).get("interfaces", ())
            for ours, nic in zip(mine["spec"]["domain"].get("devices", {}).get("interfaces", ()), macs, strict=True):
                if "macAddress" not in nic:
                    ours.pop("macAddress", None)
        lines = difference(mine, theirs)
        if lines:
            found[case.name] = lines
    listed("stored", found)


# Told by the server alone, which knows what else there is; or not at all, because the client wants it so.
MOST_CAUSES = 10  # an answer has no more
ONLY_THERE = re.compile(
    r".*nonstrict|create-vm-object/instancetype-|vm-instancetype|vm-preference|preset-apply|update/|.*migration"
)


def test_virtctl_validate_says_the_same(cases: list[Case]) -> None:
    compared = 0
    for case in cases:
        if case.offline is None or ONLY_THERE.match(case.name) or case.our_code not in (201, 422):
            continue
        here, there = set(case.offline), causes(case.our_body)
        # A server tells of the rules once the schema is kept, and only ten causes; offline all is told at once.
        more = " is invalid: " in str(case.our_body.get("message")) or len(case.offline) > MOST_CAUSES
        assert here == there or (more and here > there), case.name
        compared += 1
    assert compared > 450


def test_every_difference_has_a_reason() -> None:
    assert all(reason for table in DIFFERENT.values() for reason in table.values())
