"""The node agent's loop: look, decide, carry out. Rules are in `decide`, what a status looks like is in `status`.

One key (namespace, name) is worked by one worker at a time. A start runs beside the loop and brings its key back when
it ends. Whatever happens to this process, guests run on; the next one reads the records and goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from virt_handler import decide as rules
from virt_handler import processes, status
from virt_handler.clocks import since_boot
from virt_handler.decide import Failure, Seen
from virt_handler.domains import Domain, domain_name, shutdown_metadata
from virt_handler.errors import HandlerError, HypervisorError, HypervisorUnreachable, ImageError, ImagePullError
from virt_handler.keeper import Keeper
from virt_handler.launch import Launcher
from virt_handler.libvirt_host import LibvirtHost
from virt_handler.probes import LIVENESS_REASON
from virt_handler.records import End, Record, Records, ShutdownClock
from virt_kube.api import Invalid, JsonPatch, KubeClient, NotFound
from virt_kube.clock import rfc3339
from virt_kube.events import EventRecorder
from virt_kube.informer import Informer, Key
from virt_kube.patch import diff, guard
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES
from virt_kube.runner import Retry, Verdict
from virt_kube.workqueue import WorkQueue
from virt_types.codec import decode
from virt_types.errors import VirtError
from virt_types.labels import VMI_FINALIZER
from virt_types.v1 import VirtualMachineInstance, VirtualMachineInstanceStatus

log = logging.getLogger("virt_handler.agent")

FIRST_BACKOFF, MAX_BACKOFF = 5.0, 300.0
# libvirt may be restarted; only a longer silence is worth telling in the status.
SILENCE = 15.0
# A frozen guest hears no shutdown; this long its agent may take to thaw it.
THAW_BEFORE_SHUTDOWN = 10.0
# What an event calls the end of a guest that failed, by its reason; any other is a crash.
FAILED_HOW = {
    "GracePeriodExceeded": "was destroyed",
    "GuestDestroyed": "was destroyed",
    "GuestLost": "was lost",
    "NodeRestarted": "was lost",
    LIVENESS_REASON: "was ended",
}


@dataclass
class StartJob:
    """One attempt to start a guest. Once `committed`, libvirt has been told and only a stop takes it back."""

    task: asyncio.Task[None]
    committed: bool = False


@dataclass
class Memory:
    """What this process remembers of one VMI uid; losing it costs nothing but a repeated signal."""

    key: Key
    job: StartJob | None = None
    attempts: int = 0
    failure: Failure | None = None
    signalled_at: float | None = None
    resumes: tuple[int, float] = (0, 0.0)


@dataclass
class Agent:
    """Reconciles the VMIs of one node."""

    client: KubeClient
    libvirt: LibvirtHost
    records: Records
    informer: Informer[VirtualMachineInstance]
    queue: WorkQueue[Key]
    events: EventRecorder
    launcher: Launcher
    keeper: Keeper
    boot_id: str
    _memory: dict[str, Memory] = field(default_factory=dict)

    def add_all(self) -> None:
        """Look at everything again: every record, every VMI."""
        for record in self.records.all():
            self.queue.add(Key(*record.key))
        for vmi in self.informer.list():
            self.queue.add(Key(vmi.metadata.namespace, vmi.metadata.name))

    async def reconcile(self, key: Key) -> Verdict:
        vmi = self.informer.get(key.namespace, key.name)
        known = self.records.of(key.namespace, key.name)
        self._forget_former(key, vmi)
        if vmi is None and not known:
            return None
        if vmi is not None and self._starts(vmi) and len(known) <= 1:
            return None  # libvirt is busy with it; the start adds the key again
        try:
            if vmi is None and not await self._gone(key, known):
                return Retry(30.0)
            return await self._settle_all(key, vmi, known)
        except HypervisorUnreachable as error:
            return await self._unseen(vmi, error)
        except Invalid as error:  # the patch's test failed: our view was old
            log.info("stale view key=%s error=%s", key, error)
            await self._refresh(key)
            return Retry()  # a status the API refuses for good is tried more and more rarely

    def _forget_former(self, key: Key, vmi: VirtualMachineInstance | None) -> None:
        """What is remembered of VMIs of this name that are gone and never got as far as a record."""
        mine = vmi.metadata.uid if vmi is not None else ""
        for uid, memory in tuple(self._memory.items()):
            if memory.key == key and uid != mine and memory.job is None and self.records.get(uid) is None:
                del self._memory[uid]

    def _starts(self, vmi: VirtualMachineInstance) -> bool:
        memory = self._memory.get(vmi.metadata.uid)
        return memory is not None and memory.job is not None and not rules.must_stop(vmi)

    async def stop(self) -> None:
        """Leave: starts are taken back or waited for, guests stay."""
        jobs = [memory.job for memory in self._memory.values() if memory.job is not None]
        for job in jobs:
            if not job.committed:
                job.task.cancel()
        await asyncio.gather(*(job.task for job in jobs), return_exceptions=True)
        await self.keeper.stop()

    async def _settle_all(self, key: Key, vmi: VirtualMachineInstance | None, known: list[Record]) -> Verdict:
        """Former VMIs of this name first, then the present one."""
        mine = vmi.metadata.uid if vmi is not None else ""
        uids = frozenset(record.uid for record in known)
        pauses = [await self._settle(key, uid, None, uids - {uid}) for uid in sorted(uids - {mine})]
        if vmi is not None:
            pauses.append(await self._settle(key, mine, vmi, uids - {mine}))
        waits = [pause for pause in pauses if pause is not None]
        return Retry(min(waits)) if waits else None

    async def _settle(
        self, key: Key, uid: str, vmi: VirtualMachineInstance | None, siblings: frozenset[str]
    ) -> float | None:
        """Look, decide and act for one uid; the seconds after which to look again."""
        seen = await self._look(key, uid, vmi, siblings)
        again = None
        effects = rules.decide(seen, since_boot())
        if not any(isinstance(effect, rules.PublishRunning) for effect in effects):
            self.keeper.forget(uid)
        for effect in effects:
            again = effect.after if isinstance(effect, rules.Again) else await self._carry_out(effect, seen) or again
        memory = self._memory[uid]
        if self.records.get(uid) is None and memory.job is None and memory.failure is None:
            del self._memory[uid]
        return again

    async def _look(self, key: Key, uid: str, vmi: VirtualMachineInstance | None, siblings: frozenset[str]) -> Seen:
        domain = await self.libvirt.observe(domain_name(*key))
        record = self.records.get(uid)
        process = None
        if record is not None and record.stage != "preparing" and not (domain is not None and domain.alive):
            process = await asyncio.to_thread(processes.find_qemu, record.domain_uuid)
        memory = self._memory.setdefault(uid, Memory(key))
        return Seen(
            uid=uid,
            vmi=vmi,
            record=record,
            domain=domain,
            process=process,
            boot_id=self.boot_id,
            wall=time.time(),
            siblings=siblings,
            starting=memory.job is not None,
            failure=memory.failure,
            signalled_at=memory.signalled_at,
            resumes=memory.resumes,
        )

    async def _carry_out(self, effect: rules.Effect, seen: Seen) -> float | None:  # noqa: PLR0912  one case per effect
        vmi, memory = seen.vmi, self._memory[seen.uid]
        match effect:
            case rules.Start() if vmi is not None:
                self._begin_start(vmi, memory)
            case rules.CancelStart():
                if memory.job is not None and not memory.job.committed:
                    memory.job.task.cancel()
            case rules.Adopt(domain) if vmi is not None:
                await self._adopt(vmi, domain, seen.record)
            case rules.BeginShutdown(grace, domain):
                await self._begin_shutdown(seen, grace, domain)
            case rules.SignalShutdown(domain, first):
                await self._signal_shutdown(seen, domain, first=first)
            case rules.Destroy(domain):
                self._tell(vmi, "Normal", "Deleted", "Signaled Deletion")
                await self.libvirt.destroy(domain.uuid)
            case rules.Kill(process):
                log.warning("killing lost QEMU uid=%s pid=%d", seen.uid, process.pid)
                await asyncio.to_thread(processes.kill, process)
            case rules.Resume(domain, attempt):
                await self._resume(memory, domain, attempt)
            case rules.Finish(end):
                await self._finish(seen, end)
            case rules.Undefine(domain):
                await self.libvirt.undefine(domain.uuid)
            case rules.CleanUp() if seen.record is not None:
                await self.launcher.clean_up(seen.record)
            case rules.PublishEnd(end) if vmi is not None:
                await self._publish(vmi, status.ended(vmi, end), final=True)
            case rules.Forget():
                await asyncio.to_thread(self.records.remove, seen.uid)
                memory.failure = None
            case rules.PublishRunning(domain) if vmi is not None:
                return await self._publish_running(vmi, domain)
            case rules.PublishTrouble(reason, message) if vmi is not None:
                await self._publish(vmi, status.troubled(vmi, reason, message, time.time()))
            case _:
                pass
        return None

    # Starting.

    def _begin_start(self, vmi: VirtualMachineInstance, memory: Memory) -> None:
        task = asyncio.create_task(self._start(vmi, memory), name=f"start-{vmi.metadata.uid}")
        memory.job = StartJob(task)

    async def _start(self, vmi: VirtualMachineInstance, memory: Memory) -> None:
        key = Key(vmi.metadata.namespace, vmi.metadata.name)
        try:
            record, xml = await self.launcher.prepare(vmi)
            if memory.job is not None:
                memory.job.committed = True
            latest = self.informer.get(*key)
            if latest is None or latest.metadata.uid != vmi.metadata.uid or rules.must_stop(latest):
                return
            await self.launcher.start(record, xml, paused=vmi.spec.start_strategy == "Paused")
            memory.failure, memory.attempts = None, 0
            self._tell(vmi, "Normal", "Created", "VirtualMachineInstance defined.")
            self._tell(vmi, "Normal", "Started", "VirtualMachineInstance started.")
            for sentence in self.launcher.left_out(vmi):
                log.info("setting left out uid=%s what=%s", vmi.metadata.uid, sentence)
                self._tell(vmi, "Warning", status.REDUCED[0], sentence)
        except VirtError as error:
            self._start_failed(vmi, memory, error)
        except asyncio.CancelledError:
            log.info("start taken back namespace=%s name=%s", *key)
        except Exception as error:
            log.exception("start crashed namespace=%s name=%s", *key)
            self._start_failed(vmi, memory, HandlerError(f"internal error: {type(error).__name__}"))
        finally:
            memory.job = None
            self.queue.add(key)

    def _start_failed(self, vmi: VirtualMachineInstance, memory: Memory, error: VirtError) -> None:
        memory.attempts += 1
        pause = min(FIRST_BACKOFF * 2.0 ** (memory.attempts - 1), MAX_BACKOFF)
        fatal = isinstance(error, HandlerError) and error.fatal
        reason = error.reason
        if isinstance(error, ImagePullError) and memory.attempts > 1:
            reason = "ImagePullBackOff"
        message = f"{error.message} ({error.hint})" if error.hint else error.message
        memory.failure = Failure(reason, message, fatal, since_boot() + pause)
        log.warning("start failed uid=%s reason=%s fatal=%s error=%s", vmi.metadata.uid, reason, fatal, error.message)
        self._tell(vmi, "Warning", reason if isinstance(error, ImageError) else "SyncFailed", message)

    async def _adopt(self, vmi: VirtualMachineInstance, domain: Domain, record: Record | None) -> None:
        meta = vmi.metadata
        found: dict[str, Any] = {
            "stage": "started",
            "domain_uuid": domain.uuid,
            "boot_id": self.boot_id,
            "grace_seconds": rules.grace_of(vmi, record),
            "shutdown": (record.shutdown if record is not None else None) or domain.shutdown,
        }
        if record is None:
            await asyncio.to_thread(self.records.put, Record(meta.uid, meta.namespace, meta.name, **found))
        else:
            await asyncio.to_thread(self.records.change, meta.uid, **found)
        log.info("guest adopted namespace=%s name=%s uid=%s", meta.namespace, meta.name, meta.uid)

    # Ending.

    async def _begin_shutdown(self, seen: Seen, grace: int, domain: Domain) -> None:
        clock = ShutdownClock(since_boot(), grace)
        await asyncio.to_thread(self.records.change, seen.uid, shutdown=clock, grace_seconds=grace)
        try:
            await self.libvirt.set_metadata(domain.uuid, shutdown_metadata(seen.uid, clock, rfc3339(seen.wall)))
        except HypervisorUnreachable:
            raise
        except HypervisorError as error:  # the record has it; a guest ending meanwhile must not stop the shutdown
            log.info("grace clock not in the domain uid=%s error=%s", seen.uid, error)

    async def _signal_shutdown(self, seen: Seen, domain: Domain, *, first: bool) -> None:
        self._memory[seen.uid].signalled_at = since_boot()
        if first:
            self._tell(seen.vmi, "Normal", "ShuttingDown", "Signaled Graceful Shutdown")
            log.info("shutdown signalled uid=%s", seen.uid)
        if domain.state == "paused" and domain.reason == "user":
            await self.libvirt.resume(domain.uuid)  # a paused guest hears nothing
        if first and seen.record is not None and seen.record.frozen is not None:
            with contextlib.suppress(HandlerError, TimeoutError):
                async with asyncio.timeout(THAW_BEFORE_SHUTDOWN):
                    await self.keeper.unfreeze(seen.record, domain)
        await self.libvirt.shut_down(domain.uuid, agent=domain.agent_connected)

    async def _finish(self, seen: Seen, end: End) -> None:
        record = await asyncio.to_thread(self.records.change, seen.uid, end=end)
        if record is None:
            return
        log.info("guest ended uid=%s phase=%s reason=%s", seen.uid, end.phase, end.reason)
        if end.phase == "Failed":
            what = FAILED_HOW.get(end.reason, "crashed") if record.stage == "started" else "was not started"
            self._tell(seen.vmi, "Warning", "Stopped", f"The VirtualMachineInstance {what}. ({end.message})")
        else:
            self._tell(seen.vmi, "Normal", "Stopped", "The VirtualMachineInstance was shut down.")

    # Keeping.

    async def _resume(self, memory: Memory, domain: Domain, attempt: int) -> None:
        memory.resumes = (attempt, since_boot() + min(rules.IO_ERROR_FIRST * 2.0**attempt, rules.IO_ERROR_MAX))
        await self.libvirt.resume(domain.uuid)

    async def _publish_running(self, vmi: VirtualMachineInstance, domain: Domain) -> float | None:
        kept, again = await self.keeper.attend(vmi, domain)
        record = self.records.get(vmi.metadata.uid)
        leases = record.interfaces if record is not None else {}
        kept = kept._replace(left_out=self.launcher.left_out(vmi), claims=self.launcher.claims(vmi))
        await self._publish(vmi, status.running(vmi, domain, leases, time.time(), kept))
        return again

    # The API.

    async def _publish(
        self, vmi: VirtualMachineInstance, new: VirtualMachineInstanceStatus, *, final: bool = False
    ) -> None:
        """Write what changed, in one patch that fails when our view of the object is old."""
        changes = diff(status.as_json(vmi.status), status.as_json(new), "status")
        if final and VMI_FINALIZER in vmi.metadata.finalizers:
            changes += _without_finalizer(vmi.metadata.finalizers)
        if not changes:
            return
        meta = vmi.metadata
        try:
            data = await self.client.patch(
                VIRTUAL_MACHINE_INSTANCES, meta.namespace, meta.name, [*guard(meta), *changes]
            )
        except NotFound:
            return
        self.informer.absorb(data)

    async def _gone(self, key: Key, known: list[Record]) -> bool:
        """Whether the API itself says that the recorded VMIs are gone: our cache not having them proves nothing."""
        try:
            data = await self.client.get(VIRTUAL_MACHINE_INSTANCES, key.namespace, key.name)
        except NotFound:
            return True
        found = decode(data, VirtualMachineInstance)
        if any(record.uid == found.metadata.uid for record in known):
            log.warning("recorded VMI is not of this node any more key=%s uid=%s", key, found.metadata.uid)
            return False
        return True

    async def _refresh(self, key: Key) -> None:
        with contextlib.suppress(NotFound):
            self.informer.absorb(await self.client.get(VIRTUAL_MACHINE_INSTANCES, key.namespace, key.name))

    async def _unseen(self, vmi: VirtualMachineInstance | None, error: HypervisorUnreachable) -> Verdict:
        lost_at = self.libvirt.lost_at
        silent = lost_at is not None and time.monotonic() - lost_at >= SILENCE
        if silent and vmi is not None and vmi.status.phase == "Running":
            message = f"{error.message}; the guest itself is not touched"
            await self._publish(vmi, status.unknown(vmi, message, time.time()))
        return Retry(SILENCE, error.reason, error.message)

    def _tell(self, vmi: VirtualMachineInstance | None, kind: str, reason: str, message: str) -> None:
        if vmi is not None:
            self.events.event(vmi, "Warning" if kind == "Warning" else "Normal", reason, message)


def _without_finalizer(finalizers: list[str]) -> JsonPatch:
    left = [name for name in finalizers if name != VMI_FINALIZER]
    return [{"op": "replace", "path": "/metadata/finalizers", "value": left}]
