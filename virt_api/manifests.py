"""What a cluster has to be told of KubeVirt's components: accounts, roles, and how its API server reaches virt-api.

`python -m virt_api.manifests` writes manifests/rbac.yaml, the part that is the same everywhere; `virt-api manifests`
prints the rest, which has an address and a CA in it. Both come from the tables the code itself goes by: the roles of
`virt_kube.roles`, the resources admission has rules for, the versions that are served.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path

from virt_api import admission, front_proxy
from virt_api.serving import NAMESPACE, SERVICE
from virt_api.subresources import GROUP, VERSIONS
from virt_kube.api import Json
from virt_kube.roles import COMPONENTS, USERS, Rule, as_json
from virt_types import labels
from virt_types.errors import VirtError
from virt_types.kinds import KINDS

RBAC = "rbac.authorization.k8s.io"
AUTHENTICATED = "system:authenticated"
PORT = 443  # of the Service; an ExternalName has none of its own
TIMEOUT = 10  # seconds an API server waits for a webhook
# Which of KubeVirt's roles come with which of a cluster's own.
AGGREGATED = {"view": ("view",), "edit": ("view", "edit"), "admin": ("view", "edit")}
# What everybody may ask without a role.
DEFAULT = Rule(("get", "list"), (GROUP,), ("version", "guestfs"))  # without a name, a GET is a list
DEFAULT_ROLE = "kubevirt.io:default"
READS_FRONT_PROXY = "extension-apiserver-authentication-reader"  # a Role that every API server brings
CDI = "cdi.kubevirt.io"  # has webhooks of its own where it is installed


def access() -> list[Json]:
    """Namespace, service accounts, roles and their bindings."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": _meta(NAMESPACE)},
        *({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(name, NAMESPACE)} for name in COMPONENTS),
        *(_role(name, rules) for name, rules in COMPONENTS.items()),
        *(_binding(_cluster_wide(name), ("ClusterRole", name), _account(name)) for name in COMPONENTS),
        _binding(
            {"kind": "RoleBinding", "metadata": _meta(SERVICE, front_proxy.NAMESPACE)},
            ("Role", READS_FRONT_PROXY),
            _account(SERVICE),
        ),
        *(_user_role(name, parts) for name, parts in AGGREGATED.items()),
        _role(DEFAULT_ROLE, (DEFAULT,)),
        _binding(
            _cluster_wide(DEFAULT_ROLE),
            ("ClusterRole", DEFAULT_ROLE),
            {"kind": "Group", "name": AUTHENTICATED, "apiGroup": RBAC},
        ),
    ]


def _meta(name: str, namespace: str = "") -> Json:
    return {"name": name, **({"namespace": namespace} if namespace else {}), "labels": {"kubevirt.io": ""}}


def _role(name: str, rules: Iterable[Rule]) -> Json:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": _meta(name),
        "rules": [as_json(rule) for rule in rules],
    }


def _user_role(name: str, parts: Iterable[str]) -> Json:
    """A role that the cluster's own of that name takes in."""
    role = _role(f"kubevirt.io:{name}", (rule for part in parts for rule in USERS[part]))
    role["metadata"]["labels"][f"{RBAC}/aggregate-to-{name}"] = "true"
    return role


def _account(name: str) -> Json:
    return {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}


def _cluster_wide(name: str) -> Json:
    return {"kind": "ClusterRoleBinding", "metadata": _meta(name)}


def _binding(head: Json, role: tuple[str, str], subject: Json) -> Json:
    """`role` is its kind and name."""
    kind, name = role
    ref = {"apiGroup": RBAC, "kind": kind, "name": name}
    return {"apiVersion": f"{RBAC}/v1", **head, "roleRef": ref, "subjects": [subject]}


def registration(address: tuple[str, int], ca_file: Path) -> str:
    """The YAML that leads an API server to the virt-api at `address`. Raises VirtError."""
    try:
        authority = ca_file.read_bytes()
    except OSError as error:
        raise VirtError(f"--ca-file {ca_file}: {error.strerror}") from error
    if b"-----BEGIN CERTIFICATE-----" not in authority:
        raise VirtError(f"--ca-file {ca_file} holds no certificate in PEM")
    return as_yaml(wiring(*address, base64.b64encode(authority).decode()))


def wiring(host: str, port: int, ca_bundle: str) -> list[Json]:
    """The Service, the APIServices and the webhooks. `host` is an address, or a name that the API server resolves."""
    objects, reached = _service(host, port)
    return [
        *objects,
        *(_api_service(version, reached, ca_bundle) for version in VERSIONS),
        _webhooks("Mutating", "/mutate", reached, ca_bundle, mutated()),
        _webhooks("Validating", "/validate", reached, ca_bundle, validated()),
    ]


def _service(host: str, port: int) -> tuple[list[Json], int]:
    """What stands for the virt-api at an address, and the port it is called at there."""
    meta = _meta(SERVICE, NAMESPACE)
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        spec: Json = {"type": "ExternalName", "externalName": host}
        return [{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}], port
    named: Json = {"name": "https", "port": PORT, "targetPort": port, "protocol": "TCP"}
    slice_ = _meta(SERVICE, NAMESPACE)
    slice_["labels"]["kubernetes.io/service-name"] = SERVICE
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"type": "ClusterIP", "ports": [named]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": slice_,
            "addressType": f"IPv{version}",
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        },
    ], PORT


def _api_service(version: str, port: int, ca_bundle: str) -> Json:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": _meta(f"{version}.{GROUP}"),
        "spec": {
            "group": GROUP,
            "version": version,
            "groupPriorityMinimum": 1000,
            "versionPriority": 15 - VERSIONS.index(version),
            "caBundle": ca_bundle,
            "service": {"namespace": NAMESPACE, "name": SERVICE, "port": port},
        },
    }


def mutated() -> list[Json]:
    """What admission may change: KubeVirt's own group, whose old versions it writes anew too."""
    return list(_rules(resource for resource in _judged() if resource[0] == labels.GROUP))


def validated() -> list[Json]:
    return [
        *_rules(_judged()),
        _rule(labels.GROUP, ["/".join(admission.MACHINE_STATUS[1:])], ["UPDATE"]),
    ]


def _judged() -> list[tuple[str, str]]:
    """Group and plural of what admission has rules for, CDI's kinds excepted."""
    known = [(kind.group, kind.plural) for kind in KINDS]
    judged = {admission.MACHINES, admission.INSTANCES, *admission.OTHERS}
    return [resource for resource in known if resource in judged and resource[0] != CDI]


def _rules(resources: Iterable[tuple[str, str]]) -> Iterator[Json]:
    groups: dict[str, list[str]] = {}
    for group, plural in resources:
        groups.setdefault(group, []).append(plural)
    yield from (_rule(group, plurals, ["CREATE", "UPDATE"]) for group, plurals in groups.items())


def _rule(group: str, resources: list[str], operations: list[str]) -> Json:
    return {"apiGroups": [group], "apiVersions": ["*"], "resources": resources, "operations": operations, "scope": "*"}


def _webhooks(kind: str, path: str, port: int, ca_bundle: str, rules: list[Json]) -> Json:
    service = {"namespace": NAMESPACE, "name": SERVICE, "path": path, "port": port}
    hook: Json = {
        "name": f"{path[1:]}.admission.kubevirt.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": TIMEOUT,
        "clientConfig": {"service": service, "caBundle": ca_bundle},
        "rules": rules,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": _meta(SERVICE),
        "webhooks": [hook],
    }


def as_yaml(objects: Iterable[Json]) -> str:
    import yaml

    return "".join("---\n" + yaml.safe_dump(obj, sort_keys=False, width=120) for obj in objects)


def rbac_file() -> str:
    head = "# Written by `python -m virt_api.manifests` from virt_kube/roles.py; do not edit.\n"
    return head + as_yaml(access())


if __name__ == "__main__":
    path = Path(__file__).resolve().parent.parent / "manifests" / "rbac.yaml"
    path.write_text(rbac_file())
    print(path)
