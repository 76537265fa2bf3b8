"""Every refusal of the API server, worded as a real one words it; each function returns the exception to raise.

Messages and details follow k8s.io/apimachinery/pkg/api/errors: `details.kind` is the plural in 404 and 409 but the Kind
in 422. Used by the whole room; the HTTP face renders `ApiError.status`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from virt_kube.api import ApiError, Json, error_from_status
from virt_types.errors import Cause

NO_PAGE, BAD_PATH = "PageNotFound", "BadPath"  # never on the wire: these are answered as text
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
REQUIRED, INVALID, TYPE, NOT_SUPPORTED, FORBIDDEN, DUPLICATE, TOO_LONG, NOT_FOUND = (
    "FieldValueRequired",
    "FieldValueInvalid",
    "FieldValueTypeInvalid",
    "FieldValueNotSupported",
    "FieldValueForbidden",
    "FieldValueDuplicate",
    "FieldValueTooLong",
    "FieldValueNotFound",
)


def failure(code: int, reason: str, message: str, details: Json | None = None) -> ApiError:
    status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        status["reason"] = reason
    if details is not None:
        status["details"] = details
    status["code"] = code
    error = error_from_status(status, code)
    error.code = code
    return error


def qualified(group: str, word: str) -> str:
    """`virtualmachines.kubevirt.io`, or the bare word in the core group."""
    return f"{word}.{group}" if group else word


def _details(group: str, kind: str, name: str = "", **more: object) -> Json:
    details: Json = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return details | more


def not_found(group: str, plural: str, name: str) -> ApiError:
    return failure(404, "NotFound", f'{qualified(group, plural)} "{name}" not found', _details(group, plural, name))


def no_such_resource() -> ApiError:
    return failure(404, "NotFound", "the server could not find the requested resource", {})


def no_such_page() -> ApiError:
    """A path nobody serves: a real server answers plain text, no Status."""
    return failure(404, NO_PAGE, "404 page not found\n")


def bad_path() -> ApiError:
    """A path with an escape that is none."""
    return failure(400, BAD_PATH, "400 Bad Request")


def already_exists(group: str, plural: str, name: str, *, deleting: bool = False) -> ApiError:
    text = f'{qualified(group, plural)} "{name}" already exists'
    if deleting:
        text = "object is being deleted: " + text
    return failure(409, "AlreadyExists", text, _details(group, plural, name))


def conflict(group: str, word: str, name: str, why: str = MODIFIED) -> ApiError:
    text = f'Operation cannot be fulfilled on {qualified(group, word)} "{name}": {why}'
    return failure(409, "Conflict", text, _details(group, word, name))


def bad_request(message: str) -> ApiError:
    return failure(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return failure(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    text = f'{qualified(group, plural)} "{name}" is forbidden: {why}'
    if not name:
        text = f"{qualified(group, plural)} is forbidden: {why}"
    return failure(403, "Forbidden", text, _details(group, plural, name))


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422. Each cause's message is without its field; the Status message names both."""
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _details(group, kind, name)
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    return failure(422, "Invalid", f'{qualified(group, kind)} "{name}" is invalid: {joined}', details)


def invalid_options(kind: str, *causes: Cause) -> ApiError:
    """Query parameters or an options body with bad values; `kind` is ListOptions, DeleteOptions, ..."""
    return invalid("meta.k8s.io", kind, "", causes)


def unprocessable() -> ApiError:
    """A JSON patch that does not apply; a real server says no more than this."""
    return failure(422, "Invalid", "the server rejected our request due to an error in our request", {})


def unsupported_media_type(message: str) -> ApiError:
    return failure(415, "UnsupportedMediaType", message)


def not_acceptable(accepted: Sequence[str]) -> ApiError:
    return failure(406, "NotAcceptable", "only the following media types are accepted: " + ", ".join(accepted))


def nothing_acceptable(available: Sequence[str]) -> ApiError:
    """406 as built-in kinds word it."""
    text = "406: Not Acceptable\n\nAvailable representations: " + ", ".join(available)
    return failure(406, "NotAcceptable", text, {})


def unsupported_patch() -> ApiError:
    """415 as built-in kinds word it for a patch."""
    return failure(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def method_not_allowed() -> ApiError:
    return failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unsupported_verb(group: str, plural: str, verb: str) -> ApiError:
    """405 as custom resources word it."""
    text = f'{verb} is not supported on resources of kind "{qualified(group, plural)}"'
    return failure(405, "MethodNotAllowed", text, _details(group, plural))


def too_large(limit: int) -> ApiError:
    return failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def expired(message: str) -> ApiError:
    return failure(410, "Expired", message)


def too_large_resource_version(asked: int, current: int) -> ApiError:
    details: Json = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return failure(504, "Timeout", f"Timeout: Too large resource version: {asked}, current: {current}", details)


def too_slow(seconds: float) -> ApiError:
    return failure(408, "Timeout", f"Timeout: the body of the request did not arrive within {seconds:g} seconds", {})


def unavailable(message: str, retry_after: int = 1) -> ApiError:
    return failure(503, "ServiceUnavailable", message, {"retryAfterSeconds": retry_after})


def internal(message: str) -> ApiError:
    return failure(500, "InternalError", "Internal error occurred: " + message, {"causes": [{"message": message}]})


def server_error(message: str) -> ApiError:
    """A 500 with no reason: what a real server answers to a resourceVersion it can't use."""
    return failure(500, "", message)


def success(group: str, plural: str, name: str, uid: str) -> Json:
    """What DELETE answers for an object that is gone."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": _details(group, plural, name, uid=uid),
    }


def required(field: str, detail: str = "") -> Cause:
    return Cause(REQUIRED, "Required value" + (f": {detail}" if detail else ""), field)


def not_supported(field: str, value: object, supported: Sequence[str]) -> Cause:
    quoted = ", ".join(f'"{item}"' for item in supported)
    return Cause(NOT_SUPPORTED, f"Unsupported value: {shown(value)}: supported values: {quoted}", field)


def invalid_value(field: str, value: object, detail: str) -> Cause:
    return Cause(INVALID, f"Invalid value: {shown(value)}: {detail}", field)


def forbidden_value(field: str, detail: str) -> Cause:
    return Cause(FORBIDDEN, f"Forbidden: {detail}", field)


def shown(value: object) -> str:
    """A value as Go's field errors print it: strings quoted, the rest as JSON."""
    return msgspec.json.encode(value).decode()
