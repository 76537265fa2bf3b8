"""Answers on the wire: formats, compression, warnings, refusals. `http.py` and `door.py` build their responses here."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from virt_kube.api import ApiError
from virt_local.apiserver.call import Answer
from virt_local.apiserver.negotiate import PLAIN, YAML, Media
from virt_local.apiserver.status import NO_PAGE, failure

GZIP_OVER = 128 * 1024  # bytes
_NOT_FOUND_TEXT = "404 page not found\n"


def answer(request: web.BaseRequest, given: Answer, warnings: Iterable[str], media: Media = PLAIN) -> web.Response:
    body = given.body
    if media.type == YAML:
        body = to_yaml(body)
    return raw(
        request,
        body,
        status=given.code,
        content_type=media.type,
        headers=warning_headers(warnings, {"Cache-Control": "no-cache, private"}),
    )


def to_yaml(body: bytes) -> bytes:
    import yaml

    found: Any = msgspec.json.decode(body)
    return bytes(
        yaml.dump(found, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), encoding="utf-8", allow_unicode=True)
    )


def raw(request: web.BaseRequest, body: bytes, *, content_type: str, headers: Any, status: int = 200) -> web.Response:
    response = web.Response(status=status, headers=headers)
    if len(body) > GZIP_OVER and "gzip" in request.headers.get("Accept-Encoding", ""):
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        body = packer.compress(body) + packer.flush()
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    response.headers["Content-Type"] = content_type
    response.body = body
    return response


def warning_headers(warnings: Iterable[str], headers: dict[str, str]) -> CIMultiDict[str]:
    found = CIMultiDict(headers)
    for warning in dict.fromkeys(warnings):
        text = (
            "".join(char if char.isprintable() else " " for char in warning).replace("\\", "\\\\").replace('"', '\\"')
        )
        found.add("Warning", f'299 - "{text}"')
    return found


def failed(error: ApiError) -> web.Response:
    if error.reason == NO_PAGE:
        return web.Response(status=404, text=_NOT_FOUND_TEXT)
    status = error.status or failure(error.code, error.reason, error.message).status
    headers = {"Cache-Control": "no-cache, private"}
    retry = (status.get("details") or {}).get("retryAfterSeconds")
    if retry:
        headers["Retry-After"] = str(retry)
    return web.Response(
        status=error.code, body=msgspec.json.encode(status), content_type="application/json", headers=headers
    )
