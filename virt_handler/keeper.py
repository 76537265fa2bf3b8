"""Keeps a running guest as its VMI wants it: asks its agent, thaws it in time, plugs, probes.

Nothing here holds a reconcile up: whatever waits for a guest is an errand beside the loop, one of a kind for each
guest, that brings the key back when it ends. `attend` is called at every reconcile of a running guest and says what its
status has to tell. What must survive a restart of the agent is in the record (a freeze, an end) or in the VMI itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from virt_handler import memory, plugging, probes, status
from virt_handler.clocks import since_boot
from virt_handler.domains import Domain
from virt_handler.errors import GuestAgentError, HandlerError
from virt_handler.guest_agent import GuestAgent
from virt_handler.guest_facts import GuestFacts
from virt_handler.plugger import Plugger
from virt_handler.plugging import Detach, Step
from virt_handler.prober import Prober
from virt_handler.probes import Count, Rule
from virt_handler.records import End, Freeze, Record, Records
from virt_kube.informer import Key
from virt_types.errors import VirtError
from virt_types.v1 import VirtualMachineInstance

log = logging.getLogger("virt_handler.keeper")

FACTS_INTERVAL = 120.0
# A frozen guest may have been reset; a disk may never be given up; an image may come later.
FROZEN_INTERVAL, DETACH_INTERVAL = 30.0, 20.0
FIRST_RETRY, LAST_RETRY = 5.0, 120.0
# A step that libvirt says is done, and that does not show, is not done again and again without a pause.
SETTLING = 1.0
THAW_RETRY = 5.0
NO_AGENT = "can't freeze the guest: its agent is not connected"

Tell = Callable[[VirtualMachineInstance, str, str, str], None]  # vmi, Normal or Warning, reason, message


@dataclass
class Attention:
    """What is remembered of one running guest; losing it costs another question."""

    facts: GuestFacts | None = None
    due: dict[str, float] = field(default_factory=dict)  # when an errand may be run again
    errands: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)  # by volume or field: reason and message
    attempts: dict[str, int] = field(default_factory=dict)


class Keeper:
    """Attends to the running guests of this node. `again(key)` has a VMI reconciled."""

    def __init__(
        self, agent: GuestAgent, plugger: Plugger, records: Records, again: Callable[[Key], None], tell: Tell
    ) -> None:
        self.guests = agent
        self._plugger = plugger
        self._records = records
        self._again = again
        self._tell = tell
        self._prober = Prober(agent, self._on_answer)
        self._known: dict[str, Attention] = {}

    async def attend(self, vmi: VirtualMachineInstance, domain: Domain) -> tuple[status.Kept, float | None]:
        """What the status has to say beside what the domain does, and in how many seconds to look again."""
        uid, now = vmi.metadata.uid, since_boot()
        known = self._known.setdefault(uid, Attention())
        record = self._records.get(uid)
        frozen = record.frozen if record is not None else None
        waits = [
            self._attend_facts(vmi, domain, known, now, frozen=frozen is not None),
            self._attend_freeze(vmi, domain, known, now, frozen),
            self._attend_plugs(vmi, domain, known, now),
        ]
        self._attend_probes(vmi, domain, record, still=domain.state == "paused" or frozen is not None)
        volumes = plugging.progress(vmi, domain, known.failures)
        for reason, message in plugging.news(vmi, volumes):
            self._tell(vmi, "Normal", reason, message)
        kept = status.Kept(
            facts=known.facts if domain.agent_connected else None,
            frozen=frozen is not None,
            not_ready=self._prober.not_ready(vmi),
            volumes=volumes,
            memory=memory.progress(vmi, domain, known.failures.get(memory.FIELD)),
        )
        times = [wait for wait in waits if wait is not None]
        return kept, min(times) if times else None

    def forget(self, uid: str) -> None:
        """The guest runs no more."""
        self._prober.forget(uid)
        known = self._known.pop(uid, None)
        for errand in known.errands.values() if known is not None else ():
            errand.cancel()

    async def stop(self) -> None:
        """Leave; guests stay as they are."""
        await self._prober.stop()
        errands = [errand for known in self._known.values() for errand in known.errands.values()]
        for uid in tuple(self._known):
            self.forget(uid)
        await asyncio.gather(*errands, return_exceptions=True)

    # Freezing, for whoever asks.

    async def freeze(self, record: Record, domain: Domain, seconds: float) -> None:
        """Freeze the guest's file systems; after `seconds` (0: never) they thaw by themselves, whoever runs then.

        A frozen guest only gets the new time. Raises HypervisorError.
        """
        freeze = Freeze(since_boot() + seconds if seconds else None)
        if not domain.agent_connected:  # nothing will have been frozen, so nothing is written down
            raise GuestAgentError(NO_AGENT)
        already = record.frozen is not None and await self.guests.is_frozen(domain.uuid)
        await self._note(record.uid, freeze)
        self._prober.hold(record.uid)
        try:
            if not already:
                count = await self.guests.freeze(domain.uuid)
                log.info("guest frozen uid=%s file_systems=%d timeout=%.0f", record.uid, count, seconds)
        except HandlerError:
            await self._undo_freeze(record.uid, domain)
            raise
        finally:
            self._again(Key(*record.key))

    async def unfreeze(self, record: Record, domain: Domain) -> None:
        """Thaw the guest; one that is not frozen stays so."""
        count = await self.guests.thaw(domain.uuid)
        await self._note(record.uid, None)
        log.info("guest unfrozen uid=%s file_systems=%d", record.uid, count)
        self._again(Key(*record.key))

    async def _undo_freeze(self, uid: str, domain: Domain) -> None:
        """A freeze that failed half-way must not leave some file systems frozen."""
        with contextlib.suppress(HandlerError):
            await self.guests.thaw(domain.uuid)
            await self._note(uid, None)

    async def _note(self, uid: str, freeze: Freeze | None) -> None:
        await asyncio.to_thread(self._records.change, uid, frozen=freeze)

    # The parts of attending. Each says in how many seconds to look again.

    def _attend_facts(
        self, vmi: VirtualMachineInstance, domain: Domain, known: Attention, now: float, *, frozen: bool
    ) -> float | None:
        if not domain.agent_connected:
            known.facts = None
            known.due.pop("facts", None)
            return None
        if frozen:  # a frozen guest's agent answers hardly anything
            return None
        if now >= known.due.get("facts", 0.0):
            known.due["facts"] = now + FACTS_INTERVAL
            self._errand(vmi, known, "facts", lambda: self._ask(domain, known))
        return max(known.due["facts"] - now, 0.0)

    async def _ask(self, domain: Domain, known: Attention) -> None:
        try:
            known.facts = await self.guests.facts(domain.uuid)
        except GuestAgentError as error:
            log.info("guest agent did not tell uuid=%s error=%s", domain.uuid, error)

    def _attend_freeze(
        self, vmi: VirtualMachineInstance, domain: Domain, known: Attention, now: float, freeze: Freeze | None
    ) -> float | None:
        if freeze is None:
            known.due.pop("freeze", None)
            return None
        left = freeze.thaw_at - now if freeze.thaw_at is not None else FROZEN_INTERVAL
        if left > 0 and now < known.due.setdefault("freeze", now + FROZEN_INTERVAL):
            return min(left, known.due["freeze"] - now)
        known.due["freeze"] = now + (FROZEN_INTERVAL if left > 0 else THAW_RETRY)
        work = self._check_frozen if left > 0 else self._thaw
        self._errand(vmi, known, "freeze", lambda: work(vmi, domain))
        return known.due["freeze"] - now

    async def _check_frozen(self, vmi: VirtualMachineInstance, domain: Domain) -> None:
        if not await self.guests.is_frozen(domain.uuid):
            log.info("guest is not frozen any more uid=%s", vmi.metadata.uid)
            await self._note(vmi.metadata.uid, None)

    async def _thaw(self, vmi: VirtualMachineInstance, domain: Domain) -> None:
        await self.guests.thaw(domain.uuid)
        await self._note(vmi.metadata.uid, None)
        log.info("guest unfrozen, its time is over uid=%s", vmi.metadata.uid)

    def _attend_plugs(self, vmi: VirtualMachineInstance, domain: Domain, known: Attention, now: float) -> float | None:
        steps = plugging.steps(vmi, domain)
        for gone in known.failures.keys() - {step.name for step in steps}:
            del known.failures[gone]
            known.attempts.pop(gone, None)
        if not steps:
            known.due.pop("plug", None)
            return None
        if "plug" not in known.errands and now >= known.due.get("plug", 0.0):
            known.due["plug"] = now + DETACH_INTERVAL
            self._errand(vmi, known, "plug", lambda: self._plug(vmi, domain, known, steps))
        return max(known.due.get("plug", now) - now, 0.5)

    async def _plug(self, vmi: VirtualMachineInstance, domain: Domain, known: Attention, steps: list[Step]) -> None:
        """Every step once; one that fails does not hold the others up, and is tried again later and later."""
        waits = [DETACH_INTERVAL] if any(isinstance(step, Detach) for step in steps) else [SETTLING]
        for step in steps:
            name = step.name
            try:
                await self._plugger.carry_out(vmi, domain, step)
            except VirtError as error:
                message = f"{error.message} ({error.hint})" if error.hint else error.message
                if known.failures.get(name) != (error.reason, message):
                    known.failures[name] = (error.reason, message)
                    self._tell(vmi, "Warning", "HotplugFailed", message)
                attempts = known.attempts[name] = known.attempts.get(name, 0) + 1
                waits.append(min(FIRST_RETRY * 2.0 ** (attempts - 1), LAST_RETRY))
        known.due["plug"] = since_boot() + max(waits)

    def _attend_probes(
        self, vmi: VirtualMachineInstance, domain: Domain, record: Record | None, *, still: bool
    ) -> None:
        """A guest that stands still, or whose disks do, can't answer, and must not be killed for that."""
        leases = record.interfaces if record is not None else {}
        addresses = [leases[each.name].ip for each in vmi.spec.domain.devices.interfaces if each.name in leases]
        address = next(filter(None, addresses), "")
        self._prober.watch(vmi, domain.uuid, address, paused=still)

    async def _on_answer(self, vmi: VirtualMachineInstance, rule: Rule, before: Count, after: Count) -> None:
        news = after.verdict is not before.verdict
        if after.failures == 1 or (news and after.failures):
            self._tell(vmi, "Warning", probes.UNHEALTHY, probes.FAILED[rule.role].format(why=after.why))
        if not news:
            return
        log.info("probe verdict uid=%s role=%s verdict=%s", vmi.metadata.uid, rule.role, after.verdict)
        if rule.role == "liveness" and after.verdict is False:
            message = probes.KILLING_MESSAGE.format(count=after.failures, why=after.why)
            self._tell(vmi, "Warning", probes.KILLING, message)
            end = End("Failed", probes.LIVENESS_REASON, message, time.time())
            await asyncio.to_thread(self._records.change, vmi.metadata.uid, end=end)
        self._again(_key(vmi))

    def _errand(
        self, vmi: VirtualMachineInstance, known: Attention, kind: str, work: Callable[[], Awaitable[None]]
    ) -> None:
        """Do something that waits for the guest, unless the last one of its kind still does."""
        if kind in known.errands:
            return

        async def run() -> None:
            try:
                await work()
            except HandlerError as error:
                log.info("errand failed kind=%s uid=%s error=%s", kind, vmi.metadata.uid, error)
            except Exception:
                log.exception("errand crashed kind=%s uid=%s", kind, vmi.metadata.uid)
            finally:
                known.errands.pop(kind, None)
                self._again(_key(vmi))

        known.errands[kind] = asyncio.create_task(run(), name=f"{kind}-{vmi.metadata.uid}")


def _key(vmi: VirtualMachineInstance) -> Key:
    return Key(vmi.metadata.namespace, vmi.metadata.name)
