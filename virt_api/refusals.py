"""How the subresource API says no: Kubernetes Status objects with the wording KubeVirt's clients know.

Used by every module here that serves a request; `virt_api.app` turns what these return into HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence

from virt_api.lifecycle import Refusal
from virt_kube.api import ApiError, Json, error_from_status
from virt_types.errors import Cause

MAX_CAUSES = 10
VM = "virtualmachine"
VMI = "virtualmachineinstance"
CLAIM = "persistentvolumeclaim"
CROWDED = "it was changed by others all the time; please try again"


def status(code: int, reason: str, message: str, details: Json | None = None) -> Json:
    body: Json = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if details:
        body["details"] = details
    return body


def bad_request(message: str) -> ApiError:
    return error_from_status(status(400, "BadRequest", message))


def forbidden(kind: str, name: str, message: str) -> ApiError:
    text = f'{kind}.kubevirt.io "{name}" is forbidden: {message}'
    return error_from_status(status(403, "Forbidden", text, _details(kind, name)))


def unauthorized(message: str) -> ApiError:
    return error_from_status(status(401, "Unauthorized", message))


def may_not(user: str, asked: Json, reason: str) -> ApiError:
    """Forbidden in an API server's words."""
    resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
    name, where = asked.get("name", ""), asked.get("namespace")
    text = (
        f'{resource}.{asked["group"]} "{name}" is forbidden: User "{user}" cannot {asked["verb"]} '
        f'resource "{resource}" in API group "{asked["group"]}"'
    )
    text += f' in the namespace "{where}"' if where else " at the cluster scope"
    details = {"name": name, "group": asked["group"], "kind": resource}
    return error_from_status(status(403, "Forbidden", f"{text}: {reason}" if reason else text, details))


def gate_closed(message: str) -> ApiError:
    return error_from_status(status(403, "Forbidden", message))


def not_found(kind: str, name: str) -> ApiError:
    text = f'{kind}.kubevirt.io "{name}" not found'
    return error_from_status(status(404, "NotFound", text, _details(kind, name)))


def conflict(kind: str, name: str, message: str) -> ApiError:
    text = f'Operation cannot be fulfilled on {kind}.kubevirt.io "{name}": {message}'
    return error_from_status(status(409, "Conflict", text, _details(kind, name)))


def refused(kind: str, name: str, refusal: Refusal) -> ApiError:
    """A pure decision's refusal as the error that clients get."""
    return bad_request(refusal.message) if refusal.code == 400 else conflict(kind, name, refusal.message)


def not_implemented(message: str) -> ApiError:
    return error_from_status(status(501, "NotImplemented", message))


def not_acceptable(message: str) -> ApiError:
    return error_from_status(status(406, "NotAcceptable", message))


def internal(message: str) -> ApiError:
    text = f"Internal error occurred: {message}"
    return error_from_status(status(500, "InternalError", text, {"causes": [{"message": message}]}))


def unavailable(message: str) -> ApiError:
    return error_from_status(status(503, "ServiceUnavailable", message))


def invalid(causes: Sequence[Cause], *, name: str = "", kind: str = "") -> ApiError:
    """A 422 that names every cause, ten at most in full (spec/control-plane 1.1)."""
    shown = causes[:MAX_CAUSES]
    message = ", ".join(cause.message for cause in shown)
    if len(causes) > MAX_CAUSES:
        message += f", and {len(causes) - MAX_CAUSES} more validation errors"
    details = _details(kind, name) if kind else {}
    details["causes"] = [
        {key: value for key, value in cause._asdict().items() if value or key == "reason"} for cause in shown
    ]
    return error_from_status(status(422, "Invalid", message, details))


def _details(kind: str, name: str) -> Json:
    return {"name": name, "group": "kubevirt.io", "kind": kind}
