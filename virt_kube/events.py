"""Events a person sees in `kubectl describe`: recorded without ever making the caller wait.

Repeats become a count on one Event object; many alike are combined; one object gets at most 25 new events and then one
per five minutes, as client-go's correlator does. Called by every controller and the node agent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from typing import Literal, NamedTuple, TypeVar

from virt_kube.api import ApiError, Json, KubeClient, NotFound, ServerFault, TooManyRequests, Unreachable
from virt_kube.clock import Clock, rfc3339, system_clock
from virt_kube.informer import Object
from virt_kube.resources import EVENTS

log = logging.getLogger("virt_kube.events")

V = TypeVar("V")


EventKind = Literal["Normal", "Warning"]

QUEUE = 1000
BURST = 25
REFILL_SECONDS = 300.0
SIMILAR = 10
SIMILAR_WINDOW = 600.0
REMEMBERED = 4096
MAX_MESSAGE = 1024
COMBINED = "(combined from similar events): "
ATTEMPTS = 6
FIRST_RETRY = 1.0


class _Reference(NamedTuple):
    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str


class _Pending(NamedTuple):
    about: _Reference
    type: EventKind
    reason: str
    message: str
    at: float


class _Written(NamedTuple):
    """An Event object in the API that a repeat is counted on."""

    namespace: str
    name: str
    times: int


class EventRecorder:
    """Writes events in the name of `component`; `run` does the sending."""

    def __init__(self, client: KubeClient, component: str, host: str = "", *, clock: Clock = system_clock) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._queue: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._correlator = _Correlator()
        self._written: OrderedDict[tuple[str, ...], _Written] = OrderedDict()
        self._serial = 0

    def event(self, obj: Object, type_: EventKind, reason: str, message: str) -> None:
        """Tell what happened to `obj`. Never blocks and never fails; too many are dropped, with a log line."""
        meta = obj.metadata
        about = _Reference(
            obj.api_version or "", obj.kind or "", meta.namespace, meta.name, meta.uid, meta.resource_version
        )
        pending = self._correlator.admit(_Pending(about, type_, reason, message[:MAX_MESSAGE], self._clock()))
        if pending is None or len(self._queue) >= QUEUE:
            log.warning("event dropped kind=%s name=%s reason=%s", about.kind, about.name, reason)
            return
        self._queue.append(pending)
        self._wake.set()

    async def run(self) -> None:
        """Send what was recorded until cancelled; what is left then gets one quick try."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    await self._send(self._queue[0])
                    self._queue.popleft()
        finally:
            await self._last_words()

    async def _last_words(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                while self._queue:
                    pending = self._queue.popleft()
                    try:
                        await self._write(pending)
                    except Unreachable:
                        raise  # so are the others
                    except ApiError as error:
                        log.info("event refused reason=%s error=%s", pending.reason, error)
        except (Unreachable, TimeoutError, asyncio.CancelledError):
            log.info("events lost at shutdown count=%d", len(self._queue))

    async def _send(self, pending: _Pending) -> None:
        for attempt in range(ATTEMPTS):
            try:
                await self._write(pending)
            except (Unreachable, TooManyRequests, ServerFault):
                await asyncio.sleep(FIRST_RETRY * 2**attempt)
            except ApiError as error:  # the namespace is going, or we may not
                log.info("event refused reason=%s error=%s", pending.reason, error)
                return
            else:
                return
        log.warning("event given up reason=%s name=%s", pending.reason, pending.about.name)

    async def _write(self, pending: _Pending) -> None:
        key = (pending.about.uid, pending.about.kind, pending.about.name, pending.type, pending.reason, pending.message)
        if pending.message.startswith(COMBINED):
            key = (*key[:-1], COMBINED)
        known = self._written.get(key)
        if known is not None:
            try:
                await self._count(known, pending)
            except NotFound:  # events expire
                del self._written[key]
            else:
                self._remember(key, known._replace(times=known.times + 1))
                return
        name = self._name(pending)
        namespace = pending.about.namespace or "default"
        await self._client.create(EVENTS, namespace, self._body(pending, namespace, name))
        self._remember(key, _Written(namespace, name, 1))

    async def _count(self, known: _Written, pending: _Pending) -> None:
        change: Json = {"count": known.times + 1, "lastTimestamp": rfc3339(pending.at), "message": pending.message}
        await self._client.patch(EVENTS, known.namespace, known.name, change, kind="merge")

    def _remember(self, key: tuple[str, ...], written: _Written) -> None:
        self._written[key] = written
        self._written.move_to_end(key)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)

    def _name(self, pending: _Pending) -> str:
        self._serial += 1
        return f"{pending.about.name}.{int(pending.at * 1e9) + self._serial:x}"

    def _body(self, pending: _Pending, namespace: str, name: str) -> Json:
        about = pending.about
        involved = {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {field: value for field, value in involved.items() if value},
            "reason": pending.reason,
            "message": pending.message,
            "type": pending.type,
            "source": {"component": self._component, **({"host": self._host} if self._host else {})},
            "reportingComponent": self._component,
            "reportingInstance": self._host,
            "firstTimestamp": rfc3339(pending.at),
            "lastTimestamp": rfc3339(pending.at),
            "count": 1,
        }


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, at: float) -> None:
        self.tokens = float(BURST)
        self.at = at


class _Correlator:
    """Which events go out, and as what: a token bucket per object, and one combined event for many alike."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, ...], _Bucket] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], tuple[float, set[str]]] = OrderedDict()

    def admit(self, pending: _Pending) -> _Pending | None:
        about = (pending.about.kind, pending.about.namespace, pending.about.name, pending.about.uid)
        if not self._take(about, pending.at):
            return None
        if self._many_alike((*about, pending.type, pending.reason), pending):
            return pending._replace(message=(COMBINED + pending.message)[:MAX_MESSAGE])
        return pending

    def _take(self, key: tuple[str, ...], now: float) -> bool:
        bucket = _lru(self._buckets, key, _Bucket(now))
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) / REFILL_SECONDS)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _many_alike(self, key: tuple[str, ...], pending: _Pending) -> bool:
        since, messages = _lru(self._similar, key, (pending.at, set()))
        if pending.at - since > SIMILAR_WINDOW:
            messages = set()
        self._similar[key] = (pending.at, messages)
        messages.add(pending.message)
        return len(messages) > SIMILAR


def _lru(table: OrderedDict[tuple[str, ...], V], key: tuple[str, ...], default: V) -> V:
    """The entry of `key`, made if need be, and the oldest one dropped when there are too many."""
    value = table.setdefault(key, default)
    table.move_to_end(key)
    if len(table) > REMEMBERED:
        table.popitem(last=False)
    return value
