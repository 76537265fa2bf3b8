"""Uploads: the two servers clients talk to, and how a body becomes a claim's content.

On a socket, behind the API server: UploadTokenRequest, and the CDIConfig that says where to upload. On TLS: the upload
proxy's paths, which take a token instead of a login. `app` runs both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from aiohttp import BodyPartReader, web

from virt_kube.api import Json
from virt_kube.clock import Clock, rfc3339
from virt_kube.informer import Key
from virt_kube.threads import opened
from virt_local.claims import Claim
from virt_local.datavolumes import disk
from virt_local.datavolumes.download import BYTES, Receiver, Sink
from virt_local.datavolumes.errors import ContentRefused, FillError, NoSpace, NotExpected, SourceFailed, TooLarge
from virt_local.datavolumes.fill import TRANSFER_SHARE, Filler, rest
from virt_local.datavolumes.place import Place
from virt_local.datavolumes.plan import Plan
from virt_local.datavolumes.tokens import Grant, UploadTokens
from virt_local.datavolumes.workers import Workers

PREFERRED_PORT = 31001
TOKEN_GROUP, CONFIG_GROUP, VERSION = "upload.cdi.kubevirt.io", "cdi.kubevirt.io", "v1beta1"
TOKEN_PATH = f"/apis/{TOKEN_GROUP}/{VERSION}/namespaces/{{namespace}}/uploadtokenrequests"
CONFIG_PATH = f"/apis/{CONFIG_GROUP}/{VERSION}/cdiconfigs/config"
MAX_REQUEST = 1 << 16
SILENCE = 60.0  # seconds
PROXY_VERSIONS = ("v1beta1", "v1alpha1")
# Path -> does it answer before the image is converted, does the body come as a form.
PROXY_PATHS = {
    "upload": (False, False),
    "upload-async": (True, False),
    "upload-form": (False, True),
    "upload-form-async": (True, True),
    "upload-archive": (False, False),
}
CODES: tuple[tuple[type[FillError], int], ...] = (
    (NotExpected, 503),
    (NoSpace, 507),
    (ContentRefused, 400),
    (TooLarge, 400),
    (SourceFailed, 400),
)
WHAT = "the upload"


class Uploads:
    """Give `proxy` and `api` to servers; `url` is where the proxy can be reached, known once it listens."""

    def __init__(
        self, workers: Workers, filler: Filler, claim_of: Callable[[Key], Claim | None], *, clock: Clock
    ) -> None:
        self.url = ""
        self._workers, self._filler, self._claim_of, self._clock = workers, filler, claim_of, clock
        self._tokens = UploadTokens(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self.api = web.Application(client_max_size=MAX_REQUEST)
        self.api.router.add_post(TOKEN_PATH, self._request_token)
        self.api.router.add_get(CONFIG_PATH, self._config)
        self.proxy = web.Application()
        for version in PROXY_VERSIONS:
            for path in PROXY_PATHS:
                self.proxy.router.add_head(f"/{version}/{path}", self._head)
                self.proxy.router.add_post(f"/{version}/{path}", self._post)
        self.proxy.router.add_get("/healthz", _healthy)

    # Behind the API server, which has asked whether the user may.

    async def _request_token(self, request: web.Request) -> web.Response:
        namespace = request.match_info["namespace"]
        try:
            body: Any = msgspec.json.decode(await request.read())
            name = body["spec"]["pvcName"]
            meta = dict(body.get("metadata") or {})
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            return _refusal(400, "BadRequest", "an UploadTokenRequest has spec.pvcName, the claim's name")
        claim = self._claim_of(Key(namespace, str(name)))
        if claim is None:
            return _refusal(404, "NotFound", f'persistentvolumeclaims "{name}" not found')
        token = self._tokens.issue(Grant(Key(namespace, str(name)), claim.metadata.uid))
        answer: Json = {
            "kind": "UploadTokenRequest",
            "apiVersion": f"{TOKEN_GROUP}/{VERSION}",
            "metadata": meta | {"namespace": namespace, "creationTimestamp": rfc3339(self._clock())},
            "spec": {"pvcName": name},
            "status": {"token": token},
        }
        return web.json_response(answer, status=201)

    async def _config(self, _request: web.Request) -> web.Response:
        status = {"uploadProxyURL": self.url, "filesystemOverhead": {"global": "0.06"}}
        answer = {
            "kind": "CDIConfig",
            "apiVersion": f"{CONFIG_GROUP}/{VERSION}",
            "metadata": {"name": "config"},
            "spec": {},
            "status": status,
        }
        return web.json_response(answer)

    # The proxy.

    def _granted(self, request: web.Request) -> Grant:
        """Raises 401."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        grant = self._tokens.read(token.strip()) if scheme.lower() == "bearer" else None
        if grant is None:
            raise web.HTTPUnauthorized(text="the token is missing, not ours, or older than five minutes")
        return grant

    async def _head(self, request: web.Request) -> web.Response:
        self._granted(request)
        return web.Response()

    async def _post(self, request: web.Request) -> web.Response:
        grant = self._granted(request)
        early, form = PROXY_PATHS[request.path.rpartition("/")[2]]
        received = asyncio.Event()

        async def fill(plan: Plan, slot: int, report: Callable[[float], None]) -> None:
            async with self._filler.place(plan, slot) as place:
                await _receive(request, place, plan, report, form=form)
                received.set()
                await disk.install(place, BYTES, plan, WHAT, rest(report))

        task = asyncio.create_task(self._workers.take(grant.claim, grant.uid, fill))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if early:
            waiting = asyncio.create_task(received.wait())
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not task.done():
                task.add_done_callback(_heard)  # the claim says how it ends
                return web.Response()
        try:
            await task
        except FillError as error:
            code = next((code for kind, code in CODES if isinstance(error, kind)), 500)
            return web.Response(status=code, text=f"{error.message}\n")
        return web.Response()


async def _receive(
    request: web.Request, place: Place, plan: Plan, report: Callable[[float], None], *, form: bool
) -> None:
    """The body into the scratch file BYTES; raises FillError."""
    length = None if form else request.content_length
    sink = Sink(
        place,
        disk.largest_file(plan),
        -1 if length is None else length,
        lambda head, size: disk.check_head(head, size, plan, WHAT),
        lambda percent: report(percent * TRANSFER_SHARE / 100),
    )
    try:
        async with opened(place.create, BYTES) as fd:
            body = _form_file(request) if form else request.content.iter_any()
            await Receiver(fd, 0, sink, "the client").receive(_timely(body))
    except SourceFailed:
        await asyncio.to_thread(place.clear)  # an upload is not continued
        raise


async def _timely(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same, but a client that falls silent ends it: others wait for its place."""
    while True:
        async with asyncio.timeout(SILENCE):
            try:
                chunk = await anext(body)
            except StopAsyncIteration:
                return
        yield chunk


async def _form_file(request: web.Request) -> AsyncIterator[bytes]:
    """The field `file` of a form."""
    try:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "file":
                while chunk := await part.read_chunk(1 << 16):
                    yield chunk
                return
    except (AssertionError, ValueError):
        raise ContentRefused("the body is no multipart form") from None
    raise ContentRefused("the form has no field named file")


def _heard(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="OK")


def _refusal(code: int, reason: str, message: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return web.json_response(status | {"message": message, "reason": reason, "code": code}, status=code)
