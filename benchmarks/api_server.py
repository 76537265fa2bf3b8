"""The API server beside a real one in the same run, where there is one, and among 10,000 VMIs and 2,000 watches.

    python -m benchmarks.api_server [--rounds N] [--vmis N] [--watches N]

Set KUBEBUILDER_ASSETS to a folder with `etcd` and `kube-apiserver` (as envtest has them) for the peer's figures.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import api_types, measure
from benchmarks.api_peers import ASSETS, Serve, Server, ours, peer, peer_here
from benchmarks.api_wire import Wire
from benchmarks.measure import Amount, Ratio
from virt_types.crds import custom_resource_definitions

VMIS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITION = "virtualmachineinstances.kubevirt.io"
LISTED = 1_000
REQUESTS = 400  # of each kind in a round
SETTLE = 2.0  # seconds of quiet before memory is looked at
SILENT = 50  # watchers that never read
FLOOD = 4_000  # changes they do not read


class Figures(NamedTuple):
    """Of one server, as it is asked. Seconds and bytes."""

    start: float
    idle: float
    get: float
    patch: float
    list: float
    delivery: float


LIMITS = Figures(start=0.25, idle=0.25, get=1.0, patch=1.0, list=1.5, delivery=1.0)
NAMES = {
    "start": "API server, start to ready",
    "idle": "API server, idle, resident",
    "get": "GET one VMI of 6 KiB",
    "patch": "guarded PATCH of one VMI",
    "list": f"LIST of {LISTED:,} VMIs",
    "delivery": "watch delivery, p99 from the PATCH sent to the event read",
}
# What ours may take where no peer is here to be compared with, in the units of `_alone`.
ALONE = Figures(start=1_000, idle=110, get=1_500, patch=10, list=150, delivery=50)


def instance(name: str) -> dict[str, Any]:
    obj: dict[str, Any] = json.loads(api_types.instance())
    obj["metadata"]["name"] = name
    return obj


def define(wire: Wire) -> None:
    """The VMI's definition, where the server does not come with it."""
    found = json.loads(wire("GET", DEFINITIONS))["items"]
    if DEFINITION not in {each["metadata"]["name"] for each in found}:
        wire("POST", DEFINITIONS, next(d for d in custom_resource_definitions() if d["metadata"]["name"] == DEFINITION))
        time.sleep(5)


def fill(wire: Wire, first: int, last: int) -> None:
    for number in range(first, last):
        wire("POST", VMIS, instance(f"vmi-{number}"))


def touch(value: int) -> list[dict[str, Any]]:
    """A guarded change of one annotation."""
    test = {"op": "test", "path": "/metadata/labels/example.org~1label0", "value": "value0"}
    return [test, {"op": "add", "path": "/metadata/annotations/bench", "value": str(value)}]


def median_of(action: Callable[[], Any], times: int) -> float:
    gc.disable()
    try:
        return statistics.median(measure.seconds(action) for _ in range(times))
    finally:
        gc.enable()


class Rounds:
    """What one running server is measured by, a round at a time, so that two can take turns on a busy machine."""

    def __init__(self, server: Server) -> None:
        time.sleep(SETTLE)
        self._idle = server.resident()
        self._server = server
        self._wire = Wire(server.access)
        self._numbers = iter(range(10**9))
        self._gets: list[float] = []
        self._patches: list[float] = []
        self._lists: list[float] = []
        self._deliveries: list[float] = []
        define(self._wire)
        fill(self._wire, 0, LISTED)

    def play(self) -> None:
        name = f"{VMIS}/vmi-7"
        self._gets.append(median_of(lambda: self._wire("GET", name), REQUESTS))
        self._patches.append(median_of(lambda: self._wire.patch(name, touch(next(self._numbers))), REQUESTS))
        self._lists.append(median_of(lambda: self._wire("GET", VMIS), 9))
        self._deliveries += deliveries(self._server, self._wire, self._numbers, REQUESTS)

    def figures(self, started: float) -> Figures:
        self._wire.close()
        middle = statistics.median
        asked = middle(self._gets), middle(self._patches), middle(self._lists)
        return Figures(started, self._idle, *asked, _p99(self._deliveries))


def deliveries(server: Server, wire: Wire, numbers: Iterator[int], times: int) -> list[float]:
    """The seconds between a PATCH leaving and its event being read by somebody else."""
    version = json.loads(wire("GET", f"{VMIS}/vmi-7"))["metadata"]["resourceVersion"]
    came: list[float] = []
    enough = threading.Event()

    def read() -> None:
        for moment, _ in Wire(server.access).lines(f"{VMIS}?watch=1&resourceVersion={version}&timeoutSeconds=600"):
            came.append(moment)
            if len(came) == times:
                enough.set()
                return

    threading.Thread(target=read, daemon=True).start()
    time.sleep(0.3)
    sent = []
    for _ in range(times):
        sent.append(time.monotonic())
        wire.patch(f"{VMIS}/vmi-7", touch(next(numbers)))
        time.sleep(0.001)
    if not enough.wait(60):
        raise SystemExit(f"{len(came)} of {times} events came")
    return [end - begin for begin, end in zip(sent, came, strict=True)]


def compared(scratch: Path, rounds: int) -> list[Ratio | Amount]:
    if not peer_here():
        print(f"peer not here: set {ASSETS} to a folder with etcd and kube-apiserver for ratios\n", file=sys.stderr)
        (mine,) = in_turn([ours], scratch, rounds)
        floor = Amount("the disk's own fdatasync of 8 KiB, median", disk(scratch) * 1e3, "ms", math.inf)
        return [floor, *(_alone(field, getattr(mine, field)) for field in Figures._fields)]
    mine, other = in_turn([ours, peer], scratch, rounds)
    return [
        Ratio(
            f"{NAMES[field]}, over kube-apiserver",
            getattr(mine, field),
            getattr(other, field),
            getattr(LIMITS, field),
            "B" if field == "idle" else "s",
        )
        for field in Figures._fields
    ]


def in_turn(serves: Sequence[Serve], scratch: Path, rounds: int) -> list[Figures]:
    """The figures of each, asked in turn while all run. Each start is of an empty store, the first one to warm up."""
    starts: list[list[float]] = [[] for _ in serves]
    for number in range(rounds + 1):
        for serve, found in zip(serves, starts, strict=True):
            with serve(scratch / f"{serve.__name__}-{number}") as server:
                found.append(server.started)
    with contextlib.ExitStack() as running:
        players = [Rounds(running.enter_context(serve(scratch / serve.__name__))) for serve in serves]
        for _ in range(rounds):
            for player in players:
                player.play()
        return [player.figures(statistics.median(found[1:])) for player, found in zip(players, starts, strict=True)]


def disk(scratch: Path) -> float:
    """What the disk itself takes to keep 8 KiB, in seconds: a write can't be acknowledged sooner."""
    with (scratch / "disk").open("wb", buffering=0) as file:

        def keep() -> None:
            file.write(bytes(8192))
            os.fdatasync(file.fileno())

        return median_of(keep, 100)


def _alone(field: str, value: float) -> Amount:
    unit, factor = {"idle": ("MiB", 2**-20), "get": ("µs", 1e6)}.get(field, ("ms", 1e3))
    return Amount(f"{NAMES[field]} (peer not here)", value * factor, unit, getattr(ALONE, field))


def burdened(scratch: Path, vmis: int, watches: int) -> list[Amount]:
    """Memory of objects and watches, and writers beside 2,000 watchers and beside watchers that do not read."""
    with ours(scratch / "burdened") as server:
        wire = Wire(server.access)
        define(wire)
        numbers = iter(range(10**9))
        time.sleep(SETTLE)
        before = server.resident()
        began = time.monotonic()
        fill(wire, 0, vmis)
        rate = vmis / (time.monotonic() - began)
        time.sleep(SETTLE)
        per_object = (server.resident() - before) / vmis

        def write() -> Any:
            return wire.patch(f"{VMIS}/vmi-1", touch(next(numbers)))

        quiet = [measure.seconds(write) for _ in range(200)]
        before = server.resident()
        with watching(server, watches) as spread:
            time.sleep(SETTLE)
            per_watch = (server.resident() - before) / watches
            all_of_them = [spread(write) for _ in range(20)]
            among = [_paced(write) for _ in range(50)]
        time.sleep(SETTLE)
        before = server.resident()
        with silent(server, SILENT):
            flooded = [measure.seconds(write) for _ in range(FLOOD)]
            grown = server.resident() - before
        wire.close()
    return [
        Amount(f"{vmis:,} VMIs of 6 KiB, each adds", per_object / 1024, "KiB", 12),
        Amount("creating them, one after the other", rate, "a second", math.inf),
        Amount(f"{watches:,} watches over TLS, each adds", per_watch / 1024, "KiB", 64),
        Amount(f"guarded PATCH among {vmis:,} VMIs, median", statistics.median(quiet) * 1e3, "ms", 10),
        Amount(f"guarded PATCH beside {watches:,} watches, median", statistics.median(among) * 1e3, "ms", 100),
        Amount(f"one change to all {watches:,} watches, median", statistics.median(all_of_them) * 1e3, "ms", 500),
        Amount(f"guarded PATCH beside {SILENT} watchers that do not read, p99", _p99(flooded) * 1e3, "ms", 50),
        Amount(f"those watchers, after {FLOOD:,} changes, hold", grown / 2**20, "MiB", 128),
    ]


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _paced(write: Callable[[], Any]) -> float:
    """A write, then time for its event to reach everybody: one writer's wait, not the backlog of the fan-out."""
    took = measure.seconds(write)
    time.sleep(0.2)
    return took


@contextlib.contextmanager
def watching(server: Server, count: int) -> Iterator[Callable[[Callable[[], Any]], float]]:
    """`count` watches from a process of their own; yields a function that times a write until all have its event."""
    access = server.access
    version = json.loads(Wire(access)("GET", f"{VMIS}?limit=1"))["metadata"]["resourceVersion"]
    path = f"{VMIS}?watch=1&resourceVersion={version}&timeoutSeconds=3000"
    command = [
        sys.executable,
        "-m",
        "benchmarks.api_watchers",
        access.url,
        str(access.ca),
        access.token,
        path,
        str(count),
    ]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=measure.environment()
    )
    assert child.stdin is not None
    assert child.stdout is not None
    if child.stdout.readline() != "ready\n":
        raise SystemExit("the watchers did not get their watches")
    events = 0

    def spread(write: Callable[[], Any]) -> float:
        nonlocal events
        events += count
        print(events, file=child.stdin, flush=True)
        begin = time.monotonic()
        write()
        return float(child.stdout.readline()) - begin  # type: ignore[union-attr]

    try:
        yield spread
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def silent(server: Server, count: int) -> Iterator[None]:
    """Watches whose client never reads a byte."""
    wires = [Wire(server.access) for _ in range(count)]
    for wire in wires:
        wire._socket.sendall(server.access.head("GET", f"{VMIS}?watch=1&resourceVersion=0", "", 0))
    time.sleep(1)
    try:
        yield
    finally:
        for wire in wires:
            wire.close()


def results(rounds: int = 3, vmis: int = 10_000, watches: int = 2_000) -> list[Ratio | Amount]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        return [*compared(Path(scratch), rounds), *burdened(Path(scratch), vmis, watches)]


def main() -> int:
    from benchmarks.__main__ import table

    parser = argparse.ArgumentParser(description="Measure the API server.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vmis", type=int, default=10_000)
    parser.add_argument("--watches", type=int, default=2_000)
    options = parser.parse_args()
    found = results(options.rounds, options.vmis, options.watches)
    print(table(found))
    return 0 if all(result.met for result in found) else 1


if __name__ == "__main__":
    sys.exit(main())
