"""The API through other people's clients: Kubernetes' own for Python in its three forms, Helm, an informer's requests.

Helm's library is Go (client-go inside); its Python bindings (PyPI: helm-sdkpy) need Python 3.12. Set HELM_PYTHON to an
interpreter that has them, and its test runs.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.api_server import Api, Served

kubernetes = pytest.importorskip("kubernetes", reason="the package kubernetes is not installed")

VM = {"group": "kubevirt.io", "version": "v1", "plural": "virtualmachines", "namespace": "default"}


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def machine(name: str, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"domain": {"devices": {}}}}
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine"}
    return {**kind, "metadata": {"name": name}, "spec": {"runStrategy": "Halted", "template": template, **spec}}


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Any]:
    found = kubernetes.config.new_client_from_config(str(served.folder / "kubeconfig"))
    yield found
    found.close()


def test_typed_objects_come_and_go(client: Any) -> None:
    core = kubernetes.client.CoreV1Api(client)
    made = core.create_namespaced_config_map("default", config_map("typed", a="b"))
    assert made.metadata.creation_timestamp is not None
    made.data["a"] = "c"
    assert core.replace_namespaced_config_map("typed", "default", made).data == {"a": "c"}
    with pytest.raises(kubernetes.client.exceptions.ApiException) as stale:
        core.replace_namespaced_config_map("typed", "default", made)
    assert stale.value.status == 409
    patched = core.patch_namespaced_config_map("typed", "default", {"data": {"d": "e"}})
    assert patched.data == {"a": "c", "d": "e"}
    page = core.list_namespaced_config_map("default", limit=1, field_selector="metadata.name=typed")
    assert [item.metadata.name for item in page.items] == ["typed"]
    core.delete_namespaced_config_map("typed", "default")
    with pytest.raises(kubernetes.client.exceptions.ApiException) as gone:
        core.read_namespaced_config_map("typed", "default")
    assert json.loads(gone.value.body)["reason"] == "NotFound"


def test_the_other_groups_answer_in_types(client: Any) -> None:
    review = kubernetes.client.AuthorizationV1Api(client).create_self_subject_access_review(
        {"spec": {"resourceAttributes": {"verb": "create", "group": "kubevirt.io", "resource": "virtualmachines"}}}
    )
    assert review.status.allowed is True
    names = {role.metadata.name for role in kubernetes.client.RbacAuthorizationV1Api(client).list_cluster_role().items}
    assert {"view", "cluster-admin", "virt-handler"} <= names
    piece = {
        "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "ssh", "port": 22, "protocol": "TCP"}],
    }
    slices = kubernetes.client.DiscoveryV1Api(client)
    slices.create_namespaced_endpoint_slice("default", piece)
    found = slices.list_namespaced_endpoint_slice("default", label_selector="kubernetes.io/service-name=s").items
    assert [(each.endpoints[0].addresses, each.ports[0].port) for each in found] == [(["10.0.0.1"], 22)]
    versions = [group.name for group in kubernetes.client.ApisApi(client).get_api_versions().groups]
    assert "discovery.k8s.io" in versions


def test_a_watch_goes_on_where_it_was_cut(client: Any) -> None:
    core = kubernetes.client.CoreV1Api(client)
    begin = core.list_namespaced_config_map("default").metadata.resource_version
    for number in range(4):
        core.create_namespaced_config_map("default", config_map(f"cut{number}"))
    seen: list[str] = []
    version = begin
    for _ in range(2):
        watch = kubernetes.watch.Watch()
        for event in watch.stream(
            core.list_namespaced_config_map,
            "default",
            resource_version=version,
            timeout_seconds=10,
            _request_timeout=15,
        ):
            seen.append(event["object"].metadata.name)
            version = event["object"].metadata.resource_version
            if len(seen) % 2 == 0:
                watch.stop()
    assert seen == ["cut0", "cut1", "cut2", "cut3"]


def test_machines_as_custom_objects(client: Any) -> None:
    custom = kubernetes.client.CustomObjectsApi(client)
    custom.create_namespaced_custom_object(**VM, body=machine("custom"))
    custom.patch_namespaced_custom_object(**VM, name="custom", body={"metadata": {"labels": {"a": "b"}}})
    found = custom.list_namespaced_custom_object(**VM, label_selector="a=b")
    assert [item["metadata"]["name"] for item in found["items"]] == ["custom"]
    done = custom.delete_namespaced_custom_object(**VM, name="custom")
    assert done["status"] == "Success"


def test_the_dynamic_client_finds_its_way_and_forces_fields(client: Any) -> None:
    """As Helm and GitOps tools do: applied by one manager, forced by another."""
    from kubernetes.dynamic import DynamicClient
    from kubernetes.dynamic.exceptions import ConflictError

    dynamic = DynamicClient(client)
    machines = dynamic.resources.get(api_version="kubevirt.io/v1", kind="VirtualMachine")
    body = machine("applied")
    machines.server_side_apply(body=body, namespace="default", name="applied", field_manager="helm")
    other = machine("applied", runStrategy="Always")
    with pytest.raises(ConflictError) as refused:
        machines.server_side_apply(body=other, namespace="default", name="applied", field_manager="argocd")
    assert json.loads(refused.value.body)["details"]["causes"][0]["field"] == ".spec.runStrategy"
    forced = machines.server_side_apply(
        body=other, namespace="default", name="applied", field_manager="argocd", force_conflicts=True
    )
    assert forced.spec.runStrategy == "Always"
    managers = {entry["manager"]: entry for entry in forced.to_dict()["metadata"]["managedFields"]}
    assert "f:runStrategy" in managers["argocd"]["fieldsV1"]["f:spec"]
    assert "f:runStrategy" not in managers["helm"]["fieldsV1"]["f:spec"]
    events = machines.watch(namespace="default", name="applied", timeout=5)
    assert next(iter(events))["object"].metadata.name == "applied"
    machines.delete(name="applied", namespace="default")


async def test_the_asyncio_client_lists_and_watches(served: Served) -> None:
    aio = pytest.importorskip("kubernetes.aio", reason="this version of the package has no asyncio half")
    config = aio.client.Configuration()
    await aio.config.load_kube_config(str(served.folder / "kubeconfig"), client_configuration=config)
    async with aio.client.ApiClient(config) as api_client:
        core = aio.client.CoreV1Api(api_client)
        begin = (await core.list_namespaced_config_map("default")).metadata.resource_version
        await core.create_namespaced_config_map("default", config_map("asyncio"))
        async with aio.watch.Watch() as watch:
            stream = watch.stream(
                core.list_namespaced_config_map, "default", resource_version=begin, timeout_seconds=10
            )
            async for event in stream:
                assert (event["type"], event["object"].metadata.name) == ("ADDED", "asyncio")
                break


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


async def test_an_informer_of_client_go_sees_everything_once(api: Api) -> None:
    """The requests of a reflector (client-go 0.35): a WatchList, its mark, and on from the last bookmark."""
    for name in ("a", "b"):
        await api("POST", CONFIGMAPS, config_map(name))
    asked = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    async with api.watch(f"{CONFIGMAPS}?{asked}&timeoutSeconds=3") as events:
        first = [await events.get() for _ in range(3)]
        assert [(event["type"], event["object"]["metadata"].get("name")) for event in first] == [
            ("ADDED", "a"),
            ("ADDED", "b"),
            ("BOOKMARK", None),
        ]
        assert first[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert first[2]["object"]["kind"] == "ConfigMap"
        await api("POST", CONFIGMAPS, config_map("c"))
        live = await events.get()
        assert (live["type"], live["object"]["metadata"]["name"]) == ("ADDED", "c")
        last = await events.get()
        assert last["type"] == "BOOKMARK", "before the end, so that the next watch begins there"
        assert await events.get() is None
    version = last["object"]["metadata"]["resourceVersion"]
    await api("DELETE", f"{CONFIGMAPS}/a")
    async with api.watch(
        f"{CONFIGMAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds=30"
    ) as events:
        gone = await events.get()
        assert (gone["type"], gone["object"]["metadata"]["name"]) == ("DELETED", "a")


async def test_the_list_a_reflector_falls_back_to(api: Api) -> None:
    made = await api("POST", CONFIGMAPS, config_map("a"))
    page = await api("GET", f"{CONFIGMAPS}?limit=500&resourceVersion=0")
    assert [item["metadata"]["name"] for item in page.body["items"]] == ["a"]
    match = f"resourceVersion={made.rv}&resourceVersionMatch="
    for how in ("NotOlderThan", "Exact"):
        assert (await api("GET", f"{CONFIGMAPS}?{match}{how}")).code == 200
    ahead = await api("GET", f"{CONFIGMAPS}?resourceVersion={int(made.rv) + 1000}&resourceVersionMatch=NotOlderThan")
    assert (ahead.code, ahead.body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


HELM = os.environ.get("HELM_PYTHON", "")
HELM_PROGRAM = """
import asyncio, sys
import helm_sdkpy as helm

async def main(kubeconfig, chart):
    here = helm.Configuration(namespace="default", kubeconfig=kubeconfig)
    await helm.Install(here).run("demo", chart, wait=True, timeout=60)
    print("installed", [release["info"]["status"] for release in await helm.List(here).run()])
    await helm.Upgrade(here).run(
        "demo", chart, values={"word": "two"}, server_side_apply=True, force_conflicts=True, wait=True, timeout=60
    )
    print("upgraded", (await helm.Status(here).run("demo"))["version"])
    await helm.Uninstall(here).run("demo", wait=True, timeout=60)
    print("uninstalled", await helm.List(here).run() or [])

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(not HELM, reason="HELM_PYTHON names no Python that has Helm (see above)")
def test_helm_installs_upgrades_by_force_and_removes(served: Served, client: Any) -> None:
    chart = Path(__file__).parent / "chart"
    command = [HELM, "-c", HELM_PROGRAM, str(served.folder / "kubeconfig"), str(chart)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ran.stdout.splitlines() == ["installed ['deployed']", "upgraded 2", "uninstalled []"], ran.stderr
    names = [item.metadata.name for item in kubernetes.client.CoreV1Api(client).list_namespaced_secret("default").items]
    assert not [name for name in names if "demo" in name]
