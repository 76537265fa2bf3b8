"""A manifest that is applied twice changes nothing, though the first time filled something in."""

from __future__ import annotations

from itertools import count

import pytest

from virt_types.codec import from_builtins, to_builtins
from virt_types.defaults import carry_identity, default_vm
from virt_types.v1 import VirtualMachine


def stored() -> VirtualMachine:
    body = {"metadata": {"name": "a"}, "spec": {"template": {"spec": {"domain": {}}}}}
    machine, ids = from_builtins(body, VirtualMachine), count(1)
    default_vm(machine, new_uuid=lambda: f"id-{next(ids)}", new_mac=lambda: "52:54:00:00:00:01")
    return machine


@pytest.mark.parametrize("said", ["interfaces", "networks"])
def test_a_manifest_without_network_can_be_applied_again(said: str) -> None:
    """It says `interfaces: []`, or `networks: []`; merged into what was stored, half of the default network is left."""
    old, new = stored().spec.template.spec, stored().spec.template.spec
    if said == "interfaces":
        new.domain.devices.interfaces = []
    else:
        new.networks = []
    carry_identity(old, new)
    assert to_builtins(new) == to_builtins(old)


def test_a_network_that_was_made_otherwise_is_not_touched() -> None:
    old, new = stored().spec.template.spec, stored().spec.template.spec
    new.networks = []
    new.domain.devices.interfaces[0].mac_address = "52:54:00:00:00:02"
    carry_identity(old, new)
    assert new.networks == [], "validation says what is missing"


def test_refusing_the_network_takes_it_away() -> None:
    old, new = stored().spec.template.spec, stored().spec.template.spec
    new.domain.devices.interfaces = []
    new.domain.devices.autoattach_pod_interface = False
    carry_identity(old, new)
    assert (new.networks, new.domain.devices.interfaces) == ([], [])
