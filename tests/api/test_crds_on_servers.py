"""manifests/crds on an API server: they install, and take and refuse the same objects on ours and on a real one.

Each test runs on the embedded server, and, where KUBEBUILDER_ASSETS names a folder with etcd and kube-apiserver, on
those too. No admission of KubeVirt's is in the way: this is about the schemas.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.api_server import serve
from support.real_api_server import ASSETS, TOKEN, assets, serve_real

from virt_types.check import known_kind
from virt_types.kinds import KINDS, Kind
from virt_types.manifest import load

HERE = Path(__file__).resolve()
CRDS = HERE.parents[2] / "manifests" / "crds"
EXAMPLES = HERE.parents[3] / "shared/data/manifests"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STRICT = "?dryRun=All&fieldValidation=Strict"
ESTABLISHED_WITHIN = 30  # seconds

Json = dict[str, Any]
GUEST: Json = {"domain": {"memory": {"guest": "64Mi"}, "devices": {}}}
MACHINE: Json = {"runStrategy": "Halted", "template": {"spec": GUEST}}
SELECTOR: Json = {"matchLabels": {"a": "b"}}
CLAIM: Json = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
SIZE: Json = {"cpu": {"guest": 1}, "memory": {"guest": "1Gi"}}
PROGRESS: Json = {"proactive": {"selectionPolicy": {"sortPolicy": "Tallest"}}}
POOL: Json = {"selector": SELECTOR, "virtualMachineTemplate": {"spec": MACHINE}}
# Kind -> a good spec, and bad ones with the field that is told.
SPECS: dict[str, tuple[Json, list[tuple[Json, str]]]] = {
    "VirtualMachine": (
        MACHINE,
        [
            ({"runStrategy": "Halted"}, "spec.template"),
            (MACHINE | {"running": 1}, "spec.running"),
            (MACHINE | {"template": {"spec": {"domain": {"memory": {"guest": "64Mi"}}}}}, "devices"),
            (MACHINE | {"template": {"spec": GUEST | {"volumes": [{}]}}}, "volumes[0].name"),
        ],
    ),
    "VirtualMachineInstance": (
        GUEST,
        [
            ({}, "spec.domain"),
            ({"domain": {"devices": {"disks": [{"name": "a"}] * 257}}}, "disks"),
            ({"domain": {"devices": {}, "rebootPolicy": "Sometimes"}}, "rebootPolicy"),
            ({"domain": {"devices": {}, "memory": {"guest": "much"}}}, "memory.guest"),
            ({"domain": {"devices": {}, "cpu": {"cores": 2**40}}}, "cpu.cores"),
            (GUEST | {"volumes": [{"name": "a", "containerPath": {"path": "b"}}]}, "path"),
        ],
    ),
    "VirtualMachineInstanceReplicaSet": (
        {"selector": SELECTOR, "template": {"spec": GUEST}},
        [({"template": {"spec": GUEST}}, "spec.selector"), ({"selector": SELECTOR}, "spec.template")],
    ),
    "VirtualMachineInstancePreset": (
        {"selector": SELECTOR, "domain": {"devices": {}}},
        [({}, "spec.selector"), ({"selector": {}, "domain": {}}, "spec.domain.devices")],
    ),
    "VirtualMachineInstanceMigration": ({"vmiName": "a"}, [({"vmiName": 1}, "spec.vmiName")]),
    "VirtualMachinePool": (
        POOL,
        [
            ({"selector": SELECTOR}, "virtualMachineTemplate"),
            (POOL | {"replicas": -1}, "replicas"),
            (POOL | {"scaleInStrategy": PROGRESS}, "sortPolicy"),
        ],
    ),
    "VirtualMachineInstancetype": (
        SIZE,
        [
            ({"cpu": {"guest": 1}}, "spec.memory"),
            (SIZE | {"memory": {"guest": "1Gi", "overcommitPercent": 101}}, "over"),
        ],
    ),
    "VirtualMachineClusterInstancetype": (SIZE, [({"memory": {"guest": "1Gi"}}, "spec.cpu")]),
    "VirtualMachinePreference": ({"cpu": {"preferredCPUTopology": "cores"}}, [({"cpu": 1}, "spec.cpu")]),
    "VirtualMachineClusterPreference": ({}, [({"devices": {"preferredDiskBus": 1}}, "preferredDiskBus")]),
    "DataVolume": (
        {"source": {"blank": {}}, "pvc": CLAIM},
        [({"source": 1}, "spec.source"), ({"contentType": "x"}, "spec.contentType")],
    ),
    "DataSource": ({"source": {"pvc": {"name": "a", "namespace": "b"}}}, [({}, "spec.source")]),
}


class Answer(NamedTuple):
    code: int
    body: Any


class Server:
    """Requests to either server, as its administrator."""

    def __init__(self, url: str, authority: Path | None) -> None:
        self.url = url
        self.trust = ssl.create_default_context(cafile=str(authority) if authority else None)
        if authority is None:  # a server of the test's own making, with a certificate of its own making
            self.trust.check_hostname, self.trust.verify_mode = False, ssl.CERT_NONE

    def __call__(self, method: str, path: str, body: Json | bytes | None = None) -> Answer:
        yaml = isinstance(body, bytes)
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/yaml" if yaml else "application/json",
        }
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310  our own https URL
        try:
            with urllib.request.urlopen(request, context=self.trust, timeout=30) as answer:  # noqa: S310
                return Answer(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read()))

    def create(self, kind: Kind, obj: Json, query: str = STRICT) -> Answer:
        group, _, version = obj["apiVersion"].partition("/")
        space = "namespaces/default/" if kind.namespaced else ""
        return self("POST", f"/apis/{group}/{version}/{space}{kind.plural}{query}", obj)


@pytest.fixture(scope="module", params=["embedded", "real"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with every CRD of manifests/crds established."""
    folder = tmp_path_factory.mktemp("crds") / "d"
    folder.mkdir()
    if request.param == "embedded":
        tokens = folder.parent / "tokens.csv"
        tokens.write_text(f'{TOKEN},admin,1,"system:masters"\n')
        with serve(folder, "--no-admission", "--token-auth-file", str(tokens)) as served:
            yield established(Server(served.url, served.folder / "pki" / "ca.crt"))
        return
    programs = assets()
    if programs is None:
        pytest.skip(f"{ASSETS} names no folder with etcd and kube-apiserver")
    with serve_real(folder, programs) as served:
        yield established(Server(served.url, None))


def established(server: Server) -> Server:
    for path in sorted(CRDS.glob("*.yaml")):
        answer = server("POST", DEFINITIONS, path.read_bytes())
        # The embedded server brings those of the kinds that one machine serves.
        assert answer.code in (201, 409), (path.name, answer.body)
    waiting = {kind.resource for kind in KINDS}
    end = time.monotonic() + ESTABLISHED_WITHIN
    while waiting and time.monotonic() < end:
        for definition in server("GET", DEFINITIONS).body["items"]:
            states = {one["type"]: one["status"] for one in definition["status"].get("conditions") or ()}
            assert "NonStructuralSchema" not in states, definition["status"]
            if states.get("Established") == states.get("NamesAccepted") == "True":
                waiting.discard(definition["metadata"]["name"])
        time.sleep(0.1)
    assert waiting == set()
    return server


def of(kind: Kind, spec: Json, name: str = "a") -> Json:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}


def test_every_kind_is_tried() -> None:
    assert {kind.kind for kind in KINDS} == SPECS.keys()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_good_objects_are_taken_and_bad_ones_told(server: Server, kind: Kind) -> None:
    good, bad = SPECS[kind.kind]
    taken = server.create(kind, of(kind, good))
    assert taken.code == 201, taken.body
    assert taken.body["spec"] == good | taken.body["spec"]
    for spec, field in bad:
        refused = server.create(kind, of(kind, spec))
        assert (refused.code, refused.body["reason"]) == (422, "Invalid"), (spec, refused.body)
        causes = refused.body["details"]["causes"]
        assert any(field in f"{cause.get('field')} {cause['message']}" for cause in causes), causes


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_unknown_fields_are_named_when_asked_for(server: Server, kind: Kind) -> None:
    good, _ = SPECS[kind.kind]
    refused = server.create(kind, of(kind, good | {"domian": {}}))
    assert refused.code == 400
    assert 'unknown field "spec.domian"' in refused.body["message"]
    kept = server.create(kind, of(kind, good | {"domian": {}}), "?dryRun=All&fieldValidation=Ignore")
    assert kept.code == 201
    assert "domian" not in kept.body["spec"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_version_is_served(server: Server, kind: Kind) -> None:
    for version in kind.versions:
        obj = of(kind, SPECS[kind.kind][0]) | {"apiVersion": f"{kind.group}/{version}"}
        assert server.create(kind, obj).code == 201, version


def test_old_fields_in_the_old_version_only(server: Server) -> None:
    (kind,) = (kind for kind in KINDS if kind.kind == "VirtualMachineInstance")
    old = GUEST | {"volumes": [{"name": "a", "registryDisk": {"image": "i"}}]}
    versions = {"v1alpha2": 201, "v1": 400}  # in v1alpha3 ours converts them, beyond its schema
    answers = {
        version: server.create(kind, of(kind, old) | {"apiVersion": f"kubevirt.io/{version}"}).code
        for version in versions
    }
    assert answers == versions


def test_what_kubectl_shows(server: Server) -> None:
    """Short names, categories and the state of a new machine come from the CRDs."""
    found = {one["name"]: one for one in server("GET", "/apis/kubevirt.io/v1").body["resources"]}
    assert found["virtualmachines"]["shortNames"] == ["vm", "vms"]
    assert found["virtualmachines"]["categories"] == ["all"]
    assert "virtualmachineinstancereplicasets/scale" in found
    assert "virtualmachineinstances/status" not in found


def test_kubevirts_examples_are_taken(server: Server) -> None:
    if not EXAMPLES.is_dir():
        pytest.skip("no recorded data here: ../shared/data is missing")
    tried, refused = 0, {}
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for document in load(path.read_bytes(), path.name):
            kind = known_kind(document.obj)
            if kind is None:
                continue
            document.obj["metadata"].pop("namespace", None)
            answer = server.create(kind, document.obj)
            tried += 1
            if answer.code != 201:
                refused[path.name] = answer.body
    assert tried > 40
    assert refused == {}
