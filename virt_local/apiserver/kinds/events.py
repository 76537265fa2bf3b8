"""Events of both groups: stored once, in the fields of the core group; the newer group asks for more.

k8s.io/kubernetes/pkg/apis/core/validation/events.go.
"""

from __future__ import annotations

from virt_kube.api import Json
from virt_local.apiserver import represent
from virt_local.apiserver.kinds import values
from virt_local.apiserver.status import invalid_value, required
from virt_types.errors import Cause

_LONGEST = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}  # characters
_UNSET = ("firstTimestamp", "lastTimestamp", "count")  # the fields of old events, in the new group
_FROZEN = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "action", "related",
    "reportingComponent", "reportingInstance", "type",
)  # fmt: skip
_TYPES = ("Normal", "Warning")
_FAR = ("default", "kube-system")  # namespaces of events about objects that have none


def core_causes(obj: Json, _old: Json | None) -> list[Cause]:
    """An event of the core group: little is asked for, and everything may change."""
    return _shared(obj)


def causes(obj: Json, old: Json | None) -> list[Cause]:
    """An event of events.k8s.io."""
    event = represent.core_event(obj)
    if old is not None:
        return _shared(event) + _changes(event, old)
    found = _shared(event) + _series(event)
    if not event.get("eventTime"):
        found.append(required("eventTime"))
    if event.get("type") not in _TYPES:
        found.append(invalid_value("type", "", f"has invalid value: {event.get('type', '')}"))
    found += [invalid_value(field, "", "needs to be unset") for field in _UNSET if event.get(field)]
    if any((event.get("source") or {}).values()):
        found.append(invalid_value("source", "", "needs to be unset"))
    return found


def _shared(event: Json) -> list[Cause]:
    if not event.get("eventTime"):
        return _namespace(event, ("default",))
    found = _namespace(event, _FAR)
    reporter = event.get("reportingComponent") or ""
    if not reporter:
        found.append(required("reportingController"))
    found += values.qualified_name("reportingController", reporter)
    for field, limit in _LONGEST.items():
        text = event.get(field) or ""
        if not text and field != "message":
            found.append(required(field))
        elif len(text) > limit:
            found.append(invalid_value(field, "", f"can have at most {limit} characters"))
    return found


def _namespace(event: Json, far: tuple[str, ...]) -> list[Cause]:
    own = event["metadata"].get("namespace", "")
    about = (event.get("involvedObject") or {}).get("namespace") or ""
    if about == own or (not about and own in far):
        return []
    return [invalid_value("involvedObject.namespace", about, "does not match event.namespace")]


def _series(event: Json) -> list[Cause]:
    series = event.get("series")
    if series is None:
        return []
    found = []
    if (series.get("count") or 0) < 2:
        found.append(invalid_value("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        found.append(required("series.lastObservedTime"))
    return found


def _changes(event: Json, old: Json) -> list[Cause]:
    found = values.unchanged(_FROZEN, event, old)
    return found if event.get("series") == old.get("series") else found + _series(event)
