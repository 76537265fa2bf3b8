"""`virtctl vnc`: a local port that is the guest's display, and a viewer connected to it."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from virtctl import reach, viewer, websocket
from virtctl.errors import ApiRefusal, CommandError, InputError
from virtctl.http import INSTANCES
from virtctl.options import Instance, client_of
from virtctl.waiting import get

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtctl.http import Client
    from virtctl.websocket import WebSocket

EXAMPLES = """
# Open the display of myvm in a viewer
virtctl vnc myvm

# Only forward it: prints {"port":N}; connect as often as you like, Ctrl+C ends it
virtctl vnc myvm --proxy-only --port 5900

# Take a picture
virtctl vnc screenshot myvm -f myvm.png
"""
WAIT_SECONDS = 300.0
ACCEPT_SECONDS = 60.0
TICK_SECONDS = 0.5
CHUNK = 64 << 10


def command(
    ctx: typer.Context,
    name: Instance,
    *,
    address: Annotated[
        str, typer.Option("--address", help="Address to listen on; with --proxy-only only.")
    ] = viewer.HOST,
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 is any free one.")] = 0,
    proxy_only: Annotated[bool, typer.Option("--proxy-only", help="Start no viewer; print the port as JSON.")] = False,
    preserve_session: Annotated[
        bool, typer.Option("--preserve-session", help="Fail when somebody is connected, instead of taking over.")
    ] = False,
    vnc_type: Annotated[
        str, typer.Option("--vnc-type", metavar="TYPE", help="Viewer: tiger, chicken, real or remote-viewer.")
    ] = "",
    vnc_path: Annotated[str, typer.Option("--vnc-path", metavar="PATH", help="Path of the viewer's program.")] = "",
) -> None:
    """Open a VNC connection to a virtual machine instance."""
    client = client_of(ctx)
    # Before the stream: a missing viewer must not throw out who is connected now.
    chosen = None if proxy_only else viewer.choose(vnc_type, vnc_path)
    listener = _listen(address if proxy_only else viewer.HOST, port)
    query = {"preserveSession": "true" if preserve_session else "false"}
    target = client.subresource(INSTANCES, name, "vnc", query=query)

    def connect() -> WebSocket:
        return reach.when_running(client, name, lambda: websocket.connect(client, target), WAIT_SECONDS)

    with listener:
        number = listener.getsockname()[1]
        if chosen is None:
            # Whoever asked for a port should learn at once that there is nothing behind it.
            _check_exists(client, name)
            print(json.dumps({"port": number}, separators=(",", ":")), flush=True)
            _serve_for_ever(listener, connect)
        else:
            stream = connect()
            _warn_when_paused(client, name)
            _view(listener, stream, chosen[0].argv(chosen[1], number, verbose=client.settings.verbosity >= 4))


def _check_exists(client: Client, name: str) -> None:
    try:
        client.request("GET", client.objects(INSTANCES, name))
    except ApiRefusal as error:
        raise error.prefixed(f"can't access VMI {name}: ") from error


def _listen(address: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError(f"can't listen on port {port}: it must be between 0 and 65535")
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise InputError(f"can't resolve the address: {address}: {error.strerror}") from error
    try:
        return socket.create_server((address, port), family=family)
    except OSError as error:
        raise InputError(f"can't listen on {address}:{port}: {error.strerror}") from error


def _serve_for_ever(listener: socket.socket, connect: Callable[[], WebSocket]) -> None:
    """One viewer after the other, each with a stream of its own; a viewer that goes may come back."""
    while True:
        local, _ = listener.accept()
        with local:
            try:
                stream = connect()
            except CommandError as error:
                print(f"can't access the display: {error.message}", file=sys.stderr, flush=True)
                continue
            splice(stream, local)
            if stream.closed and stream.closed.code != 1000:
                print(stream.closed.error().message, file=sys.stderr, flush=True)
            stream.close()


def _view(listener: socket.socket, stream: WebSocket, argv: list[str]) -> None:
    listener.settimeout(TICK_SECONDS)
    try:
        process = subprocess.Popen(argv, stdout=sys.stderr)
    except OSError as error:
        stream.close()
        raise InputError(f"{argv[0]} can't be run: {(error.strerror or str(error)).lower()}") from error
    try:
        local = _accept(listener, process)
        if local is not None:
            with local:
                splice(stream, local)
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        stream.close()
    if code:
        raise CommandError(
            f"the viewer {argv[0]} ended with exit code {code}",
            hint="What it said is above; --vnc-type chooses another.",
        )


def _accept(listener: socket.socket, process: subprocess.Popen[bytes]) -> socket.socket | None:
    """The viewer's connection; None when it ended without one."""
    for _ in range(int(ACCEPT_SECONDS / TICK_SECONDS)):
        try:
            return listener.accept()[0]
        except TimeoutError:
            if process.poll() is not None:
                return None
    raise CommandError(f"the viewer did not connect within {ACCEPT_SECONDS:.0f} seconds")


def splice(stream: WebSocket, local: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
    local.sendall(stream.receive())
    sides: list[WebSocket | socket.socket] = [stream, local]
    while stream.closed is None:
        ready = select.select(sides, [], [], TICK_SECONDS)[0]
        try:
            if stream in ready:
                local.sendall(stream.receive())
            if local in ready:
                data = local.recv(CHUNK)
                if not data:
                    return
                stream.send(data)
        except OSError:
            return
        stream.idle()


def _warn_when_paused(client: Client, name: str) -> None:
    conditions = ((get(client, INSTANCES, name) or {}).get("status") or {}).get("conditions") or []
    if any(c.get("type") == "Paused" and c.get("status") == "True" for c in conditions):
        print(f"Warning: {name} is paused. Console will be active after unpause.", file=sys.stderr)
