"""What every component may ask of a Kubernetes API, and how that API says no.

Two transports implement `KubeClient`: `virt_kube.http.HttpClient` (any cluster) and the in-process one of `virt_local`.
Components see this module only, which is why the same code runs on a laptop and in a cluster.

    ApiError
    ├── BadRequest        400   malformed request or object
    ├── Unauthorized      401
    ├── Forbidden         403
    ├── NotFound          404
    ├── Conflict          409   stale resourceVersion, failed precondition
    │   └── AlreadyExists 409
    ├── Gone              410   resourceVersion compacted away: list again
    ├── Invalid           422   schema, validation rule, or a JSON patch whose `test` failed
    ├── TooManyRequests   429
    ├── ServerFault       5xx
    └── Unreachable       —     no answer at all: refused, reset, timed out, TLS
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple, Protocol

from virt_types.errors import VirtError

Json = dict[str, Any]
JsonPatch = list[Json]
PatchKind = Literal["json", "merge", "strategic"]
Propagation = Literal["Background", "Foreground", "Orphan"]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]

PATCH_CONTENT_TYPES: dict[PatchKind, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class ApiError(VirtError):
    """A Status the API answered: `code` is its HTTP code, `status` the whole object (empty when there was none)."""

    code = 500

    def __init__(self, message: str, *, reason: str | None = None, status: Json | None = None, hint: str = "") -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.status: Json = status or {}


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class AlreadyExists(Conflict):
    reason = "AlreadyExists"


class Gone(ApiError):
    code, reason = 410, "Expired"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class ServerFault(ApiError):
    code, reason = 500, "InternalError"


class Unreachable(ApiError):
    code, reason = 503, "Unreachable"


_BY_CODE: dict[int, type[ApiError]] = {
    cls.code: cls for cls in (BadRequest, Unauthorized, Forbidden, NotFound, Conflict, Gone, Invalid, TooManyRequests)
}


def error_from_status(status: Json, code: int | None = None) -> ApiError:
    """The exception for a Kubernetes Status object (`code` wins over the one inside)."""
    number = code or int(status.get("code") or 500)
    reason = status.get("reason")
    cls: type[ApiError] = AlreadyExists if reason == "AlreadyExists" else _BY_CODE.get(number, ServerFault)
    return cls(str(status.get("message") or f"HTTP {number}"), reason=reason, status=status)


class Resource(NamedTuple):
    """One resource of the API. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path, e.g. `/apis/kubevirt.io/v1/namespaces/default/virtualmachines/vm1/status`."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


class ListPage(NamedTuple):
    """Items as stored JSON bytes, and the resourceVersion a watch continues from."""

    items: list[bytes]
    resource_version: str


class WatchEvent(NamedTuple):
    type: EventType
    object: bytes


class KubeClient(Protocol):
    """Requests to a Kubernetes API. Objects are JSON bytes; every method raises ApiError and nothing else.

    `namespace` is "" for cluster-scoped resources and, in list and watch, for all namespaces.
    """

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes: ...

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ListPage: ...

    def watch(
        self, resource: Resource, namespace: str = "", *, resource_version: str, label_selector: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Events after `resource_version`, bookmarks included; raises Gone when that version is compacted."""
        ...

    async def create(self, resource: Resource, namespace: str, body: Json | bytes) -> bytes: ...

    async def update(
        self, resource: Resource, namespace: str, name: str, body: Json | bytes, *, subresource: str = ""
    ) -> bytes: ...

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Json | JsonPatch,
        *,
        kind: PatchKind = "json",
        subresource: str = "",
    ) -> bytes: ...

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        propagation: Propagation = "Background",
        grace_period_seconds: int | None = None,
    ) -> None:
        """With `uid`, only that very object (precondition); a missing object raises NotFound."""
        ...

    async def close(self) -> None: ...
