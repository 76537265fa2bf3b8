"""A node agent against the embedded API server and the machine's own libvirt, with guests that boot in a second.

The guest is one boot sector: it writes a banner to the serial port and echoes what it is sent. No kernel, no firmware
beyond SeaBIOS; it hears no ACPI, which is what the tests of the grace period need.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import tarfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt

from virt_handler import app
from virt_handler.options import Options
from virt_kube.admission import UserInfo
from virt_kube.api import KubeClient, NotFound
from virt_kube.resources import EVENTS, VIRTUAL_MACHINE_INSTANCES
from virt_local.apiserver.server import ApiServer
from virt_local.store import Store
from virt_types import labels
from virt_types.crds import custom_resource_definitions

URI = "qemu:///system" if os.geteuid() == 0 else "qemu:///session"
NODE = "test-node"
# Of this test session alone; a process it starts is told by the environment.
SESSION = os.environ.setdefault("VIRT_HANDLER_TEST_SESSION", f"vt{os.getpid()}")
NETWORK, BRIDGE = f"{SESSION}-net", f"{SESSION}b"
BANNER = b"boot sector guest ready\r\n"


def boot_sector(banner: bytes = BANNER) -> bytes:
    """A disk whose first sector prints `banner` on COM1 and echoes input for ever (16-bit code, loaded at 0x7c00)."""
    setup = bytes.fromhex("31c0 8ed8")  # xor ax,ax; mov ds,ax
    load_text = bytes.fromhex("be")  # mov si, TEXT
    print_all = bytes.fromhex("ac 84c0 7405 e81400 ebf6")  # next: lodsb; test al,al; jz echo; call put; jmp next
    # echo: mov dx,0x3fd; in al,dx; test al,1; jz echo; mov dx,0x3f8; in al,dx; call put; jmp echo
    echo = bytes.fromhex("bafd03 ec a801 74f8 baf803 ec e80200 ebef")
    # put: push ax; mov dx,0x3fd; wait: in al,dx; test al,0x20; jz wait; pop ax; mov dx,0x3f8; out dx,al; ret
    put = bytes.fromhex("50 bafd03 ec a820 74fb 58 baf803 ee c3")
    before = len(setup) + 3 + len(print_all) + len(echo) + len(put)
    text = (0x7C00 + before).to_bytes(2, "little")
    call = (len(echo) + 2).to_bytes(2, "little")  # from print_all's call, over its jump, to put
    program = setup + load_text + text + print_all.replace(bytes.fromhex("e81400"), b"\xe8" + call) + echo + put
    program += banner + b"\0"
    assert len(program) <= 510
    return (program.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0")


def write_layout(directory: Path, name: str, disk: bytes) -> None:
    """An OCI layout with one image: a plain tar layer holding /disk/disk.img."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("disk/disk.img")
        entry.size = len(disk)
        archive.addfile(entry, io.BytesIO(disk))
    layer = put(buffer.getvalue(), "application/vnd.oci.image.layer.v1.tar")
    config = put(b'{"architecture":"amd64","os":"linux"}', "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "config": config, "layers": [layer]}
    entry_ = put(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry_["annotations"] = {"org.opencontainers.image.ref.name": name}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry_]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


@dataclass
class Counting:
    """A client that counts what is written."""

    client: KubeClient
    writes: list[tuple[str, str]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if name not in {"create", "update", "patch", "delete"}:
            return method

        async def counted(resource: Any, *args: Any, **kwargs: Any) -> Any:
            self.writes.append((name, resource.plural))
            return await method(resource, *args, **kwargs)

        return counted

    def status_writes(self) -> int:
        return sum(1 for verb, plural in self.writes if plural == VIRTUAL_MACHINE_INSTANCES.plural)


@dataclass
class Cluster:
    """An API, a state directory, and a node agent that can be started and killed."""

    api: ApiServer
    admin: KubeClient
    handler: Counting
    options: Options
    agent: asyncio.Task[None] | None = None

    def start_agent(self) -> None:
        self.agent = asyncio.create_task(app.run(self.handler, options=self.options))  # type: ignore[arg-type]

    async def stop_agent(self) -> None:
        """The agent goes; guests stay."""
        if self.agent is not None:
            self.agent.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.agent
            self.agent = None

    async def create(self, name: str, **changes: Any) -> dict[str, Any]:
        vmi = manifest(name)
        for part in ("metadata", "spec", "status"):
            vmi[part].update(changes.get(part, {}))
        data = await self.admin.create(VIRTUAL_MACHINE_INSTANCES, "default", vmi)
        return json.loads(data)

    async def get(self, name: str) -> dict[str, Any]:
        return json.loads(await self.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", name))

    async def delete(self, name: str) -> None:
        await self.admin.delete(VIRTUAL_MACHINE_INSTANCES, "default", name)

    async def until(self, what: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> Any:
        """The first true answer of `what`."""
        async with asyncio.timeout(seconds):
            while True:
                if self.agent is not None and self.agent.done():
                    await self.agent
                if result := await what():
                    return result
                await asyncio.sleep(0.05)

    async def until_phase(self, name: str, phase: str, seconds: float = 60.0) -> dict[str, Any]:
        async def reached() -> dict[str, Any] | None:
            vmi = await self.get(name)
            return vmi if vmi["status"].get("phase") == phase else None

        return await self.until(reached, seconds)

    async def until_gone(self, name: str, seconds: float = 60.0) -> None:
        async def gone() -> bool:
            try:
                await self.get(name)
            except NotFound:
                return True
            return False

        await self.until(gone, seconds)

    async def events(self) -> list[tuple[str, str]]:
        page = await self.admin.list(EVENTS, "default")
        return [(event["reason"], event["message"]) for event in map(json.loads, page.items)]


def manifest(name: str) -> dict[str, Any]:
    """A VMI as it is when the node agent is handed it: placed, phase Scheduled."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {labels.NODE_NAME: NODE},
            "finalizers": [labels.VMI_FINALIZER],
        },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "domain": {
                "firmware": {"uuid": str(uuid.uuid4())},
                "machine": {"type": "q35"},
                "memory": {"guest": "32Mi"},
                "resources": {"requests": {"memory": "32Mi"}},
                "cpu": {"cores": 1, "sockets": 1, "threads": 1, "model": "qemu64"},
                "devices": {
                    "disks": [{"name": "boot", "disk": {"bus": "virtio"}}],
                    "interfaces": [{"name": "default", "masquerade": {}}],
                },
            },
            "networks": [{"name": "default", "pod": {}}],
            "volumes": [{"name": "boot", "containerDisk": {"image": "kubevirt/boot-sector:v1"}}],
        },
        "status": {
            "phase": "Scheduled",
            "nodeName": NODE,
            "phaseTransitionTimestamps": [
                {"phase": "Scheduled", "phaseTransitionTimestamp": "2026-01-01T00:00:00Z"},
            ],
        },
    }


def options(home: Path) -> Options:
    """A node agent that lives below `home` and takes its images from the layout there."""
    return Options(
        node_name=NODE,
        state_dir=home / "state",
        run_dir=home / "run",
        libvirt_uri=URI,
        registry_mirrors={"docker.io": f"oci:{home / 'layout'}"},
        accelerator="qemu",
        network=NETWORK,
        bridge=BRIDGE,
    )


@contextlib.asynccontextmanager
async def opened(home: Path) -> AsyncIterator[Cluster]:
    """The cluster whose store lies in `home`; its agent has not been started."""
    store = await Store.open(home / "store.db")
    api = ApiServer(store, admission=None, subresources=None)
    await api.bootstrap(custom_resource_definitions())
    handler = UserInfo(labels.HANDLER_USER, (labels.SERVICE_ACCOUNTS_GROUP, f"system:node:{NODE}"))
    admin = UserInfo("virtctl-admin", ("system:masters",))
    cluster = Cluster(api, api.client(admin), Counting(api.client(handler)), options(home))
    try:
        yield cluster
    finally:
        await cluster.stop_agent()
        await api.stop()
        await store.close()


def sweep(connection: Any, state: Path) -> None:
    """End what a failed test left: only domains whose record lies in this test's state."""
    uids = {path.stem for path in (state / "node" / "records").glob("*.json")}
    for domain in connection.listAllDomains():
        with contextlib.suppress(libvirt.libvirtError):
            if any(uid in domain.XMLDesc() for uid in uids):
                if domain.isActive():
                    domain.destroy()
                domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
