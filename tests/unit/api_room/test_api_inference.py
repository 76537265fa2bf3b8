"""Where a VM's instancetype is read from: the claim, DataVolume or DataSource behind a volume, each way of them."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from virt_api.inference import infer
from virt_kube.api import BadRequest, KubeClient, NotFound, Resource
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachine

Json = dict[str, Any]
MARKED = {
    "instancetype.kubevirt.io/default-instancetype": "small",
    "instancetype.kubevirt.io/default-instancetype-kind": "VirtualMachineInstancetype",
}
FOUND = {"name": "small", "kind": "VirtualMachineInstancetype"}


class Kube:
    """Reads from a table of (plural, namespace, name)."""

    def __init__(self, objects: dict[tuple[str, str, str], Json]) -> None:
        self._objects = objects

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        found = self._objects.get((resource.plural, namespace, name))
        if found is None:
            raise NotFound(f'{resource.plural} "{name}" not found')
        return json.dumps(found).encode()


def claim(name: str = "c", namespace: str = "ns", *, marked: bool = True) -> dict[tuple[str, str, str], Json]:
    return {("persistentvolumeclaims", namespace, name): {"metadata": {"labels": MARKED if marked else {}}}}


def volume(spec: Json, *, marked: bool = False) -> dict[tuple[str, str, str], Json]:
    return {("datavolumes", "ns", "d"): {"metadata": {"name": "d", "labels": MARKED if marked else {}}, "spec": spec}}


def source(spec: Json, namespace: str = "ns", *, marked: bool = False) -> dict[tuple[str, str, str], Json]:
    labels = MARKED if marked else {}
    return {("datasources", namespace, "s"): {"metadata": {"labels": labels}, "spec": {"source": spec}}}


def machine(volume: Json, policy: str = "", templates: list[Json] | None = None) -> VirtualMachine:
    matcher = {"inferFromVolume": "root"} | ({"inferFromVolumeFailurePolicy": policy} if policy else {})
    template = {"spec": {"domain": {"devices": {}}, "volumes": [{"name": "root", **volume}]}}
    spec = {"instancetype": matcher, "template": template, "dataVolumeTemplates": templates or []}
    return from_builtins({"metadata": {"name": "vm", "namespace": "ns"}, "spec": spec}, VirtualMachine)


def template(spec: Json, *, marked: bool = False) -> list[Json]:
    return [{"metadata": {"name": "d", "labels": MARKED if marked else {}}, "spec": spec}]


CLAIM = {"persistentVolumeClaim": {"claimName": "c"}}
DATA_VOLUME = {"dataVolume": {"name": "d"}}
CLONE = {"source": {"pvc": {"name": "c", "namespace": "gold"}}}
REFERENCE = {"sourceRef": {"kind": "DataSource", "name": "s"}}
ELSEWHERE = {"sourceRef": {"kind": "DataSource", "name": "s", "namespace": "gold"}}


@pytest.mark.parametrize(
    ("vm", "objects"),
    [
        (machine(CLAIM), claim()),
        (machine(DATA_VOLUME), volume({}, marked=True)),
        (machine(DATA_VOLUME), volume(CLONE) | claim("c", "gold")),
        (machine(DATA_VOLUME), volume(REFERENCE) | source({}, marked=True)),
        (
            machine(DATA_VOLUME),
            volume(REFERENCE) | source({"pvc": {"name": "c", "namespace": "gold"}}) | claim("c", "gold"),
        ),
        (machine(DATA_VOLUME), volume(ELSEWHERE) | source({}, "gold", marked=True)),
        (machine(DATA_VOLUME), claim("d")),  # the DataVolume was collected after its import
        (machine(DATA_VOLUME, templates=template({}, marked=True)), {}),
        (machine(DATA_VOLUME, templates=template(CLONE)), claim("c", "gold")),
        (machine(DATA_VOLUME, templates=template(REFERENCE)), source({}, marked=True)),
    ],
)
async def test_each_way_to_the_labels(vm: VirtualMachine, objects: dict[tuple[str, str, str], Json]) -> None:
    await infer(cast(KubeClient, Kube(objects)), vm)
    assert vm.spec.instancetype is not None
    assert {"name": vm.spec.instancetype.name, "kind": vm.spec.instancetype.kind} == FOUND
    assert vm.spec.instancetype.infer_from_volume is None


@pytest.mark.parametrize(
    ("volume_", "objects", "message", "ignorable"),
    [
        (
            CLAIM,
            claim(marked=False),
            "unable to find required instancetype.kubevirt.io/default-instancetype label on",
            True,
        ),
        (CLAIM, {}, 'persistentvolumeclaims "c" not found', False),
        (
            {"containerDisk": {"image": "x"}},
            {},
            "unable to infer defaults from volume root as type is not supported",
            True,
        ),
        (DATA_VOLUME, volume({"source": {"blank": {}}}), "unable to infer defaults from DataVolumeSpec as", True),
        (DATA_VOLUME, volume({"sourceRef": {"kind": "X", "name": "s"}}), "DataVolumeSourceRef as Kind X is not", True),
        (
            DATA_VOLUME,
            volume(REFERENCE) | source({"snapshot": {"name": "a"}}),
            "doesn't provide DataVolumeSourcePVC",
            True,
        ),
        (DATA_VOLUME, volume(REFERENCE), 'datasources "s" not found', False),
    ],
)
async def test_what_leads_nowhere(
    volume_: Json, objects: dict[tuple[str, str, str], Json], message: str, ignorable: bool
) -> None:
    kube = cast(KubeClient, Kube(objects))
    with pytest.raises(BadRequest) as caught:
        await infer(kube, machine(volume_))
    assert message in caught.value.message
    guess = machine(volume_, "Ignore")
    if ignorable:
        await infer(kube, guess)
        assert guess.spec.instancetype is None
    else:
        with pytest.raises(BadRequest):
            await infer(kube, guess)


async def test_no_such_volume() -> None:
    vm = machine({})
    assert vm.spec.instancetype is not None
    vm.spec.instancetype.infer_from_volume = "other"
    with pytest.raises(BadRequest, match="unable to find volume other to infer defaults"):
        await infer(cast(KubeClient, Kube({})), vm)
