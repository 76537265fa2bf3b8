"""kill -9 at random moments of starts, stops, restarts and deletes: nothing is lost, nothing runs twice.

The seed fixes what is done; when exactly the kill hits is up to the machine. Longer runs find more:
SOAK_SECONDS=1200 SOAK_SEED=7 pytest tests/node/test_node_soak.py -o timeout=0
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import libvirt
import pytest
from support.local_cluster import LocalCluster, eventually

from virt_local.register import start_time

pytestmark = [pytest.mark.libvirt, pytest.mark.kubectl, pytest.mark.slow]

SECONDS = float(os.environ.get("SOAK_SECONDS", "45"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
PARTS = ("api", "subresources", "controllers", "node", "proxy", "storage")
MACHINES = {"always": {"running": True}, "manual": {"runStrategy": "Manual"}, "mortal": {"running": True}}
# What may be asked of a machine that runs, and of one that does not.
WHILE_UP = ("stop", "force-stop", "restart", "delete", "nothing")
WHILE_DOWN = ("start", "delete", "nothing")
LONGEST_PAUSE = 1.5
# Seconds a command takes, about: kills within them meet it on its way.
COMMAND = 0.4


class Qemu(NamedTuple):
    pid: int
    started: int


class Sentry(threading.Thread):
    """Looks at the process table all the time: a second QEMU of one machine must not exist for a moment."""

    def __init__(self, namespace: str) -> None:
        super().__init__(daemon=True)
        self._pattern = re.compile(rf"guest={namespace}_([a-z0-9-]+)".encode())
        self.doubles: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            counted = Counter(name for name, _ in self.look())
            self.doubles += [name for name, count in counted.items() if count > 1]

    def look(self) -> list[tuple[str, Qemu]]:
        """Every QEMU of the namespace: machine and process. A fork before its exec is no guest of its own."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            match = self._pattern.search(b" ".join(words)) if b"qemu-system" in words[0] else None
            started = start_time(int(entry.name)) if match else None
            if match and started is not None and not _child_of_same(entry, words):
                found.append((match[1].decode(), Qemu(int(entry.name), started)))
        return found


def _child_of_same(entry: Path, words: list[bytes]) -> bool:
    try:
        parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        return Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0") == words
    except OSError:
        return False


class World:
    """The cluster, its three machines, and what has been asked of them."""

    def __init__(self, root: Path, *, apart: bool) -> None:
        self.cluster = LocalCluster(root, node_name="soak-node")
        self.namespace = f"soak-{uuid.uuid4().hex[:6]}"
        self.apart = apart
        self.sentry = Sentry(self.namespace)
        self.random = random.Random(SEED)  # noqa: S311  a game, no secret
        self.story: list[str] = []

    def up(self) -> None:
        for part in PARTS if self.apart else ("",):
            self.cluster.up(part)

    def open(self) -> None:
        self.up()
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        for name in MACHINES:
            self.create(name)
        self.sentry.start()
        eventually(lambda: self.status("always") == self.status("mortal") == "Running", 60)

    def close(self) -> None:
        self.sentry.ended.set()
        self.cluster.down()
        connection = libvirt.open("qemu:///system" if os.geteuid() == 0 else "qemu:///session")
        for domain in connection.listAllDomains():
            if domain.name().startswith(f"{self.namespace}_"):
                if domain.isActive():
                    domain.destroy()
                domain.undefine()
        connection.close()

    def create(self, name: str) -> None:
        spec = {
            "terminationGracePeriodSeconds": 1,
            "domain": {
                "memory": {"guest": "32Mi"},
                "devices": {"disks": [{"name": "disk", "disk": {"bus": "virtio"}}]},
            },
            "volumes": [{"name": "disk", "emptyDisk": {"capacity": "16Mi"}}],
        }
        self.cluster.apply(
            {
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachine",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {**MACHINES[name], "template": {"spec": spec}},
            }
        )

    def get(self, kind: str, name: str) -> Any:
        """The object; None when there is none."""
        items = self.cluster.get(kind, "-n", self.namespace)["items"]
        return next((item for item in items if item["metadata"]["name"] == name), None)

    def status(self, name: str) -> str:
        vm = self.get("vm", name)
        return str(vm["status"].get("printableStatus")) if vm else ""

    def qemus(self) -> dict[str, Qemu]:
        return dict(self.sentry.look())

    def ask(self, name: str, what: str) -> subprocess.Popen[str]:
        """Begin the command as a user does."""
        arguments = {
            "start": ["start", name],
            "stop": ["stop", name],
            "force-stop": ["stop", name, "--force", "--grace-period", "0"],
            "restart": ["restart", name],
            "delete": ["delete", "vm", name],
            "nothing": ["version"],
        }[what]
        command = [sys.executable, "-m", "virtctl", *arguments, "-n", self.namespace]
        return subprocess.Popen(
            command, env=self.cluster.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def victims(self) -> dict[str, int]:
        """The supervisor, or some of the components that run apart: known before, so that the kill comes at once."""
        pids = self.cluster.pids()
        parts = self.random.sample(PARTS, self.random.randint(1, 3)) if self.apart else ["api"]
        return {part: pids[part] for part in parts}

    def kill(self, victims: dict[str, int]) -> None:
        for pid in victims.values():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: all(start_time(pid) is None for pid in victims.values()), 10)

    def round(self) -> None:
        """One wish, one kill, and everything is as it should be again."""
        name = self.random.choice(tuple(MACHINES))
        before = {each: self.get("vmi", each) for each in MACHINES}
        guests = self.qemus()
        what = self.random.choice(WHILE_UP if name in guests else WHILE_DOWN)
        acknowledged = self.random.random() < 0.7
        pause = self.random.random() ** 2 * LONGEST_PAUSE if acknowledged else self.random.random() * COMMAND
        victims = self.victims()
        self.story.append(f"{what} {name}, after {pause:.2f} s kill {' '.join(victims)}")
        asking = self.ask(name, what)
        if acknowledged:
            output, _ = asking.communicate(timeout=60)
            assert asking.returncode == 0, output
        time.sleep(pause)
        self.kill(victims)
        others = {each: guest for each, guest in guests.items() if each != name or what == "nothing"}
        assert others.items() <= self.qemus().items(), (others, self.qemus())
        self.up()
        done = acknowledged or self.answered(asking)
        self.story[-1] += "" if done else " (not acknowledged)"
        self.check(name, what, done, others, before)

    def answered(self, asking: subprocess.Popen[str]) -> bool:
        asking.communicate(timeout=60)
        return asking.returncode == 0

    def check(self, name: str, what: str, done: bool, others: dict[str, Qemu], before: dict[str, Any]) -> None:
        eventually(lambda: all(self.runs(each, others[each], before[each]) for each in others), 20, 0.3)
        wanted = self.wanted(name, what, done, before[name])
        eventually(lambda: self.settled(name, wanted), 60, 0.3)
        if what == "restart" and done:
            assert self.get("vmi", name)["metadata"]["uid"] != before[name]["metadata"]["uid"]
        assert others.items() <= self.qemus().items()
        assert not self.sentry.doubles, self.sentry.doubles
        if wanted == "absent":
            self.create(name)
            running = bool(MACHINES[name].get("running"))
            eventually(lambda: self.settled(name, "Running" if running else "Stopped"), 60, 0.3)

    def runs(self, name: str, guest: Qemu, before: Any) -> bool:
        """Whether an untouched machine is told as it is: the same VMI, Running, in the same QEMU."""
        vmi = self.get("vmi", name)
        assert vmi, f"the VMI of {name} is lost"
        assert vmi["metadata"]["uid"] == before["metadata"]["uid"], f"{name} was started anew"
        assert self.qemus().get(name) == guest, f"{name} runs in another QEMU"
        return vmi["status"]["phase"] == "Running" and self.status(name) == "Running"

    def wanted(self, name: str, what: str, done: bool, before: Any) -> str:
        """How the machine must come to be; "" when the command may have been done or not."""
        if what == "nothing":
            return "Running" if before else "Stopped"
        if not done:
            return ""
        return {"delete": "absent", "start": "Running", "restart": "Running"}.get(what, "Stopped")

    def settled(self, name: str, wanted: str) -> bool:
        """Whether VM, VMI and QEMU say the same, and it is what was wanted."""
        vm, vmi, guest = self.get("vm", name), self.get("vmi", name), self.qemus().get(name)
        if vm is None:
            return wanted in {"absent", ""} and vmi is None and guest is None and self.recreated(name, wanted)
        status = vm["status"].get("printableStatus")
        if wanted not in {status, ""} or vm["metadata"].get("deletionTimestamp"):
            return False
        if status == "Running":
            return vmi is not None and vmi["status"]["phase"] == "Running" and guest is not None
        return status == "Stopped" and vmi is None and guest is None

    def recreated(self, name: str, wanted: str) -> bool:
        """A deletion nobody heard acknowledged: the machine comes back for the next round."""
        if not wanted:
            self.create(name)
        return wanted == "absent"


@pytest.fixture(params=[False, True], ids=["one process", "each apart"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="vs") as root:
        Path(root).chmod(0o711)  # QEMU's user passes through
        world = World(Path(root), apart=request.param)
        try:
            world.open()
            yield world
        finally:
            world.close()


def test_kills_at_random_moments_lose_and_double_nothing(world: World) -> None:
    ends = time.monotonic() + SECONDS
    try:
        while time.monotonic() < ends:
            world.round()
    except BaseException:
        sys.stderr.write("\n".join((f"seed {SEED}", *world.story, world.cluster.log()[-6000:])))
        raise
    sys.stdout.write(f"{len(world.story)} rounds\n" + "\n".join(world.story))
    # A machine's end leaves nothing behind: as many records as guests.
    records = len(list((world.cluster.state / "node" / "records").glob("*.json")))
    assert records == len(world.qemus()) == len(list((world.cluster.state / "node" / "vmis").iterdir()))
    assert len(world.story) > 1
