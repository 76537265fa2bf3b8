"""A Kubernetes client that costs next to nothing, so that the server is what is measured: one TLS connection."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Access(NamedTuple):
    """How a server is reached. `token` is empty where a certificate (PEM, key included) speaks."""

    url: str
    ca: Path
    token: str = ""
    certificate: Path | None = None

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.ca)
        if self.certificate:
            context.load_cert_chain(self.certificate)
        return context

    def head(self, method: str, path: str, content: str, length: int) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "User-Agent: bench", "Accept: application/json"]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        if content:
            lines += [f"Content-Type: {content}", f"Content-Length: {length}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Wire:
    """Requests one after the other on one connection."""

    def __init__(self, access: Access) -> None:
        address = urlsplit(access.url)
        raw = socket.create_connection((address.hostname, address.port), timeout=60)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._access = access
        self._socket = access.context().wrap_socket(raw)
        self._file = self._socket.makefile("rb", buffering=1 << 18)

    def __call__(self, method: str, path: str, body: Any = None, content: str = "application/json") -> bytes:
        """The body of the answer; an answer that is no success ends the benchmark."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self._socket.sendall(self._access.head(method, path, content if data else "", len(data)) + data)
        code, found = self._answer()
        if code >= 300:
            raise SystemExit(f"{method} {path}: {code} {found[:300].decode(errors='replace')}")
        return found

    def patch(self, path: str, operations: list[dict[str, Any]]) -> bytes:
        return self("PATCH", path, operations, "application/json-patch+json")

    def lines(self, path: str) -> Iterator[tuple[float, bytes]]:
        """The lines of a watch, each with the moment it came (CLOCK_MONOTONIC)."""
        self._socket.sendall(self._access.head("GET", path, "", 0))
        self._headers()
        rest = b""
        while True:
            size = int(self._file.readline(), 16)
            if not size:
                return
            *whole, rest = (rest + self._file.read(size)).split(b"\n")
            self._file.readline()
            moment = time.monotonic()
            yield from ((moment, line) for line in whole)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _answer(self) -> tuple[int, bytes]:
        code, headers = self._headers()
        if "content-length" in headers:
            return code, self._file.read(int(headers["content-length"]))
        pieces = []
        while size := int(self._file.readline(), 16):
            pieces.append(self._file.read(size))
            self._file.readline()
        self._file.readline()
        return code, b"".join(pieces)

    def _headers(self) -> tuple[int, dict[str, str]]:
        code = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return code, headers
