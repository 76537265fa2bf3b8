"""Rules about devices that are handed over by resource claims: GPUs, host devices, networks.

`device_names` also asks that a device says where it comes from at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from virt_types.errors import Cause
from virt_types.v1 import GPU, HostDevice
from virt_types.validation.scope import (
    Rule,
    Scope,
    dns_label_faults,
    dns_subdomain_faults,
    duplicate,
    invalid,
    required,
    shown,
)


class Family(NamedTuple):
    """A list of devices: how it is called in the manifest and in messages."""

    field: str
    word: str
    may_mix: bool  # devices of both origins


GPUS = Family("gpus", "GPU", may_mix=False)
HOST_DEVICES = Family("hostDevices", "HostDevice", may_mix=True)


def resource_claims(scope: Scope) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, claim in enumerate(scope.spec.resource_claims):
        field, name = scope.at(f"resourceClaims[{index}]"), claim.name
        if not name:
            yield required(f"{field}.name", f"{field}.name is a required field")
        elif name in seen:
            yield duplicate(f"{field}.name", f'duplicate resourceClaims name "{shown(name)}"')
        elif faults := ", ".join(dns_label_faults(name)):
            yield invalid(f"{field}.name", f"{field}.name does not conform to the kubernetes DNS_LABEL rules: {faults}")
        seen.add(name)
        given = (("resourceClaimName", claim.resource_claim_name),
                 ("resourceClaimTemplateName", claim.resource_claim_template_name))  # fmt: skip
        count = sum(value is not None for _, value in given)
        if count > 1:
            yield invalid(field, "at most one of resourceClaimName or resourceClaimTemplateName may be specified")
        if count < 1:
            yield invalid(field, "must specify one of: resourceClaimName, resourceClaimTemplateName")
        for key, value in given:
            faults_of = () if value is None else dns_subdomain_faults(value)
            yield from (invalid(f"{field}.{key}", fault) for fault in faults_of)


def device_names(scope: Scope) -> Iterator[Cause]:
    devices = scope.spec.domain.devices
    if not devices.gpus and not devices.host_devices:
        return
    yield from _family(scope, GPUS, devices.gpus)
    yield from _family(scope, HOST_DEVICES, devices.host_devices)
    claims = {claim.name for claim in scope.spec.resource_claims}
    every: list[GPU | HostDevice] = [*devices.gpus, *devices.host_devices]
    if not {device.claim_name for device in every if _complete(device)} <= claims:
        lists = "vmi.spec.domain.devices.gpus and vmi.spec.domain.devices.hostDevices"
        message = f"vmi.spec.resourceClaims must specify all claims used in {lists}"
        yield invalid(scope.at("resourceClaims"), message)


def _claimed(device: GPU | HostDevice) -> bool:
    return bool(device.claim_name or device.request_name)


def _complete(device: GPU | HostDevice) -> bool:
    return bool(not device.device_name and device.claim_name and device.request_name)


def _family(scope: Scope, family: Family, devices: Sequence[GPU | HostDevice]) -> Iterator[Cause]:
    field, word = scope.at(f"domain.devices.{family.field}"), family.word
    path = f"vmi.spec.domain.devices.{family.field}"
    by_claim = [not device.device_name and _claimed(device) for device in devices]
    if not family.may_mix and any(by_claim) and not all(by_claim):
        yield invalid(field, f"{path} contains both DRA and non-DRA {word}s; each {word} must be either DRA or non-DRA")
        return
    seen: set[tuple[str | None, str | None]] = set()
    for index, device in enumerate(devices):
        if not device.device_name and not _claimed(device):
            need = f"each {word} must specify either a deviceName or a claimRequest"
            yield required(field, f"{path} contains {word}s without deviceName or claimRequest; {need}")
        elif device.device_name and _claimed(device):
            yield invalid(field, f"{path} contains {word}s with both deviceName and claimRequest")
        elif by_claim[index]:
            pair = device.claim_name, device.request_name
            for key, value in zip(("claimName", "requestName"), pair, strict=True):
                if not value:
                    yield required(f"{field}[{index}].{key}", f"{key} is required for DRA {word}")
            if all(pair) and pair in seen:
                text = f'duplicate claimName/requestName pair "{pair[0]}/{pair[1]}"'
                yield duplicate(f"{field}[{index}]", text)
            seen.add(pair)


def networks(scope: Scope) -> Iterator[Cause]:
    """Networks by claim are behind a gate that is closed."""
    if any(network.resource_claim is not None for network in scope.spec.networks):
        message = "vmi.spec.networks contains DRA networks but NetworkDevicesWithDRA feature gate is not enabled"
        yield invalid(scope.at("networks"), message)


RULES: tuple[Rule, ...] = (resource_claims, device_names, networks)
