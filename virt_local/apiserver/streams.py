"""A watch as lines on the wire, in the media type asked for; `http.py` writes them piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virt_local.apiserver import represent, tables, watches
from virt_local.apiserver.call import Call
from virt_local.apiserver.negotiate import Media

WRITE_UP_TO = 64 * 1024  # bytes written at once, but for longer lines


class Lines:
    """Events as lines of the media type asked for. Plain lines are shared by all watchers of a change."""

    def __init__(self, call: Call, media: Media, include: str) -> None:
        self._call = call
        self._media = media
        self._include = include
        self._heads = True

    def line(self, event: watches.Event) -> bytes:
        if not self._media.as_kind:
            return watches.plain_line(self._call, event)
        if event.type == "BOOKMARK":
            return watches.line(event.type, event.value)
        if self._media.as_kind != "Table":
            return watches.line(event.type, tables.partial_bytes(event.value, self._media.version))
        if self._heads:
            self._heads = False
            return watches.line(event.type, self._table(event.value, heads=True))
        key = ("table", event.type, self._call.resource.qualified, self._call.version.name, self._include)
        return watches.cached(event, key, lambda: watches.line(event.type, self._table(event.value, heads=False)))

    def _table(self, value: bytes, *, heads: bool) -> bytes:
        meta = {"resourceVersion": represent.meta(value).resource_version}
        return tables.table(self._call, [value], meta, self._include, self._media.version, heads=heads)


def pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines together as far as one write goes: whoever does not read holds no more than that."""
    gathered: list[bytes] = []
    size = 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= WRITE_UP_TO:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)
