"""What an API server hands to admission, and what comes back.

The embedded API server calls an `Admission` in process; on a cluster `virt_api` answers the same calls as webhooks.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from virt_kube.api import Json

Operation = Literal["CREATE", "UPDATE", "DELETE"]


class UserInfo(NamedTuple):
    """Who asks. Components are `system:serviceaccount:kubevirt:virt-controller` and the like."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


class AdmissionRequest(NamedTuple):
    """`obj` is None for DELETE; `old` is None for CREATE. Both are decoded JSON after schema defaulting and pruning."""

    operation: Operation
    group: str
    version: str
    plural: str
    kind: str
    namespace: str
    name: str
    subresource: str
    obj: Json | None
    old: Json | None
    user: UserInfo
    dry_run: bool = False


class AdmissionResult(NamedTuple):
    """The object to store (possibly changed) and warnings for the user."""

    obj: Json | None
    warnings: tuple[str, ...] = ()


class Admission(Protocol):
    async def admit(self, request: AdmissionRequest) -> AdmissionResult:
        """Default, then validate. A refusal raises ApiError (422 with causes, or 400)."""
        ...
