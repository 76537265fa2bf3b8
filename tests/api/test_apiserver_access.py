"""Who may do what, asked of a running server: roles and bindings, node agents, tokens, disguises, reviews."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from virt_kube.admission import UserInfo
from virt_kube.api import Forbidden, Resource
from virt_kube.resources import EVENTS, LEASES, NODES, VIRTUAL_MACHINE_INSTANCES
from virt_local.apiserver import tokens
from virt_local.apiserver.roles import AUTHENTICATED, CLUSTER_ROLES
from virt_local.apiserver.tokens import Tokens
from virt_types import labels
from virt_types.crds import custom_resource_definitions

if TYPE_CHECKING:
    from support.api_server import Api, Reply

    from virt_local.inprocess import InProcessClient

RBAC = "/apis/rbac.authorization.k8s.io/v1"
SECRETS = Resource("", "v1", "secrets", "Secret")
NS = "/api/v1/namespaces/default"


def binding(role: str, *subjects: dict[str, str], kind: str = "ClusterRole") -> dict[str, Any]:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    return {"metadata": {"name": "b"}, "roleRef": ref, "subjects": list(subjects)}


ALICE = {"kind": "User", "name": "alice"}
DEVS = {"kind": "Group", "name": "devs"}
BOT = {"kind": "ServiceAccount", "name": "bot", "namespace": "default"}
AS_ALICE = {"Authorization": "Bearer alice-token"}


async def made(api: Api, path: str, body: Any) -> Reply:
    answer = await api("POST", path, body)
    assert answer.code == 201, answer.body
    return answer


@pytest.mark.parametrize("subject", [ALICE, DEVS])
async def test_a_binding_holds_at_once_in_its_namespace_and_goes_with_it(api: Api, subject: dict[str, str]) -> None:
    assert (await api("GET", f"{NS}/configmaps", **AS_ALICE)).code == 403
    await made(api, f"{RBAC}/namespaces/default/rolebindings", binding("view", subject))
    assert (await api("GET", f"{NS}/configmaps", **AS_ALICE)).code == 200
    assert (await api("GET", f"{NS}/secrets", **AS_ALICE)).code == 403
    assert (await api("GET", "/api/v1/configmaps", **AS_ALICE)).code == 403, "elsewhere it says nothing"
    assert (await api("GET", "/api/v1/namespaces/kube-system/configmaps", **AS_ALICE)).code == 403
    await api("DELETE", f"{RBAC}/namespaces/default/rolebindings/b")
    assert (await api("GET", f"{NS}/configmaps", **AS_ALICE)).code == 403


async def test_a_name_in_a_rule_is_the_only_one(api: Api) -> None:
    rule = {"verbs": ["get", "list", "delete"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"]}
    await made(api, f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    await made(api, f"{RBAC}/namespaces/default/rolebindings", binding("r", ALICE, kind="Role"))
    for name in ("mine", "yours"):
        await made(api, f"{NS}/secrets", {"metadata": {"name": name}})
    assert (await api("GET", f"{NS}/secrets/mine", **AS_ALICE)).code == 200
    assert (await api("GET", f"{NS}/secrets/yours", **AS_ALICE)).code == 403
    assert (await api("GET", f"{NS}/secrets", **AS_ALICE)).code == 403
    assert (await api("GET", f"{NS}/secrets?fieldSelector=metadata.name=mine", **AS_ALICE)).code == 200
    assert (await api("GET", f"{NS}/secrets?fieldSelector=metadata.name=yours", **AS_ALICE)).code == 403
    assert (await api("GET", f"{NS}/secrets?fieldSelector=metadata.name!=mine", **AS_ALICE)).code == 403


APPLY = "application/apply-patch+yaml"


@pytest.mark.parametrize(
    ("api_version", "kind", "method", "path"),
    [
        ("v1", "ConfigMap", "PATCH", f"{NS}/configmaps/new?fieldManager=alice"),
        ("coordination.k8s.io/v1", "Lease", "PUT", "/apis/coordination.k8s.io/v1/namespaces/default/leases/new"),
    ],
)
async def test_who_may_change_may_not_therefore_make(
    api_version: str, kind: str, method: str, path: str, api: Api
) -> None:
    plural = f"{kind.lower()}s"
    rule = {"verbs": ["update", "patch"], "apiGroups": [api_version.rpartition("/")[0]], "resources": [plural]}
    await made(api, f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    await made(api, f"{RBAC}/namespaces/default/rolebindings", binding("r", ALICE, kind="Role"))
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "new"}}
    content = APPLY if method == "PATCH" else "application/json"
    answer = await api(method, path, body, content=content, **AS_ALICE)
    assert answer.code == 403
    assert f'User "alice" cannot create resource "{plural}"' in answer.body["message"]
    assert (await api(method, path, body, content=content)).code == 201, "whoever may create may do it so"


async def test_a_role_that_gathers_has_what_others_add(api: Api) -> None:
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    rule = {"verbs": ["get"], "apiGroups": ["example.io"], "resources": ["widgets"]}
    await made(api, f"{RBAC}/namespaces/default/rolebindings", binding("view", ALICE))
    path = "/apis/example.io/v1/namespaces/default/widgets/w"
    assert (await api("GET", path, **AS_ALICE)).code == 403
    await made(api, f"{RBAC}/clusterroles", {"metadata": {"name": "more", "labels": label}, "rules": [rule]})
    assert (await api("GET", path, **AS_ALICE)).code == 404


ESCALATIONS = [
    ("namespaces/default/roles", {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes/proxy"]}]}),
    ("namespaces/default/roles", {"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}),
    ("namespaces/default/rolebindings", binding("cluster-admin", ALICE)),
]


@pytest.mark.parametrize(("where", "body"), ESCALATIONS)
async def test_an_admin_of_a_namespace_gives_no_more_than_they_have(api: Api, where: str, body: Any) -> None:
    await made(api, f"{RBAC}/namespaces/default/rolebindings", binding("admin", ALICE))
    refused = await api("POST", f"{RBAC}/{where}", body | {"metadata": {"name": "x"}}, **AS_ALICE)
    assert refused.code == 403
    assert "is attempting to grant RBAC permissions not currently held" in refused.body["message"]
    small = {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]}]}
    path = f"{RBAC}/namespaces/default/roles"
    given = await api("POST", path, small | {"metadata": {"name": "ok"}}, **AS_ALICE)
    assert given.code == 201
    grown = [{"op": "add", "path": "/rules/0/verbs/-", "value": "impersonate"}]
    patched = await api("PATCH", f"{path}/ok", grown, content="application/json-patch+json", **AS_ALICE)
    assert patched.code == 403


BAD = [
    ("roles", {"rules": [{"apiGroups": [""], "resources": ["pods"]}]}, "rules[0].verbs"),
    ("roles", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}, "rules[0].nonResourceURLs"),
    ("roles", {"rules": [{"verbs": ["get"], "resources": ["pods"]}]}, "rules[0].apiGroups"),
    ("rolebindings", {"roleRef": {"kind": "Rule", "name": "x"}}, "roleRef.kind"),
    ("rolebindings", binding("view", {"kind": "ServiceAccount", "name": "X"}), "subjects[0].name"),
    ("rolebindings", binding("view", {"kind": "Robot", "name": "x"}), "subjects[0].kind"),
]


@pytest.mark.parametrize(("plural", "body", "field"), BAD)
async def test_a_bad_role_is_refused_by_field(api: Api, plural: str, body: Any, field: str) -> None:
    refused = await api("POST", f"{RBAC}/namespaces/default/{plural}", body | {"metadata": {"name": "a:b"}})
    assert (refused.code, [cause["field"] for cause in refused.body["details"]["causes"]]) == (422, [field])


async def test_what_a_binding_is_to_never_changes(api: Api) -> None:
    path = f"{RBAC}/namespaces/default/rolebindings"
    await made(api, path, binding("view", ALICE))
    refused = await api.merge(f"{path}/b", {"roleRef": {"name": "edit"}})
    assert refused.code == 422
    assert "cannot change roleRef" in refused.body["message"]


async def test_a_start_brings_the_first_roles_back(api: Api) -> None:
    await api.merge(f"{RBAC}/clusterroles/view", {"rules": []})
    await api("DELETE", f"{RBAC}/clusterrolebindings/virtctl:viewers")
    await api.server.bootstrap([])
    role = await api("GET", f"{RBAC}/clusterroles/view")
    assert len(role.body["rules"]) == len(CLUSTER_ROLES["view"].rules)
    assert (await api("GET", f"{RBAC}/clusterrolebindings/virtctl:viewers")).code == 200


async def test_nobody_is_locked_out_by_a_broken_role(api: Api) -> None:
    await api("DELETE", f"{RBAC}/clusterrolebindings/cluster-admin")
    await api("DELETE", f"{RBAC}/clusterroles/cluster-admin")
    assert (await api("GET", "/api/v1/secrets")).code == 200


# Node agents

VMIS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"


def vmi(name: str, node: str, **spec: Any) -> dict[str, Any]:
    devices = {"domain": {"devices": {}}}
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"}
    return {**kind, "metadata": {"name": name}, "spec": {**devices, **spec}, "status": {"nodeName": node}}


def agent(api: Api, *nodes: str) -> InProcessClient:
    groups = (labels.SERVICE_ACCOUNTS_GROUP, AUTHENTICATED, *(f"system:node:{node}" for node in nodes))
    return api.server.client(UserInfo(labels.HANDLER_USER, groups))


@pytest.fixture
async def machines(api: Api) -> Api:
    """One machine on each of two nodes, each with a secret of its own."""
    wanted = "virtualmachineinstances.kubevirt.io"
    await api.server.bootstrap([d for d in custom_resource_definitions() if d["metadata"]["name"] == wanted])
    for node in ("n1", "n2"):
        volume = {"name": "s", "secret": {"secretName": f"of-{node}"}}
        await made(api, VMIS, vmi(f"on-{node}", node, volumes=[volume]))
        await made(api, f"{NS}/secrets", {"metadata": {"name": f"of-{node}"}})
    await made(api, f"{NS}/secrets", {"metadata": {"name": "nobodys"}})
    return api


STATUS = [{"op": "add", "path": "/status/phase", "value": "Running"}]


async def test_an_agent_makes_no_machine_by_applying_one(machines: Api) -> None:
    """One that is not there yet is of no node, so its own rules alone would let it pass."""
    disguise = {"Impersonate-User": labels.HANDLER_USER, "Impersonate-Group": "system:node:n1"}
    path = f"{VMIS}/new"
    applied = vmi("new", "n1") | {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"}
    answer = await machines("PATCH", f"{path}?fieldManager=agent", applied, content=APPLY, **disguise)
    assert answer.code == 403
    assert 'cannot create resource "virtualmachineinstances"' in answer.body["message"]
    assert (await machines("GET", path)).code == 404
    assert (await machines("PATCH", f"{path}?fieldManager=me", applied, content=APPLY)).code == 201


async def test_an_agent_writes_the_machines_of_its_node_only(machines: Api) -> None:
    mine = agent(machines, "n1")
    await mine.patch(VIRTUAL_MACHINE_INSTANCES, "default", "on-n1", STATUS)
    for write in (
        mine.patch(VIRTUAL_MACHINE_INSTANCES, "default", "on-n2", STATUS),
        mine.update(VIRTUAL_MACHINE_INSTANCES, "default", "on-n2", vmi("on-n2", "n1")),
        mine.delete(VIRTUAL_MACHINE_INSTANCES, "default", "on-n1"),
        mine.create(VIRTUAL_MACHINE_INSTANCES, "default", vmi("new", "n1")),
        agent(machines).patch(VIRTUAL_MACHINE_INSTANCES, "default", "on-n1", STATUS),
    ):
        with pytest.raises(Forbidden):
            await write


async def test_an_agent_writes_its_own_node_lease_and_events_only(machines: Api) -> None:
    mine = agent(machines, "n1")
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    await mine.create(NODES, "", node)
    await mine.patch(NODES, "", "n1", {"metadata": {"labels": {"a": "b"}}}, kind="merge")
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n1"}, "spec": {}}
    await mine.create(LEASES, "default", lease)

    def event(about: str) -> dict[str, Any]:
        involved = {"kind": "VirtualMachineInstance", "namespace": "default", "name": about}
        return {"metadata": {"name": f"e-{about}"}, "involvedObject": involved, "reason": "R", "type": "Normal"}

    await mine.create(EVENTS, "default", event("on-n1"))
    await mine.create(EVENTS, "default", event("gone"))
    other = {**node, "metadata": {"name": "n2"}}
    for write in (
        mine.create(NODES, "", other),
        mine.create(EVENTS, "default", event("on-n2")),
        mine.create(LEASES, "default", {**lease, "metadata": {"name": "n2"}}),
    ):
        with pytest.raises(Forbidden) as refused:
            await write
        assert 'node "n1" is ' in refused.value.message


async def test_an_agent_reads_the_secrets_of_its_machines_only(machines: Api) -> None:
    mine = agent(machines, "n1")
    await mine.get(SECRETS, "default", "of-n1")
    for name in ("of-n2", "nobodys", "missing"):
        with pytest.raises(Forbidden, match="no relationship found"):
            await mine.get(SECRETS, "default", name)
    with pytest.raises(Forbidden):
        await mine.list(SECRETS, "default")


# Tokens


async def account(api: Api) -> str:
    return (await made(api, f"{NS}/serviceaccounts", {"metadata": {"name": "bot"}})).body["metadata"]["uid"]


async def token(api: Api, **spec: Any) -> str:
    answer = await made(api, f"{NS}/serviceaccounts/bot/token", {"spec": spec})
    return str(answer.body["status"]["token"])


async def test_a_token_is_good_for_its_account_while_it_is_there(api: Api) -> None:
    uid = await account(api)
    await made(api, f"{RBAC}/namespaces/default/rolebindings", binding("view", BOT))
    bearer = {"Authorization": f"Bearer {await token(api)}"}
    who = await api("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, **bearer)
    assert who.body["status"]["userInfo"] == {
        "username": "system:serviceaccount:default:bot",
        "uid": uid,
        "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
    }
    assert (await api("GET", f"{NS}/configmaps", **bearer)).code == 200
    await api("DELETE", f"{NS}/serviceaccounts/bot")
    assert (await api("GET", f"{NS}/configmaps", **bearer)).code == 401
    await account(api)
    assert (await api("GET", f"{NS}/configmaps", **bearer)).code == 401, "another account of the same name"


async def test_a_token_ends_with_what_it_was_bound_to(api: Api) -> None:
    await account(api)
    path = f"{NS}/serviceaccounts/bot/token"
    for reference, code in (
        ({"apiVersion": "v1", "kind": "Secret", "name": "s"}, 404),
        ({"apiVersion": "v1", "kind": "ConfigMap", "name": "s"}, 400),
    ):
        assert (await api("POST", path, {"spec": {"boundObjectRef": reference}})).code == code
    await made(api, f"{NS}/secrets", {"metadata": {"name": "s"}})
    reference = {"apiVersion": "v1", "kind": "Secret", "name": "s"}
    answer = await made(api, path, {"spec": {"boundObjectRef": reference}})
    assert answer.body["spec"]["boundObjectRef"] == reference
    other = await api("POST", path, {"spec": {"boundObjectRef": reference | {"uid": "another"}}})
    assert other.code == 409
    bearer = {"Authorization": f"Bearer {answer.body['status']['token']}"}
    assert (await api("GET", f"{NS}/configmaps", **bearer)).code == 403
    await api("DELETE", f"{NS}/secrets/s")
    assert (await api("GET", f"{NS}/configmaps", **bearer)).code == 401


async def test_a_token_for_others_opens_nothing_here(api: Api) -> None:
    await account(api)
    bearer = {"Authorization": f"Bearer {await token(api, audiences=['vault'])}"}
    assert (await api("GET", f"{NS}/configmaps", **bearer)).code == 401


def test_a_token_ends_and_is_nobodys_when_touched(api_store: Any) -> None:
    now = [time.time()]
    issuer = Tokens(api_store, clock=lambda: now[0])
    text = issuer.request("default", "bot", {"spec": {"expirationSeconds": 600}})["status"]["token"]
    found = issuer.find(text)
    assert found is not None
    assert found.user.name == "system:serviceaccount:default:bot"
    head, body, signature = text.split(".")
    flipped = signature[:-2] + ("A" if signature[-2] != "A" else "B") + signature[-1]
    none = tokens._packed(b'{"alg":"none","typ":"JWT"}')
    for forged in (
        f"{head}.{body}.{flipped}",
        f"{none}.{body}.",
        f"{head}.{body}",
        "x",
        "",
        "." * 9_000,
        f"{head}..{signature}",
    ):
        assert issuer.find(forged) is None
    assert Tokens(api_store).find(text) is None, "signed by another key"
    now[0] += 599
    assert issuer.find(text) is not None
    now[0] += 2
    assert issuer.find(text) is None


@pytest.fixture
def api_store() -> Any:
    """A store with one service account in it."""
    from types import SimpleNamespace

    from virt_local.store import Record

    value = b'{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"bot","namespace":"default","uid":"u"}}'
    return SimpleNamespace(get=lambda key: Record(1, value) if key.name == "bot" else None)


async def test_a_certificate_ends_though_its_connection_lives_on(
    api: Api, tmp_path: Any, certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ssl

    import aiohttp

    from virt_local import pki

    state = certificates.ca.parent.parent
    cert, key = pki.client_certificate(state, "root", ["system:masters"], timedelta(minutes=5))
    (tmp_path / "c").write_bytes(cert + key)
    trust = ssl.create_default_context(cafile=str(certificates.ca))
    trust.load_cert_chain(tmp_path / "c")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, limit=1)) as client:
        async with client.get(api.base + f"{NS}/secrets") as answer:
            assert answer.status == 200
        authenticator = api.server._door._authenticator
        monkeypatch.setattr(authenticator, "_clock", lambda: time.time() + 301)
        async with client.get(api.base + f"{NS}/secrets") as answer:
            assert answer.status == 401


# Disguises and reviews


async def test_who_may_wear_which_disguise(api: Api) -> None:
    rule = {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]}
    await made(api, f"{RBAC}/clusterroles", {"metadata": {"name": "r"}, "rules": [rule]})
    await made(api, f"{RBAC}/clusterrolebindings", binding("r", ALICE))
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    bob = await api("POST", review, {}, **AS_ALICE, Impersonate_User="bob")
    assert bob.body["status"]["userInfo"]["username"] == "bob"
    assert (await api("POST", review, {}, **AS_ALICE, Impersonate_User="eve")).code == 403
    for group in ("system:masters", "devs"):
        refused = await api("POST", review, {}, **AS_ALICE, Impersonate_User="bob", Impersonate_Group=group)
        assert refused.code == 403


REVIEW = "/apis/authorization.k8s.io/v1"


async def test_reviews_say_what_requests_meet(api: Api) -> None:
    """For each thing asked: the review's answer and the request's outcome are the same."""
    await made(api, f"{RBAC}/namespaces/default/rolebindings", binding("view", ALICE))
    for verb, method, plural in (
        ("list", "GET", "configmaps"),
        ("list", "GET", "secrets"),
        ("create", "POST", "configmaps"),
    ):
        about = {"namespace": "default", "verb": verb, "resource": plural}
        own = await api(
            "POST", f"{REVIEW}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": about}}, **AS_ALICE
        )
        spec = {"user": "alice", "resourceAttributes": about}
        others = await api("POST", f"{REVIEW}/subjectaccessreviews", {"spec": spec})
        local = await api("POST", f"{REVIEW}/namespaces/default/localsubjectaccessreviews", {"spec": spec})
        body = {"metadata": {"name": "x"}} if method == "POST" else None
        met = (await api(method, f"{NS}/{plural}", body, **AS_ALICE)).code < 400
        assert [answer.body["status"]["allowed"] for answer in (own, others, local)] == [met] * 3


async def test_only_who_may_asks_about_others_and_their_tokens(api: Api) -> None:
    for path in (f"{REVIEW}/subjectaccessreviews", "/apis/authentication.k8s.io/v1/tokenreviews"):
        assert (await api("POST", path, {"spec": {"user": "x", "token": "admin-token"}}, **AS_ALICE)).code == 403


async def test_a_token_review_tells_whose_it_is(api: Api) -> None:
    await account(api)
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    good = await api("POST", path, {"spec": {"token": await token(api)}})
    assert good.body["status"]["user"]["username"] == "system:serviceaccount:default:bot"
    other = await api("POST", path, {"spec": {"token": await token(api, audiences=["vault"])}})
    assert "authenticated" not in other.body["status"]
    vault = await api("POST", path, {"spec": {"token": await token(api, audiences=["vault"]), "audiences": ["vault"]}})
    assert vault.body["status"]["audiences"] == ["vault"]
