"""Which answers a client can read: everything here is JSON, but for a screenshot and streams.

KubeVirt answers 406 to `Accept: application/json` where a verb's answer is empty; here JSON is always acceptable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from virt_api import refusals

NOT_ACCEPTABLE = "406: Not Acceptable\n\nAvailable representations: application/json"
READABLE = frozenset({"*/*", "application/*", "application/json"})
OTHERWISE = ("/screenshot",)


@web.middleware
async def acceptable(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse with 406 before anything is done that could not be told of."""
    stream = request.headers.get("Upgrade", "").lower() == "websocket" or request.path.endswith(OTHERWISE)
    if not stream and not reads_json(request.headers.getall("Accept", [])):
        raise refusals.not_acceptable(NOT_ACCEPTABLE)
    return await handler(request)


def reads_json(accept: list[str]) -> bool:
    """Whether the Accept headers, none of them meaning anything, allow JSON."""
    ranges = [part.split(";") for line in accept for part in line.split(",") if part.strip()]
    wanted = {each[0].strip().lower() for each in ranges if not _refuses(each[1:])}
    return not ranges or bool(wanted & READABLE)


def _refuses(parameters: list[str]) -> bool:
    """A quality of zero is a no."""
    qualities = [
        value.strip() for name, _, value in (each.partition("=") for each in parameters) if name.strip() == "q"
    ]
    return any(value.rstrip("0") in ("", "0", "0.") and value for value in qualities)
