"""What machines keep between their instances goes late, and only when its owner is gone for sure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from virt_handler import kept
from virt_handler.errors import DomainRejected, HandlerError, StateError
from virt_handler.layout import Layout
from virt_kube.api import ApiError, NotFound, Resource, Unreachable
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstance

UID = "5f5d0d4e-0000-4000-8000-000000000001"
HOLDER = kept.Holder("VirtualMachine", "ns", "vm", UID, "d-1", tpm=True)
HOUR = 3600.0


class Api:
    """Answers with the uid of the one machine there is."""

    def __init__(self, uid: str = "", error: ApiError | None = None) -> None:
        self.uid, self.error = uid, error

    async def get(self, _resource: Resource, _namespace: str, name: str) -> bytes:
        if self.error is not None:
            raise self.error
        if not self.uid:
            raise NotFound(name)
        return json.dumps({"metadata": {"uid": self.uid}}).encode()


class Libvirt:
    def __init__(self, error: HandlerError | None = None) -> None:
        self.forgotten: list[str] = []
        self.error = error

    async def forget_tpm(self, uuid: str) -> None:
        if self.error is not None:
            raise self.error
        self.forgotten.append(uuid)


class World:
    def __init__(self, path: Path) -> None:
        self.layout = Layout(path, path / "run")
        self.file = self.layout.kept / f"{UID}.json"
        self.variables = self.layout.kept / UID / kept.VARIABLES
        self.variables.parent.mkdir(parents=True)
        self.variables.write_bytes(b"keys")
        self.write(HOLDER)
        self.libvirt = Libvirt()

    def write(self, holder: kept.Holder) -> None:
        self.file.write_bytes(msgspec.json.encode(holder))

    async def sweep(self, api: Api, hours: float) -> bool:
        """Whether everything is still there afterwards."""
        await kept.sweep(self.layout, api, self.libvirt, lambda: 1e9 + hours * HOUR)  # type: ignore[arg-type]
        there = {self.file.exists(), self.variables.exists(), not self.libvirt.forgotten}
        assert len(there) == 1, "all of it goes, or nothing"
        return there == {True}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


GONE, LIVING, ANOTHER = Api(), Api(UID), Api("another")


async def test_state_goes_when_its_owner_was_missed_twice_a_day_apart(world: World) -> None:
    for hours in (0, 0.2, 12, 23.9):
        assert await world.sweep(GONE, hours)
    assert not await world.sweep(GONE, 24.1)
    assert world.libvirt.forgotten == ["d-1"]


async def test_an_owner_that_is_seen_again_starts_anew(world: World) -> None:
    """The API was restored, or an empty one was asked by mistake."""
    assert await world.sweep(GONE, 0)
    assert await world.sweep(LIVING, 20)
    assert await world.sweep(ANOTHER, 30)
    assert await world.sweep(GONE, 50)
    assert not await world.sweep(GONE, 55)


@pytest.mark.parametrize(
    ("holder", "api", "libvirt"),
    [
        (msgspec.structs.replace(HOLDER, kind="Pod", missed_at=0.0), GONE, None),
        (msgspec.structs.replace(HOLDER, missed_at=0.0), Api(error=Unreachable("away")), None),
        (msgspec.structs.replace(HOLDER, missed_at=0.0), GONE, DomainRejected("no")),
    ],
)
async def test_what_fails_for_one_stops_neither_the_sweep_nor_the_agent(
    world: World, holder: kept.Holder, api: Api, libvirt: HandlerError | None
) -> None:
    world.write(holder)
    world.libvirt = Libvirt(libvirt)
    assert await world.sweep(api, 100)


async def test_state_that_cant_be_removed_is_left_for_the_next_sweep(world: World, mocker: Any) -> None:
    world.write(msgspec.structs.replace(HOLDER, tpm=False, missed_at=0.0))
    remove = mocker.patch("shutil.rmtree", side_effect=PermissionError(1, "Operation not permitted"))
    assert await world.sweep(GONE, 100)
    assert remove.called


def test_a_start_forgets_that_its_owner_was_missed_and_tells_of_a_full_disk(world: World, mocker: Any) -> None:
    world.write(msgspec.structs.replace(HOLDER, missed_at=0.0))
    firmware = {"uuid": "d-1", "bootloader": {"efi": {"persistent": True}}}
    vmi = from_builtins(
        {
            "metadata": {"name": "vm", "namespace": "ns", "uid": UID},
            "spec": {"domain": {"firmware": firmware, "devices": {}}},
        },
        VirtualMachineInstance,
    )
    assert kept.prepare(world.layout, vmi, None) == world.variables
    assert msgspec.json.decode(world.file.read_bytes(), type=kept.Holder).missed_at is None
    mocker.patch("virt_handler.kept.write_durably", side_effect=OSError(28, "No space left on device"))
    with pytest.raises(StateError, match="No space left"):
        kept.prepare(world.layout, vmi, None)
