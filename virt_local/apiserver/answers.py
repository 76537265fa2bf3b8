"""Answers on the wire: formats, compression, warnings, refusals. `http.py` and `door.py` build their responses here."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from virt_kube.api import ApiError
from virt_local.apiserver.call import Answer
from virt_local.apiserver.negotiate import PLAIN, PROTOBUF, YAML, Media, refusal_type
from virt_local.apiserver.protobuf import encode
from virt_local.apiserver.status import BAD_PATH, NO_PAGE, failure

GZIP_OVER = 128 * 1024  # bytes


def answer(request: web.BaseRequest, given: Answer, warnings: Iterable[str], media: Media = PLAIN) -> web.Response:
    return raw(
        request,
        _translated(given.body, media.type),
        status=given.code,
        content_type=media.type,
        headers=warning_headers(warnings, {"Cache-Control": "no-cache, private"}),
    )


def _translated(body: bytes, media: str) -> bytes:
    """JSON in the format asked for."""
    if media == PROTOBUF:
        return encode(body)
    if media == YAML:
        from virt_local.apiserver.yaml_out import to_yaml

        return to_yaml(body)
    return body


def raw(request: web.BaseRequest, body: bytes, *, content_type: str, headers: Any, status: int = 200) -> web.Response:
    response = web.Response(status=status, headers=headers)
    if len(body) > GZIP_OVER and "gzip" in request.headers.get("Accept-Encoding", ""):
        response = _Packed(status=status, headers=headers)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    response.headers["Content-Type"] = content_type
    response.body = body
    return response


class _Packed(web.Response):
    """Compressed when it is sent, on another thread: a long list takes longer than everybody else should wait."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        if not self.prepared and isinstance(self.body, bytes):
            self.body = await asyncio.to_thread(_packed, self.body)
        return await super().prepare(request)


def _packed(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def warning_headers(warnings: Iterable[str], headers: dict[str, str]) -> CIMultiDict[str]:
    found = CIMultiDict(headers)
    for warning in dict.fromkeys(warnings):
        text = (
            "".join(char if char.isprintable() else " " for char in warning).replace("\\", "\\\\").replace('"', '\\"')
        )
        found.add("Warning", f'299 - "{text}"')
    return found


def failed(error: ApiError, accept: str = "", warnings: Iterable[str] = ()) -> web.Response:
    """The Status of a refusal, in the first format the client names."""
    if error.reason in (NO_PAGE, BAD_PATH):
        return web.Response(status=error.code, text=error.message)
    status = error.status or failure(error.code, error.reason, error.message).status
    headers = {"Cache-Control": "no-cache, private"}
    retry = (status.get("details") or {}).get("retryAfterSeconds")
    if retry:
        headers["Retry-After"] = str(retry)
    media = refusal_type(accept)
    body = _translated(msgspec.json.encode(status), media)
    return web.Response(status=error.code, body=body, content_type=media, headers=warning_headers(warnings, headers))
