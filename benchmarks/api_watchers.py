"""Many watches from one process, for `api_server.py`: it counts events and says when there have been enough.

    python -m benchmarks.api_watchers URL CA TOKEN PATH COUNT

Prints `ready` when every watch has had its first bytes. Then, for each number on its input, the moment
(CLOCK_MONOTONIC) at which that many events had come in all.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from benchmarks.api_wire import Access

AT_ONCE = 50  # connections being made


class Watcher(asyncio.Protocol):
    def __init__(self, all_of_them: Watchers) -> None:
        self._all = all_of_them
        self.answered = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._all.request)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        if not self.answered.done():
            self.answered.set_result(data.startswith(b"HTTP/1.1 200"))
        self._all.came(data.count(b'{"type":"'))


class Watchers:
    def __init__(self, access: Access, path: str) -> None:
        self.request = access.head("GET", path, "", 0)
        self._access = access
        self.count = 0
        self.wanted = sys.maxsize

    def came(self, events: int) -> None:
        self.count += events
        if self.count >= self.wanted:
            print(time.monotonic(), flush=True)
            self.wanted = sys.maxsize

    async def open(self, count: int) -> None:
        loop, address = asyncio.get_running_loop(), urlsplit(self._access.url)
        context, room = self._access.context(), asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with room:
                _, watcher = await loop.create_connection(
                    lambda: Watcher(self),
                    address.hostname or "",
                    address.port or 443,
                    ssl=context,
                    server_hostname="localhost",
                )
                if not await watcher.answered:
                    raise SystemExit("a watch was refused")

        await asyncio.gather(*(one() for _ in range(count)))


async def main(url: str, ca: str, token: str, path: str, count: str) -> None:
    watchers = Watchers(Access(url, Path(ca), token), path)
    await watchers.open(int(count))
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        watchers.wanted = int(line)
        watchers.came(0)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(*sys.argv[1:]))
