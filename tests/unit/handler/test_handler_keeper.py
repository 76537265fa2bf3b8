"""What is done for a running guest beside the reconcile loop: its agent, freezes, plugs and probes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pytest_mock import MockerFixture

from virt_handler import keeper as keeping
from virt_handler.agent import Agent, Memory
from virt_handler.clocks import since_boot
from virt_handler.decide import Seen, decide
from virt_handler.domains import Disk, Domain
from virt_handler.errors import GuestAgentError
from virt_handler.guest_agent import Ran
from virt_handler.guest_facts import GuestFacts
from virt_handler.keeper import Keeper
from virt_handler.plugging import Step
from virt_handler.probes import Count, Rule, counted
from virt_handler.records import End, Freeze, Lease, Record, Records
from virt_kube.api import Invalid, NotFound
from virt_kube.durable import write_durably
from virt_kube.informer import Key
from virt_kube.runner import Retry
from virt_types.codec import from_builtins
from virt_types.v1 import (
    VirtualMachineInstance,
    VirtualMachineInstanceCondition,
    VirtualMachineInstanceGuestOSInfo,
    VirtualMachineInstanceStatus,
)

UID = "aaaaaaaa-0000-0000-0000-000000000000"
RECORD = Record(UID, "ns", "vm", "d", "boot", stage="started", interfaces={"default": Lease("m", "10.0.0.9")})
DOMAIN = Domain("d", "ns_vm", UID, "running", "booted", agent_connected=True)
DATA = {"name": "data", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}}


class Guests:
    """The agents of all guests."""

    def __init__(self) -> None:
        self.frozen = False
        self.asked = 0
        self.calls: list[str] = []
        self.fails = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def facts(self, uuid: str) -> GuestFacts:
        self.asked += 1
        await self.gate.wait()
        if self.fails == "facts":
            raise GuestAgentError("silent")
        return GuestFacts(VirtualMachineInstanceGuestOSInfo(name="Debian"))

    async def freeze(self, uuid: str) -> int:
        self.calls.append("freeze")
        if self.fails == "freeze":
            raise GuestAgentError("no")
        self.frozen = True
        return 1

    async def thaw(self, uuid: str) -> int:
        self.calls.append("thaw")
        if self.fails == "thaw":
            raise GuestAgentError("no")
        self.frozen = False
        return 1

    async def is_frozen(self, uuid: str) -> bool:
        return self.frozen

    async def ping(self, uuid: str, seconds: int) -> None:
        if self.fails == "ping":
            raise GuestAgentError("Guest agent is not responding")

    async def run(self, uuid: str, command: list[str], seconds: float) -> Ran:
        return Ran(0, "")


class Plugger:
    def __init__(self) -> None:
        self.done: list[Step] = []
        self.fails = False

    async def carry_out(self, vmi: VirtualMachineInstance, domain: Domain, step: Step) -> None:
        self.done.append(step)
        if self.fails:
            raise GuestAgentError("no room", hint="make some")


class World:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.guests, self.plugger = Guests(), Plugger()
        self.again: list[Key] = []
        self.events: list[tuple[str, str]] = []
        self.restart()

    def restart(self) -> None:
        """Another process: what is not in a record is forgotten."""
        self.records = Records(self.path)
        self.records.load()
        self.keeper = Keeper(
            self.guests,  # type: ignore[arg-type]  stands in for libvirt
            self.plugger,  # type: ignore[arg-type]  stands in for libvirt
            self.records,
            self.again.append,
            lambda _vmi, _kind, reason, message: self.events.append((reason, message)),
        )

    def frozen(self) -> Freeze | None:
        record = self.records.get(UID)
        return record.frozen if record is not None else None


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    found = World(tmp_path)
    found.records.put(RECORD)
    yield found
    await found.keeper.stop()


def vmi(**spec: Any) -> VirtualMachineInstance:
    meta = {"name": "vm", "namespace": "ns", "uid": UID}
    return from_builtins({"metadata": meta, "spec": spec, "status": {"phase": "Running"}}, VirtualMachineInstance)


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110  polls what has no event
            await asyncio.sleep(0.01)


async def test_a_guest_that_does_not_answer_holds_nothing_up(world: World) -> None:
    world.guests.gate.clear()
    for _ in range(3):
        kept, again = await world.keeper.attend(vmi(), DOMAIN)
        await asyncio.sleep(0)
    assert (kept.facts, world.guests.asked) == (None, 1)
    assert again is not None
    world.guests.gate.set()
    await until(lambda: world.again)
    kept, again = await world.keeper.attend(vmi(), DOMAIN)
    assert kept.facts is not None
    assert again is not None
    assert again > 100
    assert world.guests.asked == 1


async def test_an_agent_that_goes_takes_its_facts_along(world: World) -> None:
    await world.keeper.attend(vmi(), DOMAIN)
    await until(lambda: world.again)
    kept, again = await world.keeper.attend(vmi(), DOMAIN._replace(agent_connected=False))
    assert (kept.facts, again) == (None, None)
    await world.keeper.attend(vmi(), DOMAIN)
    await until(lambda: world.guests.asked == 2)


async def test_a_freeze_is_on_record_before_it_is_done_and_outlives_the_agent(world: World) -> None:
    await world.keeper.freeze(RECORD, DOMAIN, 0.2)
    assert world.frozen() is not None
    world.restart()
    assert world.frozen() is not None
    kept, again = await world.keeper.attend(vmi(), DOMAIN)
    assert kept.frozen
    assert again is not None
    assert again <= 0.2
    await asyncio.sleep(0.2)
    await world.keeper.attend(vmi(), DOMAIN)
    await until(lambda: world.frozen() is None)
    assert not world.guests.frozen
    kept, _ = await world.keeper.attend(vmi(), DOMAIN)
    assert not kept.frozen


async def test_a_frozen_guest_is_not_asked_for_facts(world: World) -> None:
    await world.keeper.freeze(RECORD, DOMAIN, 60)
    await world.keeper.attend(vmi(), DOMAIN)
    await asyncio.sleep(0.02)
    assert world.guests.asked == 0


async def test_a_second_freeze_only_moves_the_time(world: World) -> None:
    await world.keeper.freeze(RECORD, DOMAIN, 0)
    first = world.frozen()
    assert first is not None
    assert first.thaw_at is None
    record = world.records.get(UID)
    assert record is not None
    await world.keeper.freeze(record, DOMAIN, 100)
    assert world.guests.calls == ["freeze"]
    second = world.frozen()
    assert second is not None
    assert second.thaw_at is not None
    assert 99 < second.thaw_at - since_boot() <= 100


async def test_a_freeze_that_fails_leaves_nothing_frozen(world: World) -> None:
    world.guests.fails = "freeze"
    with pytest.raises(GuestAgentError):
        await world.keeper.freeze(RECORD, DOMAIN, 10)
    assert (world.frozen(), world.guests.calls) == (None, ["freeze", "thaw"])


async def test_a_guest_without_an_agent_is_not_written_down_as_frozen(world: World) -> None:
    with pytest.raises(GuestAgentError, match="not connected"):
        await world.keeper.freeze(RECORD, DOMAIN._replace(agent_connected=False), 10)
    assert (world.frozen(), world.guests.calls) == (None, [])


async def test_a_step_that_does_not_show_is_not_done_without_a_pause(world: World) -> None:
    wanted = vmi(volumes=[DATA], domain={"devices": {"disks": [{"name": "data", "disk": {"bus": "scsi"}}]}})
    for _ in range(10):
        await world.keeper.attend(wanted, DOMAIN._replace(agent_connected=False))
        await asyncio.sleep(0.01)
    assert len(world.plugger.done) == 1


async def test_a_thaw_that_fails_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "THAW_RETRY", 0.05)
    world.records.put(structs.replace(RECORD, frozen=Freeze(since_boot() - 1)))
    world.guests.fails, world.guests.frozen = "thaw", True
    await world.keeper.attend(vmi(), DOMAIN)
    await until(lambda: world.again)
    assert world.frozen() is not None
    world.guests.fails = ""
    await asyncio.sleep(0.06)
    await world.keeper.attend(vmi(), DOMAIN)
    await until(lambda: world.frozen() is None)
    assert world.guests.calls == ["thaw", "thaw"]


async def test_a_guest_reset_while_frozen_is_not_told_to_be_frozen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "FROZEN_INTERVAL", 0.05)
    world.records.put(structs.replace(RECORD, frozen=Freeze(None)))
    await world.keeper.attend(vmi(), DOMAIN)
    await asyncio.sleep(0.06)
    await world.keeper.attend(vmi(), DOMAIN)
    await until(lambda: world.frozen() is None)
    assert world.guests.calls == []


async def test_a_plug_that_fails_is_told_once_and_tried_later(world: World) -> None:
    wanted = vmi(volumes=[DATA], domain={"devices": {"disks": [{"name": "data", "disk": {"bus": "scsi"}}]}})
    world.plugger.fails = True
    for _ in range(3):
        kept, again = await world.keeper.attend(wanted, DOMAIN._replace(agent_connected=False))
        await asyncio.sleep(0.02)
    kept, again = await world.keeper.attend(wanted, DOMAIN._replace(agent_connected=False))
    assert len(world.plugger.done) == 1
    assert world.events == [("HotplugFailed", "no room (make some)")]
    assert kept.volumes["data"] == ("Pending", "GuestAgent", "no room (make some)")
    assert again is not None
    assert 0 < again <= keeping.FIRST_RETRY
    there = DOMAIN._replace(agent_connected=False, disks=(Disk("data", "sda", "/x"),))
    kept, again = await world.keeper.attend(wanted, there)
    assert (kept.volumes["data"].phase, again) == ("Ready", None)


async def test_a_guest_that_fails_its_liveness_probe_is_shut_down_for_good(world: World) -> None:
    world.guests.fails = "ping"
    probed = vmi(livenessProbe={"guestAgentPing": {}, "failureThreshold": 1}, terminationGracePeriodSeconds=5)
    kept, _ = await world.keeper.attend(probed, DOMAIN)
    assert kept.not_ready is None
    await until(lambda: (found := world.records.get(UID)) is not None and found.end is not None)
    assert "Killing" in [reason for reason, _ in world.events]
    record = world.records.get(UID)
    assert record is not None
    assert record.end is not None
    assert (record.end.phase, record.end.reason) == ("Failed", "LivenessProbeFailed")
    seen = Seen(UID, probed, record, DOMAIN, None, "boot", 0.0)
    begun = [type(effect).__name__ for effect in decide(seen, 100.0)]
    assert begun == ["BeginShutdown", "SignalShutdown", "Again"]
    over = [type(effect).__name__ for effect in decide(seen._replace(domain=None), 100.0)]
    assert over == ["CleanUp", "PublishEnd", "Forget"]


async def test_a_frozen_guest_is_not_killed_for_its_silence(world: World) -> None:
    probed = vmi(livenessProbe={"guestAgentPing": {}, "failureThreshold": 1, "periodSeconds": 1})
    await world.keeper.freeze(RECORD, DOMAIN, 60)
    world.guests.fails = "ping"
    await world.keeper.attend(probed, DOMAIN)
    await asyncio.sleep(0.05)
    assert world.events == []
    await world.keeper.unfreeze(RECORD, DOMAIN)
    await world.keeper.attend(probed, DOMAIN)
    await until(lambda: "Killing" in [reason for reason, _ in world.events])


async def test_a_row_of_failures_is_told_when_it_begins_and_when_it_counts(world: World) -> None:
    rule = Rule("readiness", failures=3)
    count = Count()
    for _ in range(8):
        before, count = count, counted(rule, count, "no")
        await world.keeper._on_answer(vmi(), rule, before, count)
    assert world.events == [("Unhealthy", "Readiness probe failed: no")] * 2
    assert len(world.again) == 1


async def test_a_ready_guest_stays_ready_when_the_agent_is_restarted(world: World) -> None:
    probed = vmi(readinessProbe={"guestAgentPing": {}, "initialDelaySeconds": 60})
    ready = from_builtins({"type": "Ready", "status": "True"}, VirtualMachineInstanceCondition)
    kept, _ = await world.keeper.attend(structs.replace(probed, status=status_with(ready)), DOMAIN)
    assert kept.not_ready is None


def status_with(condition: VirtualMachineInstanceCondition) -> VirtualMachineInstanceStatus:
    return VirtualMachineInstanceStatus(phase="Running", conditions=[condition])


async def test_a_guest_is_ready_when_its_probe_says_so(world: World) -> None:
    probed = vmi(readinessProbe={"guestAgentPing": {}})
    kept, _ = await world.keeper.attend(probed, DOMAIN)
    assert kept.not_ready == "the readiness probe has not succeeded yet"
    await until(lambda: world.again)
    kept, _ = await world.keeper.attend(probed, DOMAIN)
    assert kept.not_ready is None
    world.keeper.forget(UID)
    assert world.events == []


class Buttons:
    """libvirt's side of a shutdown."""

    def __init__(self, guests: Guests) -> None:
        self.guests = guests
        self.pressed: list[bool] = []

    async def shut_down(self, uuid: str, *, agent: bool) -> None:
        self.pressed.append(self.guests.frozen)


async def test_a_guest_that_fails_its_liveness_probe_is_shut_down_when_the_disk_has_room_again(
    world: World, mocker: MockerFixture
) -> None:
    world.guests.fails = "ping"
    refusals = iter([OSError(28, "No space left on device"), RuntimeError("a bug")])

    def write(path: Path, data: bytes) -> None:
        if refusal := next(refusals, None):
            raise refusal
        write_durably(path, data)

    mocker.patch("virt_handler.records.write_durably", write)
    mocker.patch("virt_handler.probes.rule_of", lambda role, _: Rule(role, period=0, failures=1))
    await world.keeper.attend(vmi(livenessProbe={"guestAgentPing": {}}), DOMAIN)
    await until(lambda: (record := world.records.get(UID)) is not None and record.end is not None)


async def test_an_errand_taken_back_before_it_began_leaves_nothing(world: World) -> None:
    """A coroutine that is never awaited would be a warning, and warnings are errors here."""
    await world.keeper.attend(vmi(), DOMAIN)
    world.keeper.forget(UID)
    await asyncio.sleep(0)
    gc.collect()
    assert world.guests.asked == 0


def agent_of(world: World, **parts: Any) -> Agent:
    """An agent of which only `parts` are asked for."""
    none: dict[str, Any] = dict.fromkeys(("client", "libvirt", "informer", "queue", "events", "launcher"))
    return Agent(records=world.records, keeper=world.keeper, boot_id="boot", **(none | parts))


class Cache:
    """An informer that knows one VMI, or none."""

    def __init__(self, found: VirtualMachineInstance | None) -> None:
        self.found = found

    def get(self, _namespace: str, _name: str) -> VirtualMachineInstance | None:
        return self.found

    def absorb(self, _data: bytes) -> None:
        raise AssertionError("the API has nothing")


class Empty:
    """An API without objects."""

    async def get(self, *_: Any) -> bytes:
        raise NotFound("gone")


async def test_a_status_the_api_refuses_is_tried_more_and_more_rarely(world: World, mocker: MockerFixture) -> None:
    agent = agent_of(world, client=Empty(), informer=Cache(vmi()))
    mocker.patch.object(agent, "_settle_all", side_effect=Invalid("status.phase: unsupported value"))
    assert await agent.reconcile(Key("ns", "vm")) == Retry(None)


async def test_what_is_remembered_of_a_vmi_without_a_record_goes_with_it(world: World) -> None:
    world.records.remove(UID)
    agent = agent_of(world, informer=Cache(None))
    agent._memory = {"old": Memory(Key("ns", "vm")), "other": Memory(Key("ns", "another"))}
    assert await agent.reconcile(Key("ns", "vm")) is None
    assert [*agent._memory] == ["other"]


async def test_what_was_written_meanwhile_outlives_the_agents_own_words(world: World, mocker: MockerFixture) -> None:
    """A freeze came while the agent looked: its own view of the record is old."""
    agent = agent_of(world, libvirt=mocker.AsyncMock())
    old = Seen(UID, vmi(), RECORD, DOMAIN, None, "boot", 0.0)
    frozen, end = Freeze(5.0), End("Failed", "R", "m", 1.0)
    world.records.change(UID, frozen=frozen)
    await agent._adopt(vmi(), DOMAIN, RECORD)
    await agent._begin_shutdown(old, 7, DOMAIN)
    await agent._finish(old._replace(vmi=None), end)
    record = world.records.get(UID)
    assert record is not None
    assert (record.frozen, record.grace_seconds, record.end) == (frozen, 7, end)


@pytest.mark.parametrize("fails", ["", "thaw"])
async def test_a_frozen_guest_is_thawed_before_it_is_asked_to_shut_down(world: World, fails: str) -> None:
    await world.keeper.freeze(RECORD, DOMAIN, 0)
    world.guests.fails = fails
    buttons = Buttons(world.guests)
    agent = agent_of(world, libvirt=buttons)
    agent._memory[UID] = Memory(Key("ns", "vm"))
    seen = Seen(UID, None, world.records.get(UID), DOMAIN, None, "boot", 0.0)
    await agent._signal_shutdown(seen, DOMAIN, first=True)
    assert buttons.pressed == [bool(fails)]  # a guest that can't be thawed is asked all the same
