"""Rules about what a guest shares with a pod: probes, DNS, credentials (rules 92 to 94)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from virt_types.errors import Cause
from virt_types.v1 import Probe, SSHPublicKeyAccessCredential, UserPasswordAccessCredential
from virt_types.validation.scope import Rule, Scope, dns_subdomain_faults, invalid, one_of, required, shown

DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
SCHEMES = ("HTTP", "HTTPS")
PROBES = ("exec", "guest_agent_ping", "http_get", "tcp_socket")


def probes(scope: Scope) -> Iterator[Cause]:
    for name, probe in (("readinessProbe", scope.spec.readiness_probe), ("livenessProbe", scope.spec.liveness_probe)):
        if probe is not None:
            yield from _probe(scope, scope.at(name), probe)


def _probe(scope: Scope, field: str, probe: Probe) -> Iterator[Cause]:
    given = [name for name in PROBES if getattr(probe, name) is not None]
    if len(given) > 1:
        yield invalid(field, f"{field} must have exactly one probe type set")
    if not given:
        either = f"either {field}.tcpSocket, {field}.exec or {field}.httpGet"
        yield required(field, f"{either} must be set if a {field} is specified")
    on_pod_network = any(network.pod is not None for network in scope.spec.networks)
    # A template without networks gets the pod network when its instance is made.
    implied = scope.template and not scope.spec.networks
    for name, handler in (("tcpSocket", probe.tcp_socket), ("httpGet", probe.http_get)):
        if handler is None:
            continue
        if not on_pod_network and not implied:
            message = f"{field}.{name} is only allowed if the Pod Network is attached"
            yield invalid(f"{field}.{name}", message)
        scheme = getattr(handler, "scheme", None)
        if scheme not in (None, "", *SCHEMES):
            yield one_of(f"{field}.{name}.scheme", SCHEMES)
        if isinstance(handler.port, int) and not 0 < handler.port < 65536:
            yield invalid(f"{field}.{name}.port", f"{field}.{name}.port must be in range 0 < x < 65536.")
    for word, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):
        if value is not None and value < 0:
            yield invalid(f"{field}.{word}", f"{field}.{word} '{value}': must be greater than or equal to 0.")


def dns(scope: Scope) -> Iterator[Cause]:
    policy, config = scope.spec.dns_policy, scope.spec.dns_config
    field = scope.at("dnsPolicy")
    if policy and policy not in DNS_POLICIES:
        yield one_of(field, DNS_POLICIES)
    if policy == "None" and config is None:
        yield required(scope.at("dnsConfig"), f"must provide `dnsConfig` when `dnsPolicy` is {policy}")
    if config is None:
        return
    field = scope.at("dnsConfig")
    servers, searches = config.nameservers, config.searches
    if policy == "None" and not servers:
        message = f"must provide at least one DNS nameserver when `dnsPolicy` is {policy}"
        yield required(f"{field}.nameservers", message)
    if len(servers) > 3:
        listed = " ".join(map(shown, servers[:10]))
        yield invalid(f"{field}.nameservers", f"must not have more than 3 nameservers: [{listed}]")
    for index, server in enumerate(servers):
        if not _is_address(server):
            yield invalid(f"{field}.nameservers[{index}]", f"must be valid IP address: {shown(server)}")
    if len(searches) > 6:
        yield invalid(f"{field}.searches", "must not have more than 6 search paths")
    if len(" ".join(searches)) > 256:
        message = "must not have more than 256 characters (including spaces) in the search list"
        yield invalid(f"{field}.searches", message)
    for index, search in enumerate(searches):
        faults = dns_subdomain_faults(search.removesuffix("."))
        yield from (invalid(f"{field}.searches[{index}]", fault) for fault in faults)
    for index, option in enumerate(config.options):
        if not option.name:
            yield required(f"{field}.options[{index}].name", "Option.Name must not be empty")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def credentials(scope: Scope) -> Iterator[Cause]:
    for index, credential in enumerate(scope.spec.access_credentials):
        field = scope.at(f"accessCredentials[{index}]")
        if (credential.ssh_public_key is None) == (credential.user_password is None):
            yield invalid(field, f"{field} must have exactly one access credential type set")
        if credential.ssh_public_key is not None:
            yield from _public_key(scope, field, credential.ssh_public_key)
        if credential.user_password is not None:
            yield from _password(field, credential.user_password)


def _public_key(scope: Scope, field: str, key: SSHPublicKeyAccessCredential) -> Iterator[Cause]:
    if key.source.secret is None:
        yield invalid(f"{field}.sshPublicKey.source", f"{field} must have exactly one source set")
    at, method = f"{field}.sshPublicKey.propagationMethod", key.propagation_method
    given = [way for way in (method.config_drive, method.no_cloud, method.qemu_guest_agent) if way is not None]
    if len(given) != 1:
        yield invalid(at, f"{field} must have exactly one propagationMethod set")
    volumes = scope.spec.volumes
    for word, wanted, present in (
        ("noCloud", method.no_cloud, any(volume.cloud_init_no_cloud for volume in volumes)),
        ("configDrive", method.config_drive, any(volume.cloud_init_config_drive for volume in volumes)),
    ):
        if wanted is not None and not present:
            need = f"requires a {word} volume to exist when the {word} propagationMethod is in use."
            yield invalid(at, f"{field} {need}")
    if method.qemu_guest_agent is not None and not method.qemu_guest_agent.users:
        need = "requires at least one user to be present in the users list"
        yield invalid(f"{at}.qemuGuestAgent.users", f"{field} {need}")


def _password(field: str, password: UserPasswordAccessCredential) -> Iterator[Cause]:
    if password.source.secret is None:
        yield invalid(f"{field}.userPassword.source", f"{field} must have exactly one source set")
    if password.propagation_method.qemu_guest_agent is None:
        at = f"{field}.userPassword.propagationMethod"
        yield invalid(at, f"{field} must have exactly one propagationMethod set")


RULES: tuple[Rule, ...] = (probes, dns, credentials)
