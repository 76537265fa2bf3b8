"""Presets in an instance: which match, what is merged, who contradicts whom; the recorded ones are in tests/api."""

from __future__ import annotations

from typing import Any

import pytest

from virt_types.codec import from_builtins, to_builtins
from virt_types.presets import MERGED, conflicts, matching, merge, unmerged
from virt_types.v1 import DomainSpec, VirtualMachineInstance, VirtualMachineInstancePreset

Json = dict[str, Any]
EXCLUDE = "virtualmachineinstancepresets.admission.kubevirt.io/exclude"
MARK = "virtualmachinepreset.kubevirt.io/"
VALUES: dict[str, tuple[Json, Json]] = {
    "resources.requests": ({"resources": {"requests": {"cpu": "1"}}}, {"resources": {"requests": {"cpu": "2"}}}),
    "cpu": ({"cpu": {"cores": 4}}, {"cpu": {"cores": 6}}),
    "memory": ({"memory": {"guest": "64Mi"}}, {"memory": {"guest": "1Gi"}}),
    "firmware": ({"firmware": {"serial": "a"}}, {"firmware": {"serial": "b"}}),
    "clock.clockoffset": ({"clock": {"timezone": "Europe/Rome"}}, {"clock": {"utc": {}}}),
    "clock.timer": ({"clock": {"timer": {"hpet": {}}}}, {"clock": {"timer": {"rtc": {}}}}),
    "features": ({"features": {"smm": {}}}, {"features": {"apic": {}}}),
    "devices.watchdog": ({"devices": {"watchdog": {"name": "a"}}}, {"devices": {"watchdog": {"name": "b"}}}),
    "ioThreadsPolicy": ({"ioThreadsPolicy": "auto"}, {"ioThreadsPolicy": "shared"}),
}


def preset(name: str, domain: Json, selector: Json | None = None) -> VirtualMachineInstancePreset:
    spec = {"domain": {"devices": {}, **domain}, "selector": selector or {}}
    return from_builtins({"metadata": {"name": name}, "spec": spec}, VirtualMachineInstancePreset)


def instance(domain: Json | None = None, labels: Json | None = None, **annotations: str) -> VirtualMachineInstance:
    metadata = {"labels": labels or {}, "annotations": {key.replace("__", "/"): v for key, v in annotations.items()}}
    spec = {"domain": {"devices": {}, **(domain or {})}}
    return from_builtins({"metadata": metadata, "spec": spec}, VirtualMachineInstance)


def test_every_part_has_values() -> None:
    assert VALUES.keys() == {row.what for row in MERGED}


@pytest.mark.parametrize("what", VALUES)
def test_what_an_instance_leaves_open_is_filled_whole(what: str) -> None:
    ours, theirs = VALUES[what]
    empty, full = instance(), instance(theirs)
    merge([preset("p", ours)], empty)
    merge([preset("p", ours)], full)
    assert to_builtins(empty.spec.domain) == to_builtins(instance(ours).spec.domain)
    assert empty.metadata.annotations == {f"{MARK}p": "kubevirt.io/v1"}
    assert to_builtins(full.spec.domain) == to_builtins(instance(theirs).spec.domain)
    assert full.metadata.annotations == {}


@pytest.mark.parametrize("what", VALUES)
def test_presets_that_contradict_each_other(what: str) -> None:
    one, other = VALUES[what]
    (cause,) = conflicts([preset("a", one), preset("b", other)])
    head = "VirtualMachinePresets cannot be applied due to conflicts: presets 'a' and 'b' conflict: spec."
    assert cause.message.startswith(f"{head}{what}")
    assert conflicts([preset("a", one), preset("b", one)]) == []


def test_every_pair_and_every_difference_is_told() -> None:
    rome = {"cpu": {"cores": 4}, "ioThreadsPolicy": "auto"}
    oslo = {"cpu": {"cores": 6}, "ioThreadsPolicy": "shared"}
    (cause,) = conflicts([preset("a", rome), preset("b", oslo), preset("c", {"cpu": {"cores": 6}})])
    cpus = 'spec.cpu: {"cores":4} != {"cores":6}'
    assert cause.message == (
        "VirtualMachinePresets cannot be applied due to conflicts: "
        f"[presets 'a' and 'b' conflict: [{cpus}, spec.ioThreadsPolicy: auto != shared], "
        f"presets 'a' and 'c' conflict: {cpus}]"
    )


def test_amounts_are_compared_as_amounts() -> None:
    one, same = ({"resources": {"requests": {"memory": text}}} for text in ("1Gi", "1024Mi"))
    assert conflicts([preset("a", one), preset("b", same)]) == []


def test_memory_said_as_a_request_is_said() -> None:
    vmi = instance({"resources": {"requests": {"memory": "1Gi"}}})
    merge([preset("p", {"memory": {"guest": "64Mi"}})], vmi)
    assert vmi.spec.domain.memory is None


def test_who_is_meant() -> None:
    presets = [
        preset("b", {}, {"matchExpressions": [{"key": "size", "operator": "In", "values": ["small"]}]}),
        preset("a", {}),
        preset("c", {}, {"matchLabels": {"size": "large"}}),
    ]
    assert [found.metadata.name for found in matching(presets, instance(labels={"size": "small"}))] == ["a", "b"]
    assert matching(presets, instance(labels={"size": "small"}, **{EXCLUDE.replace("/", "__"): "true"})) == []


def test_fields_that_no_instance_gets() -> None:
    spec = {
        "machine": {"type": "q35"},
        "devices": {"rng": {}},
        "cpu": {"cores": 1},
        "resources": {"limits": {"cpu": "1"}},
    }
    said = list(unmerged(from_builtins(spec, DomainSpec)))
    fields = ["devices.rng", "machine", "resources.limits"]
    assert [text.split()[0] for text in said] == [f"spec.domain.{field}" for field in fields]
