"""Events go after an hour: nobody reads older ones, and without an end they would fill the store.

The server runs it beside itself. It sleeps until the oldest event is due (or more have come than there may be), so an
idle cluster costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import msgspec

from virt_local.errors import StoreError
from virt_local.store import Change, Key, Store

log = logging.getLogger("virt_local.apiserver")

EVENTS = "/events"
TIME_TO_LIVE = 3600.0  # seconds since an event last happened
MOST_EVENTS = 10_000  # the oldest go first
PAUSE = 1.0  # seconds between two sweeps at least, so that one takes many


class _Meta(msgspec.Struct, rename="camel"):
    creation_timestamp: str | None = None


class _Series(msgspec.Struct, rename="camel"):
    last_observed_time: str | None = None


class _Event(msgspec.Struct, rename="camel"):
    metadata: _Meta
    last_timestamp: str | None = None
    event_time: str | None = None
    series: _Series | None = None


_decoder = msgspec.json.Decoder(_Event)


def last_happened(value: bytes) -> float:
    """Seconds since the epoch; 0 for an event without a readable time."""
    event = _decoder.decode(value)
    times = (
        event.series.last_observed_time if event.series else None,
        event.last_timestamp,
        event.event_time,
        event.metadata.creation_timestamp,
    )
    return max((_seconds(time) for time in times if time), default=0.0)


def _seconds(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


class EventExpiry:
    """`run` until cancelled."""

    def __init__(self, store: Store, *, time_to_live: float = TIME_TO_LIVE, most: int = MOST_EVENTS) -> None:
        self._store = store
        self._time_to_live = time_to_live
        self._most = most
        self._times = {key: last_happened(record.value) for key, record in store.objects(EVENTS)}
        self._wake = asyncio.Event()
        store.subscribe(EVENTS, self._changed)

    def _changed(self, change: Change) -> None:
        if change.deleted:
            self._times.pop(change.key, None)
            return
        first = not self._times
        self._times[change.key] = last_happened(change.value)
        if first or len(self._times) > self._most:
            self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            gone = 0
            for key in self._due():
                gone += await self._remove(key)
            if gone:
                log.info("events expired count=%d left=%d", gone, len(self._times))
            await asyncio.sleep(PAUSE)
            try:
                async with asyncio.timeout(self._rest()):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _due(self) -> list[Key]:
        """What is too old, then the oldest of too many."""
        until = datetime.now(UTC).timestamp() - self._time_to_live
        by_age = sorted(self._times, key=self._times.__getitem__)
        surplus = len(by_age) - self._most
        return [key for number, key in enumerate(by_age) if number < surplus or self._times[key] <= until]

    def _rest(self) -> float | None:
        """Seconds until the oldest is due; None while there is none."""
        if not self._times:
            return None
        oldest = min(self._times.values())
        return max(0.0, oldest + self._time_to_live - datetime.now(UTC).timestamp())

    async def _remove(self, key: Key) -> bool:
        record = self._store.get(key)
        if record is None:
            return False
        obj = msgspec.json.decode(record.value)

        def last_state(rev: int) -> bytes:
            obj["metadata"]["resourceVersion"] = str(rev)
            return msgspec.json.encode(obj)

        try:
            await self._store.put(key, record.rev, last_state, delete=True)
        except StoreError as error:
            # It happened again meanwhile, or the disk is full: the next sweep looks anew.
            log.debug("event not expired name=%s error=%s", key.name, error)
            return False
        return True
