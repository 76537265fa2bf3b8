"""Requests to the API server on behalf of a command: addresses, Status errors, watches, the -v trace.

Blocking and small on purpose: a command sends one or two requests. Everything raises CommandError or KubeconfigError.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from virt_kube import kubeconfig
from virtctl.errors import ApiRefusal, Unreachable
from virtctl.text import printable
from virtctl.wire import Connection, ConnectionDropped, Response, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtctl.flags import Settings

Json = dict[str, Any]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
DEFAULT_SECONDS = 60.0
TICK_SECONDS = 1.0

VIRTUAL_MACHINES = "virtualmachines"
INSTANCES = "virtualmachineinstances"


def path(api: str, namespace: str, *segments: str, query: dict[str, str] | None = None) -> str:
    """A request path, e.g. of `("apis/kubevirt.io/v1", "default", "virtualmachines", "vm1")`; no namespace: all."""
    parts = [*api.split("/"), *(("namespaces", namespace) if namespace else ()), *segments]
    text = "".join(f"/{quote(part)}" for part in parts)
    if query:
        text += "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query.items())
    return text


class Client:
    """One API server. Its connection is kept for the next request of the same command."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.config = kubeconfig.load(flags=settings.connection)
        self._connection: Connection | None = None
        self._warned: set[str] = set()

    @property
    def namespace(self) -> str:
        return self.config.namespace

    def objects(self, plural: str, name: str = "", *, query: dict[str, str] | None = None) -> str:
        """The path of VirtualMachines or VirtualMachineInstances in the current namespace."""
        return path("apis/kubevirt.io/v1", self.namespace, plural, *filter(None, [name]), query=query)

    def subresource(self, plural: str, name: str, *verb: str, query: dict[str, str] | None = None) -> str:
        return path("apis/subresources.kubevirt.io/v1", self.namespace, plural, name, *verb, query=query)

    def request(
        self,
        method: str,
        target: str,
        body: Json | None = None,
        *,
        content_type: str = "",
        accept: str = "application/json, */*",
    ) -> bytes:
        """The body of a successful answer. Raises ApiRefusal with the server's own words, or Unreachable."""
        data = None if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        response = self._exchange(method, target, data, content_type, accept)
        answer = response.read()
        self._show_warnings(response)
        if self.settings.verbosity >= 8:
            from virtctl import trace

            trace.body(self.settings.verbosity, answer)
        if not response.reusable:
            self.close()
        if not 200 <= response.status < 300:
            raise refusal(response.status, answer, method, target)
        return answer

    def json(
        self, method: str, target: str, body: Json | None = None, *, content_type: str = "", accept: str = JSON
    ) -> Json:
        return decode(self.request(method, target, body, content_type=content_type, accept=accept))

    def watch(self, target: str, *, accept: str = JSON, on_idle: Callable[[], None]) -> Iterator[Json]:
        """Events of a watch path until the server ends it. `on_idle` runs every idle second; what it raises ends it."""
        connection, response = self.open_stream(target, [("Accept", accept)])
        try:
            if response.status != 200:
                raise refusal(response.status, response.read(), "GET", target)
            connection.on_idle(TICK_SECONDS, on_idle)
            for line in response.lines():
                yield decode(line)
        finally:
            connection.close()

    def open_stream(self, target: str, headers: list[tuple[str, str]]) -> tuple[Connection, Response]:
        """The answer to a GET on a connection of its own, for a watch or an upgrade; the caller closes it."""
        connection = Connection(self.config, timeout=self.settings.request_timeout or DEFAULT_SECONDS)
        try:
            response = self._send(
                connection, "GET", target, [*headers, ("User-Agent", "virtctl"), *self.config.headers()], None
            )
        except BaseException:
            connection.close()
            raise
        return connection, response

    def _show_warnings(self, response: Response) -> None:
        """What the server has to say besides (`299 - "spec.running is deprecated"`), each text once."""
        for text in response.warnings:
            if text not in self._warned:
                self._warned.add(text)
                print(f"Warning: {printable(unquoted(text))}", file=sys.stderr)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _exchange(self, method: str, target: str, data: bytes | None, content_type: str, accept: str) -> Response:
        headers = [("Accept", accept), ("User-Agent", "virtctl"), *self.config.headers()]
        if content_type:
            headers.append(("Content-Type", content_type))
        kept = self._connection is not None
        try:
            return self._send(self._connect(), method, target, headers, data)
        except ConnectionDropped:
            self.close()
            if not kept or method != "GET":
                raise
        except Unreachable:
            self.close()
            raise
        return self._send(self._connect(), method, target, headers, data)

    def _connect(self) -> Connection:
        if self._connection is None:
            timeout = self.settings.request_timeout
            self._connection = Connection(self.config, timeout=DEFAULT_SECONDS if timeout is None else timeout or None)
        return self._connection

    def _send(
        self, connection: Connection, method: str, target: str, headers: list[tuple[str, str]], data: bytes | None
    ) -> Response:
        if self.settings.verbosity < 6:
            return connection.send(method, target, headers, data)
        from virtctl import trace

        url = self.config.server + target
        trace.request(self.settings.verbosity, method, url, headers, data)
        started = time.monotonic()
        response = connection.send(method, target, headers, data)
        trace.response(self.settings.verbosity, method, url, response, time.monotonic() - started)
        return response


def unquoted(warning: str) -> str:
    """The text of a Warning header: `299 AGENT "TEXT"`, quotes in it escaped."""
    _, _, rest = warning.partition('"')
    return rest.removesuffix('"').replace('\\"', '"').replace("\\\\", "\\") or warning


def decode(data: bytes) -> Json:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable("JSON", data) from error
    if not isinstance(value, dict):
        raise _unreadable("a JSON object", data)
    return value


def _unreadable(wanted: str, data: bytes) -> Unreachable:
    shown = " ".join(data[:80].decode("utf-8", "replace").split())
    return Unreachable(
        f'the server\'s answer is not {wanted} but "{shown}"',
        hint="Is this the address of a Kubernetes API server? A proxy or a login page may have answered instead.",
    )


def refusal(code: int, body: bytes, method: str, target: str) -> ApiRefusal:
    """The error for an answer that is no success: a Status' own message, else what the body says."""
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status" and isinstance(status.get("message"), str):
        return ApiRefusal(status["message"] or f"HTTP {code}", code, status, hint=_hint(code, status))
    text = body[:400].decode("utf-8", "replace").strip()
    if code == 404 and "/apis/subresources.kubevirt.io/" in target:
        return ApiRefusal(
            "the server could not find the requested resource",
            code,
            hint="KubeVirt's subresource API is not served here; is it installed, is this the right context?",
        )
    shown = text.replace('"', "'") or f"HTTP {code}"
    return ApiRefusal(
        f'an error on the server ("{shown}") has prevented the request from succeeding ({_shown(method, target)})',
        code,
        hint=_hint(code, {}),
    )


def _shown(method: str, target: str) -> str:
    """`put virtualmachines.kubevirt.io vm1` of a request path."""
    parts = target.partition("?")[0].strip("/").split("/")
    group = parts[1].removeprefix("subresources.") if parts[0] == "apis" and len(parts) > 1 else ""
    rest = parts[3:] if parts[0] == "apis" else parts[2:]
    rest = rest[2:] if rest[:1] == ["namespaces"] else rest
    resource = ".".join(filter(None, [*rest[:1], group]))
    return " ".join([method.lower(), resource, *rest[1:2]])


def _hint(code: int, status: Json) -> str:
    details = status.get("details")
    kind = details.get("kind") if isinstance(details, dict) else ""
    if code == 401:
        return "The server does not know these credentials; check the user of this kubeconfig context."
    if code == 404 and str(kind).startswith(VIRTUAL_MACHINES[:-1]):
        return "`virtctl list` shows what there is; -n chooses the namespace, -A shows all."
    return ""
