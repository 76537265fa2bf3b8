"""A Kubernetes API on loopback that answers what a test tells it to and remembers every request."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """One request as it came in."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, Any]
Route = Answer | Callable[["Handler"], None]


def status(code: int, reason: str, message: str, **details: Any) -> Answer:
    """A Status object as an API server sends it."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return code, {**body, "message": message, "reason": reason, "details": details, "code": code}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeServer
    body: bytes

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        api = self.server.api
        headers = {name.lower(): value for name, value in self.headers.items()}
        api.seen.append(Seen(self.command, self.path, self.body, headers))
        path = self.path.partition("?")[0]
        routes = api.routes.get((self.command, self.path)) or api.routes.get((self.command, path))
        if not routes:
            name = path.rpartition("/")[2]
            self.answer(
                *status(404, "NotFound", f'virtualmachines.kubevirt.io "{name}" not found', kind="virtualmachines")
            )
            return
        route = routes.pop(0) if len(routes) > 1 else routes[0]
        if callable(route):
            route(self)
        else:
            self.answer(*route)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def answer(self, code: int, body: Any = None) -> None:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def watch(self, *events: dict[str, Any]) -> None:
        """Answer a watch with these events, chunked, then end it."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def upgrade(self) -> Stream:
        """Accept a websocket; the route's function talks on it and the connection ends with it."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Protocol", self.headers["Sec-WebSocket-Protocol"])
        self.send_header(
            "Sec-WebSocket-Accept",
            base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode(),
        )
        self.end_headers()
        self.close_connection = True
        return Stream(self)

    def log_message(self, *args: Any) -> None:
        pass


class Stream:
    """The server's side of a websocket."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def send(self, data: bytes, opcode: int = 2, *, final: bool = True) -> None:
        size = bytes([len(data)]) if len(data) < 126 else b"\x7f" + len(data).to_bytes(8, "big")
        self._handler.wfile.write(bytes([(0x80 if final else 0) | opcode]) + size + data)
        self._handler.wfile.flush()

    def receive(self) -> tuple[int, bytes]:
        """The next frame, (opcode, payload); (8, b"") when the client dropped the connection."""
        read = self._handler.rfile.read
        head = read(2)
        if len(head) < 2:
            return 8, b""
        assert head[1] & 0x80, "clients must mask"
        size = head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(read(2 if size == 126 else 8), "big")
        key, payload = read(4), read(size)
        return head[0] & 0x0F, bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))

    def until(self, wanted: bytes) -> bytes:
        """Everything the client sends up to `wanted` (or its end)."""
        got = b""
        while wanted not in got:
            opcode, payload = self.receive()
            if opcode == 8:
                break
            got += payload if opcode == 2 else b""
        return got

    def close(self, code: int, reason: str = "") -> None:
        self.send(code.to_bytes(2, "big") + reason.encode(), 8)


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True
    api: FakeApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients hang up whenever they like


class FakeApi:
    """`routes[method, path]` is a list of answers, used up one by one; the last one stays."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.routes: dict[tuple[str, str], list[Route]] = {}
        self.seen: list[Seen] = []
        self._server = FakeServer(("127.0.0.1", 0), Handler)
        self._server.api = self
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def on(self, method: str, path: str, *answers: Route) -> None:
        self.routes[method, path] = list(answers)

    @property
    def requests(self) -> list[tuple[str, str]]:
        return [(seen.method, seen.path) for seen in self.seen]

    def write_kubeconfig(
        self, path: Path, *, namespace: str = "", user: dict[str, Any] | None = None, **cluster: Any
    ) -> Path:
        """A kubeconfig, written as JSON, whose only context points here."""
        context = {"cluster": "fake", "user": "me", **({"namespace": namespace} if namespace else {})}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url, **cluster}}],
            "users": [{"name": "me", "user": user or {}}],
            "contexts": [{"name": "fake", "context": context}],
        }
        path.write_text(json.dumps(document))
        return path

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
