"""A cluster in one process that dies, as by kill -9, at one chosen moment of a guest's life.

`python doomed_agent.py HOME POINT`: creates the VMI `doomed` in the store of HOME, or deletes it when it runs already.
Started by test_node_killed.py.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from node_cluster import opened

from virt_handler.agent import Agent
from virt_handler.launch import Launcher
from virt_handler.libvirt_host import LibvirtHost
from virt_handler.records import Records
from virt_kube.api import NotFound

DEAD = 137


def dying(function: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """The async function, and then (or instead) the end of this process."""

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not before:
            await function(*args, **kwargs)
        os._exit(DEAD)

    return wrapper


def forgetful(put: Callable[..., None], stage: str) -> Callable[..., None]:
    """Records._put that dies once a record of `stage` is on disk."""

    def wrapper(self: Records, record: Any) -> None:
        put(self, record)
        if record.stage == stage or (stage == "ended" and record.end is not None):
            os._exit(DEAD)

    return wrapper


def async_point(owner: type, name: str, *, before: bool) -> None:
    setattr(owner, name, dying(getattr(owner, name), before=before))


POINTS: dict[str, Callable[[], None]] = {
    "record of preparing written": lambda: setattr(Records, "_put", forgetful(Records._put, "preparing")),
    "volumes prepared": lambda: async_point(Launcher, "prepare", before=False),
    "record of starting written": lambda: setattr(Records, "_put", forgetful(Records._put, "starting")),
    "QEMU started, not recorded": lambda: async_point(LibvirtHost, "launch", before=False),
    "start recorded, not told": lambda: setattr(Records, "_put", forgetful(Records._put, "started")),
    "running told": lambda: async_point(Agent, "_publish_running", before=False),
    "shutdown clock written": lambda: async_point(Agent, "_begin_shutdown", before=False),
    "guest destroyed": lambda: async_point(LibvirtHost, "destroy", before=False),
    "end recorded": lambda: setattr(Records, "_put", forgetful(Records._put, "ended")),
    "domain undefined": lambda: async_point(LibvirtHost, "undefine", before=False),
    "files removed": lambda: async_point(Launcher, "clean_up", before=False),
    "end told, record left": lambda: setattr(Records, "remove", lambda *_: os._exit(DEAD)),
}
STARTING = tuple(POINTS)[:6]
STOPPING = tuple(POINTS)[6:]


async def main(home: Path, point: str) -> None:
    async with opened(home) as cluster:
        POINTS[point]()
        try:
            await cluster.get("doomed")
        except NotFound:
            await cluster.create("doomed")
        else:
            await cluster.delete("doomed")
        cluster.start_agent()
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
