"""What a cluster is told of our components agrees with what they do."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from virt_api import admission, app, manifests
from virt_api.__main__ import main
from virt_api.subresources import VERSIONS
from virt_kube.roles import COMPONENTS
from virt_types.kinds import KINDS

RBAC = Path(__file__).parents[3] / "manifests" / "rbac.yaml"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def by_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [obj for obj in objects if obj["kind"] == kind]


def test_the_written_roles_are_those_of_the_code() -> None:
    assert RBAC.read_text() == manifests.rbac_file(), "stale: python -m virt_api.manifests"


def test_each_component_has_an_account_a_role_and_the_binding_of_both() -> None:
    objects = manifests.access()
    accounts = {obj["metadata"]["name"] for obj in by_kind(objects, "ServiceAccount")}
    bound = {obj["metadata"]["name"]: obj for obj in by_kind(objects, "ClusterRoleBinding")}
    roles = {obj["metadata"]["name"] for obj in by_kind(objects, "ClusterRole")}
    assert accounts == set(COMPONENTS)
    for name in COMPONENTS:
        subject = {"kind": "ServiceAccount", "name": name, "namespace": "kubevirt"}
        assert (bound[name]["subjects"], bound[name]["roleRef"]["name"]) == ([subject], name)
    assert {obj["roleRef"]["name"] for obj in bound.values()} <= roles


def test_webhooks_see_what_admission_judges_and_nothing_of_cdis() -> None:
    seen = {
        (group, resource)
        for rule in manifests.validated()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    judged = {admission.MACHINES, admission.INSTANCES, *admission.OTHERS}
    assert {resource for resource in judged if resource[0] != "cdi.kubevirt.io"} | {
        ("kubevirt.io", "virtualmachines/status")
    } == seen
    assert judged <= {(kind.group, kind.plural) for kind in KINDS}
    changed = {resource for rule in manifests.mutated() for resource in rule["resources"]}
    labelled = {plural for (_, plural), rules in admission.OTHERS.items() if rules.labels is not None}
    assert {"virtualmachines", "virtualmachineinstances"} | labelled <= changed


def test_every_path_that_is_told_is_served() -> None:
    objects = manifests.wiring("virt-api.example.org", 8443, "")
    served = {route.path for route in app._routes()}
    for obj in objects:
        for hook in obj.get("webhooks", ()):
            assert hook["clientConfig"]["service"]["path"] in served
    assert [obj["spec"]["version"] for obj in by_kind(objects, "APIService")] == list(VERSIONS)


@pytest.mark.parametrize(
    ("address", "kinds", "port"),
    [
        ("10.0.0.5:8443", ["Service", "EndpointSlice"], 443),
        ("[fd00::5]:8443", ["Service", "EndpointSlice"], 443),
        ("virt-api.example.org:8443", ["Service"], 8443),
    ],
)
def test_what_leads_to_an_address(
    address: str, kinds: list[str], port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca.crt").write_text(CERTIFICATE)
    assert main(["manifests", "--address", address, "--ca-file", str(tmp_path / "ca.crt")]) == 0
    printed = capsys.readouterr().out
    assert "&id" not in printed  # anchors are for machines
    objects = list(yaml.safe_load_all(printed))
    assert [obj["kind"] for obj in objects if obj["kind"] in ("Service", "EndpointSlice")] == kinds
    for obj in by_kind(objects, "APIService"):
        assert obj["spec"]["service"]["port"] == port
        assert base64.b64decode(obj["spec"]["caBundle"]).decode() == CERTIFICATE
    for slice_ in by_kind(objects, "EndpointSlice"):
        assert slice_["endpoints"][0]["addresses"] == [address.rpartition(":")[0].strip("[]")]
        assert slice_["addressType"] == ("IPv6" if "[" in address else "IPv4")
        assert slice_["ports"][0]["port"] == 8443


@pytest.mark.parametrize(
    ("address", "content", "told"),
    [
        ("10.0.0.5", CERTIFICATE, "'10.0.0.5' is not HOST:PORT"),
        ("10.0.0.5:99999", CERTIFICATE, "is not HOST:PORT"),
        ("10.0.0.5:1", "key", "holds no certificate in PEM"),
        ("10.0.0.5:1", None, "No such file or directory"),
    ],
)
def test_what_is_wrong_is_told(
    address: str, content: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)
    assert main(["manifests", "--address", address, "--ca-file", str(tmp_path / "ca.crt")]) == 1
    assert told in capsys.readouterr().err
