"""What making a domain costs: a typed, completed VMI to XML text, and whether many of them leave anything behind.

KubeVirt's Go converter with its marshaller takes about 85 µs for the first and 155 µs for the second of these guests.
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

from benchmarks.measure import Amount, resident_bytes
from virt_handler.domain import preview, render
from virt_handler.instances import instance_of
from virt_handler.model import Guest
from virt_types import manifest

HERE = Path(__file__).resolve().parents[1]
CIRROS = HERE / "examples" / "vm-cirros.yaml"
WINDOWS = HERE / "tests" / "unit" / "domain" / "golden" / "windows.yaml"
MANY = 1000
BATCH = 50


def domain_cost(rounds: int) -> list[Amount]:
    """Microseconds per domain, the best of `rounds` batches: what else runs here only ever adds to it."""
    return [
        Amount("Cirros-like VMI to domain XML", _microseconds(_guest(CIRROS), rounds), "µs", 350),
        Amount("Windows-like VMI to domain XML", _microseconds(_guest(WINDOWS), rounds), "µs", 700),
        Amount(f"{MANY} different VMIs to domain XML leave behind", _growth() / 2**20, "MiB", 1),
    ]


def _guest(path: Path, name: str = "") -> Guest:
    document = manifest.load(path.read_bytes(), path.name)[0]
    if name:
        document.obj["metadata"]["name"] = name
    return preview(instance_of(document.obj))


def _microseconds(guest: Guest, rounds: int) -> float:
    render(guest)  # compiles the template
    return min(_batch(guest) for _ in range(rounds)) * 1e6


def _batch(guest: Guest) -> float:
    begin = time.perf_counter()
    for _ in range(BATCH):
        render(guest)
    return (time.perf_counter() - begin) / BATCH


def _growth() -> int:
    """Bytes by which this process grew over so many machines, each of another name and identity."""
    _make(MANY, "warm")  # the allocator's own reserves
    before = resident_bytes(os.getpid())
    _make(MANY, "many")
    return resident_bytes(os.getpid()) - before


def _make(count: int, prefix: str) -> None:
    for number in range(count):
        render(_guest(CIRROS, f"{prefix}-{number}"))
    gc.collect()
