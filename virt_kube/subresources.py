"""Which right a request to an aggregated API needs, such as `get virtualmachineinstances/console`.

Asked at both doors: by the one-machine API server before it forwards, and by virt_api where an API server that does not
know these paths has forwarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


class Right(NamedTuple):
    """As in a SubjectAccessReview's resourceAttributes; empty is absent."""

    verb: str
    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def right_of(method: str, parts: Sequence[str]) -> Right:
    """The right for a path below /apis/GROUP/VERSION, in `parts` from "apis" on."""
    verb = VERBS.get(method, method.lower())
    _, group, version, *rest = parts
    if rest[:1] != ["namespaces"] or len(rest) < 3:
        return Right(verb, group, version, rest[0] if rest else "", name="/".join(rest[1:2]))
    namespace, resource, *more = rest[1:]
    if more[1:2] == ["portforward"]:  # port and protocol are not part of the right
        more = more[:2]
    return Right(verb, group, version, resource, namespace, "".join(more[:1]), "/".join(more[1:]))
