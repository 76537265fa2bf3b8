"""`virtctl expose`: a Service whose selector is the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from virt_types.names import instance_id
from virtctl import output
from virtctl.errors import ApiRefusal, CommandError, UsageError
from virtctl.http import JSON, path

if TYPE_CHECKING:
    from virtctl.http import Json

from virtctl.options import client_of

EXAMPLES = """
# ssh to the guest of myvm through a service
virtctl expose vm myvm --name myvm-ssh --port 22

# On a port of the node
virtctl expose vm myvm --name myvm-web --port 80 --target-port 8080 --type NodePort --node-port 30080

# See the service without creating it
virtctl expose vm myvm --name myvm-ssh --port 22 --dry-run -o yaml
"""
ID_LABEL = "vmi.kubevirt.io/id"


class Exposable(NamedTuple):
    """A kind a service can lead to; `words` are its names on the command line."""

    kind: str
    plural: str
    words: frozenset[str]


_KINDS = tuple(
    Exposable(kind, f"{kind.lower()}s", frozenset({kind.lower(), f"{kind.lower()}s", short, f"{short}s"}))
    for kind, short in (
        ("VirtualMachine", "vm"),
        ("VirtualMachineInstance", "vmi"),
        ("VirtualMachineInstanceReplicaSet", "vmirs"),
    )
)
_PROTOCOLS = {"tcp": "TCP", "udp": "UDP"}
_TYPES = {"clusterip": "ClusterIP", "nodeport": "NodePort", "loadbalancer": "LoadBalancer"}
_FAMILIES = {text.lower(): text.split(",") for text in ("IPv4", "IPv6", "IPv4,IPv6", "IPv6,IPv4")}
_POLICIES = {text.lower(): text for text in ("SingleStack", "PreferDualStack", "RequireDualStack")}


class Wish(NamedTuple):
    """The flags, as given."""

    name: str
    port: int
    target_port: str
    node_port: int
    port_name: str
    protocol: str
    service_type: str
    cluster_ip: str
    external_ip: str
    ip_family: str
    ip_family_policy: str


def command(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", show_default=False, help="vm, vmi or vmirs.")],
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="What to expose.")],
    *,
    service: Annotated[str, typer.Option("--name", help="Name of the service; that of the object if not given.")] = "",
    port: Annotated[int, typer.Option("--port", show_default=False, help="Port of the service.")] = 0,
    target_port: Annotated[str, typer.Option("--target-port", help="Port of the guest, number or name.")] = "",
    node_port: Annotated[int, typer.Option("--node-port", show_default=False, help="Port on the node.")] = 0,
    port_name: Annotated[str, typer.Option("--port-name", help="Name of the port.")] = "",
    protocol: Annotated[str, typer.Option("--protocol", help="TCP or UDP.")] = "TCP",
    service_type: Annotated[str, typer.Option("--type", help="ClusterIP, NodePort or LoadBalancer.")] = "ClusterIP",
    cluster_ip: Annotated[str, typer.Option("--cluster-ip", help="A fixed cluster address; None is headless.")] = "",
    external_ip: Annotated[str, typer.Option("--external-ip", help="An address the cluster also answers on.")] = "",
    ip_family: Annotated[str, typer.Option("--ip-family", help="IPv4, IPv6, or both with a comma.")] = "",
    ip_family_policy: Annotated[
        str, typer.Option("--ip-family-policy", help="SingleStack, PreferDualStack or RequireDualStack.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Create nothing.")] = False,
    output_format: Annotated[str, typer.Option("--output", "-o", metavar="json|yaml", help="Print the service.")] = "",
) -> None:
    """Expose a virtual machine as a Kubernetes service."""
    typed = kind.lower()
    target = next((k for k in _KINDS if typed in k.words), None)
    if target is None:
        raise UsageError(f"unsupported resource type: {kind}", hint="One of vm, vmi, vmirs.")
    wish = Wish(
        service or name, port, target_port, node_port, port_name, protocol, service_type, cluster_ip, external_ip,
        ip_family, ip_family_policy,
    )  # fmt: skip
    wanted = _wanted(wish)
    output.check_format(output_format, ("json", "yaml"))
    client = client_of(ctx)
    try:
        exposed = client.json("GET", client.objects(target.plural, name))
    except ApiRefusal as error:
        raise error.prefixed(f"error fetching {target.kind}: ") from error
    body = _service(wish, wanted, target, name, exposed)
    query = {"dryRun": "All"} if dry_run else None
    try:
        created = client.json(
            "POST", path("api/v1", client.namespace, "services", query=query), body, content_type=JSON
        )
    except ApiRefusal as error:
        raise error.prefixed("service creation failed: ") from error
    if output_format:
        output.document(created, output_format)
    else:
        suffix = " (dry run)" if dry_run else ""
        print(f"Service {wish.name} successfully created for {typed} {name}{suffix}")


def _wanted(wish: Wish) -> Json:
    """The parts of the spec that flags alone decide. Raises UsageError."""
    if wish.service_type.lower() == "externalname":
        raise UsageError("type: ExternalName not supported")
    families = _choice(_FAMILIES, wish.ip_family, "IPFamily/s") if wish.ip_family else None
    policy = _choice(_POLICIES, wish.ip_family_policy, "IPFamilyPolicy/s") if wish.ip_family_policy else None
    if policy is None and families and len(families) == 2:
        policy = "PreferDualStack"
    for flag, number in (("port", wish.port), ("node-port", wish.node_port)):
        if not 0 <= number <= 65535:
            raise UsageError(f'invalid argument "{number}" for "--{flag}" flag: must be between 1 and 65535')
    service_type = _choice(_TYPES, wish.service_type, "service type")
    if wish.node_port and service_type == "ClusterIP":
        raise UsageError("--node-port needs --type NodePort or LoadBalancer")
    spec: Json = {
        "type": service_type,
        "clusterIP": wish.cluster_ip,
        "externalIPs": [wish.external_ip] if wish.external_ip else None,
        "ipFamilies": families,
        "ipFamilyPolicy": policy,
        "protocol": _choice(_PROTOCOLS, wish.protocol, "protocol"),
    }
    return {name: value for name, value in spec.items() if value}


def _choice(known: dict[str, Any], value: str, title: str) -> Any:
    if value.lower() not in known:
        raise UsageError(f"unknown {title}: {value}", hint=f"One of {', '.join(known)}.")
    return known[value.lower()]


def _service(wish: Wish, wanted: Json, target: Exposable, name: str, exposed: Json) -> Json:
    spec = {name: value for name, value in wanted.items() if name != "protocol"}
    spec["ports"] = _ports(wish, wanted["protocol"], exposed)
    spec["selector"] = _selector(target, name, exposed)
    owner = {
        "apiVersion": "kubevirt.io/v1",
        "kind": target.kind,
        "name": name,
        "uid": (exposed.get("metadata") or {}).get("uid", ""),
        "controller": True,
        "blockOwnerDeletion": False,
    }
    metadata = {"name": wish.name, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _ports(wish: Wish, protocol: str, exposed: Json) -> list[Json]:
    if not wish.port:
        ports = _declared_ports(exposed)
        if not ports:
            raise CommandError(
                "couldn't find port via --port flag or introspection",
                hint="Name one with --port, or list ports at the interface in the machine's manifest.",
            )
        return ports
    port: Json = {"port": wish.port, "protocol": protocol}
    if wish.port_name:
        port["name"] = wish.port_name
    if wish.target_port:
        numeric = wish.target_port.isascii() and wish.target_port.isdecimal()
        port["targetPort"] = int(wish.target_port) if numeric else wish.target_port
    if wish.node_port:
        port["nodePort"] = wish.node_port
    return [port]


def _declared_ports(exposed: Json) -> list[Json]:
    """The ports of the interface on the first pod network, numbered port-1, port-2, …"""
    spec = exposed.get("spec") or {}
    spec = (spec.get("template") or {}).get("spec") or spec
    network = next((n.get("name") for n in spec.get("networks") or [] if "pod" in n), None)
    interfaces = ((spec.get("domain") or {}).get("devices") or {}).get("interfaces") or []
    interface: Json = next((i for i in interfaces if i.get("name") == network), {}) if network else {}
    return [
        {"name": f"port-{position}", "port": port["port"], **({"protocol": p} if (p := port.get("protocol")) else {})}
        for position, port in enumerate(interface.get("ports") or [], 1)
    ]


def _selector(target: Exposable, name: str, exposed: Json) -> Json:
    if target.kind != "VirtualMachineInstanceReplicaSet":
        return {ID_LABEL: instance_id(name)}
    selector = (exposed.get("spec") or {}).get("selector") or {}
    if selector.get("matchExpressions"):
        raise CommandError("cannot expose VirtualMachineInstanceReplicaSet with match expressions")
    if not selector.get("matchLabels"):
        raise CommandError("cannot expose VirtualMachineInstanceReplicaSet without any selector labels")
    labels: Json = selector["matchLabels"]
    return labels
