"""An API server for tests: what speaks to it in the test's own loop, one as a process, and kubectl beside it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from virt_local.apiserver.server import ApiServer
from virt_local.store import Store

READY_WITHIN = 30  # seconds


class Reply(NamedTuple):
    code: int
    body: Any
    headers: Any

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def rv(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])


class Api:
    """Requests as an administrator, unless a token says otherwise."""

    def __init__(self, base: str, client: aiohttp.ClientSession, server: ApiServer, store: Store) -> None:
        self.base = base
        self.client = client
        self.server = server
        self.store = store

    async def __call__(
        self, method: str, path: str, body: Any = None, *, content: str = "application/json", **headers: str
    ) -> Reply:
        sent = {"Authorization": "Bearer admin-token", "Content-Type": content}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        data = None if text is None else io.BytesIO(text.encode())
        async with self.client.request(method, self.base + path, data=data, headers=sent) as answer:
            is_json = "json" in answer.headers.get("Content-Type", "")
            found = await answer.json(content_type=None) if is_json else await answer.text()
            return Reply(answer.status, found, answer.headers)

    async def merge(self, path: str, patch: Any) -> Reply:
        return await self("PATCH", path, patch, content="application/merge-patch+json")

    @contextlib.asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[asyncio.Queue[Any]]:
        """The events of a stream, as they come; None when it ended."""
        events: asyncio.Queue[Any] = asyncio.Queue()

        async def read() -> None:
            async with self.client.get(self.base + path, headers={"Authorization": "Bearer admin-token"}) as answer:
                async for line in answer.content:
                    events.put_nowait(json.loads(line))
            events.put_nowait(None)

        task = asyncio.create_task(read())
        try:
            yield events
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Served(NamedTuple):
    """An API server process."""

    url: str
    folder: Path
    pid: int


@contextlib.contextmanager
def serve(folder: Path, *arguments: str) -> Iterator[Served]:
    """Runs `python -m virt_local.apiserver` on a free port until the block ends."""
    command = [sys.executable, "-m", "virt_local.apiserver", "--listen", "127.0.0.1:0", "--data-dir", str(folder)]
    log = (folder.parent / "apiserver.log").open("a")
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[:1] == ["ready"], (folder.parent / "apiserver.log").read_text()
        yield Served(words[1], folder, process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait(READY_WITHIN)
        process.stdout.close()
        log.close()


def find_kubectl() -> str | None:
    """A real kubectl of 1.32 or newer: by its own name, beside the `kubectl` on PATH, or that one itself."""
    found = shutil.which("kubectl")
    beside = Path(os.path.realpath(found)).parent / "kubectl.1.32" if found else None
    for candidate in (shutil.which("kubectl.1.32"), str(beside) if beside and beside.exists() else None, found):
        if candidate and _is_recent(candidate):
            return candidate
    return None


def _is_recent(program: str) -> bool:
    answer = subprocess.run([program, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    try:
        version = json.loads(answer.stdout)["clientVersion"]
    except (ValueError, KeyError):
        return False
    return (int(version["major"]), int(version["minor"].rstrip("+"))) >= (1, 32)


class Kubectl:
    def __init__(self, program: str, kubeconfig: Path, home: Path) -> None:
        self._program = program
        self._environment = {
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(home),
            "PATH": os.environ["PATH"],
        }

    def run(
        self, *arguments: str, stdin: str | None = None, ok: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            [self._program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self._environment | environment,
        )
        if ok:
            assert answer.returncode == 0, f"kubectl {' '.join(arguments)}: {answer.stderr}"
        return answer

    def __call__(self, *arguments: str, stdin: str | None = None, **environment: str) -> str:
        return self.run(*arguments, stdin=stdin, **environment).stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=self._environment,
        )  # fmt: skip
