"""The node agent as one coroutine: everything connected, adopted, and kept running until cancelled.

Called by `virt-handler` and by the one-machine supervisor, with the client each of them has.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from functools import partial

from virt_handler import accelerator, kept, network, processes
from virt_handler.agent import Agent
from virt_handler.domain import refuse, render
from virt_handler.domain.layout import template
from virt_handler.domains import key_of
from virt_handler.errors import StateError
from virt_handler.guest_agent import GuestAgent
from virt_handler.host import describe
from virt_handler.images.store import ImageStore
from virt_handler.keeper import Keeper
from virt_handler.launch import Launcher
from virt_handler.layout import Layout
from virt_handler.libvirt_host import LibvirtHost
from virt_handler.model import Guest
from virt_handler.network import Network
from virt_handler.node import NodeAgent
from virt_handler.options import Options
from virt_handler.plugger import Plugger
from virt_handler.records import Records
from virt_handler.server import Server
from virt_handler.volumes.boot_files import BootSource
from virt_handler.volumes.objects import Objects
from virt_handler.volumes.prepare import Volumes
from virt_handler.volumes.shares import Shares
from virt_kube.api import KubeClient
from virt_kube.events import EventRecorder
from virt_kube.informer import Informer, Key
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES
from virt_kube.runner import Runner
from virt_kube.workqueue import WorkQueue
from virt_types.codec import decode
from virt_types.labels import NODE_NAME
from virt_types.v1 import VirtualMachineInstance

log = logging.getLogger("virt_handler.app")

COMPONENT = "virt-handler"
RESYNC = 300.0
COLLECT = 6 * 3600.0
SWEEP = 600.0


async def run(client: KubeClient, *, options: Options) -> None:
    """Be this node's agent until cancelled; guests are left running. Raises HandlerError when it can't begin."""
    layout = options.layout
    await asyncio.to_thread(layout.prepare)
    lock = await asyncio.to_thread(_lock, layout)
    try:
        await _run(client, options, layout)
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        os.close(lock)


async def _run(client: KubeClient, options: Options, layout: Layout) -> None:
    queue: WorkQueue[Key] = WorkQueue()
    informer = Informer(
        client,
        VIRTUAL_MACHINE_INSTANCES,
        partial(decode, type_=VirtualMachineInstance),
        label_selector=f"{NODE_NAME}={options.node_name}",
    )
    agents: list[Agent] = []

    def changed(domain: str) -> None:
        if domain and (key := key_of(domain)) is not None:
            queue.add(Key(*key))
        elif not domain:
            for agent in agents:
                agent.add_all()

    host = LibvirtHost(options.libvirt_uri, changed)
    events = EventRecorder(client, COMPONENT, options.node_name)
    images = ImageStore(layout.images, options.registry_mirrors, options.insecure_registries)
    records = Records(layout.records)
    objects = Objects(client)
    boot_id = processes.boot_id()

    def tell(kind: str, vmi: VirtualMachineInstance, reason: str, message: str) -> None:
        events.event(vmi, "Warning" if kind == "Warning" else "Normal", reason, message)

    try:
        async with asyncio.TaskGroup() as tasks:
            for name, work in (("libvirt", host.run()), ("informer", informer.run()), ("events", events.run())):
                tasks.create_task(work, name=f"virt-handler-{name}")
            tasks.create_task(asyncio.to_thread(template))  # compiled while libvirt is being asked, not for a guest
            verdict = await accelerator.choose(options.accelerator, layout.accelerator, boot_id)
            await host.connected.wait()
            owner = await host.qemu_user()
            if trap := await asyncio.to_thread(accelerator.kvm_trap, owner):
                log.warning("slow starts ahead why=%s way_out=%s", trap, accelerator.OPEN_KVM)
            nets = Network(host, options.network, options.bridge, partial(tell, "Warning"), records.macs)
            volumes = Volumes(layout, images, objects, partial(tell, "Normal"))
            described = await describe(host, options.node_name, verdict.accelerator)
            plugger = Plugger(
                libvirt_host=host, volumes=volumes, layout=layout, render=render, host=described, owner=owner
            )
            keeper = Keeper(
                GuestAgent(host), plugger, records, queue.add, lambda vmi, kind, *what: tell(kind, vmi, *what)
            )
            agent = Agent(
                client=client,
                libvirt=host,
                records=records,
                informer=informer,
                queue=queue,
                events=events,
                launcher=Launcher(
                    layout=layout,
                    libvirt=host,
                    records=records,
                    volumes=volumes,
                    boot=BootSource(layout, images, objects, partial(tell, "Normal")),
                    shares=Shares(layout, objects),
                    network=nets,
                    render=_rendered,
                    host=described,
                    owner=owner,
                    boot_id=boot_id,
                ),
                keeper=keeper,
                boot_id=boot_id,
            )
            await asyncio.to_thread(records.load)
            await asyncio.to_thread(images.sweep)
            await informer.synced.wait()
            informer.add_handler(partial(_enqueue, queue))
            agents.append(agent)
            agent.add_all()  # adoption: every guest we ever touched is looked at before anything else happens
            node = NodeAgent(
                client, options.node_name, verdict, register=options.register_node, healthy=host.connected.is_set
            )
            log.info("virt-handler ready node=%s guests=%d", options.node_name, len(list(records.all())))
            await _work(client, agent, node, nets, images, options)
    finally:
        await images.close()


async def _work(  # noqa: PLR0917  private, called once
    client: KubeClient, agent: Agent, node: NodeAgent, nets: Network, images: ImageStore, options: Options
) -> None:
    """Everything an agent that has looked around does at once, until cancelled."""
    layout = options.layout
    try:
        async with asyncio.TaskGroup() as tasks:
            for work in (
                Runner(COMPONENT, agent.queue, agent.reconcile, workers=options.workers).run(),
                _resync(agent),
                network.start(nets),
                _collect(images, layout),
                _sweep(layout, client, agent.libvirt),
                Server(agent.libvirt, agent.keeper, layout, agent.informer, agent.records).run(),
                node.run(),
            ):
                tasks.create_task(work)
    finally:
        await agent.stop()


def _rendered(guest: Guest) -> str:
    """The domain of a guest that can start here; raises RenderError before libvirt is bothered."""
    refuse(guest)
    return render(guest)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first: people read one error, not a group of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _enqueue(queue: WorkQueue[Key], old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
    vmi = new or old
    if vmi is not None:
        queue.add(Key(vmi.metadata.namespace, vmi.metadata.name))


async def _resync(agent: Agent) -> None:
    """Look at everything now and then: an event that libvirt lost must not be lost for ever."""
    while True:
        await asyncio.sleep(RESYNC)
        agent.add_all()


async def _collect(images: ImageStore, layout: Layout) -> None:
    """Make room now and then."""
    while True:
        await asyncio.to_thread(images.collect, layout.guests)
        await asyncio.sleep(COLLECT)


async def _sweep(layout: Layout, client: KubeClient, libvirt: LibvirtHost) -> None:
    """Nobody's EFI variables and TPM memory go."""
    while True:
        await kept.sweep(layout, client, libvirt)
        await asyncio.sleep(SWEEP)


def _lock(layout: Layout) -> int:
    """One agent per state directory; raises StateError."""
    path = layout.records / ".lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise StateError(
            f"another virt-handler uses {layout.state}", hint="stop it, or choose another --state-dir"
        ) from None
    return fd
