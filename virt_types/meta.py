"""What every Kubernetes object has: its Struct base, metadata, owner references, label selectors.

Wire names are camelCase of the attribute; a field whose JSON name is anything else says so with `field(name=...)`.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, field

Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1, extra={"format": "int32"})]
Int64 = Annotated[int, Meta(extra={"format": "int64"})]
IntOrString = Annotated[int | str, Meta(extra={"format": "int-or-string"})]
# A resource quantity as the user wrote it ("64Mi", 2, "500m"); virt_types.quantity reads it.
Quantity = Annotated[str | int | float, Meta(extra={"format": "quantity"})]
# RFC 3339, UTC, whole seconds: "2026-01-31T12:00:00Z".
Time = Annotated[str, Meta(extra={"format": "date-time"})]


class Base(Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """Every type of the API.

    Absent fields are None, lists and maps empty; neither is encoded. A field the API requires is empty when absent, and
    is encoded all the same: its default comes from a factory, which msgspec never leaves out.
    """


class OwnerReference(Base, kw_only=True):
    """The object whose deletion deletes this one; at most one owner is the controller."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ManagedFieldsEntry(Base, kw_only=True):
    """Which fields one client has set."""

    manager: str | None = None
    operation: str | None = None
    api_version: str | None = None
    time: Time | None = None
    fields_type: str | None = None
    fields_v1: dict[str, Any] | None = None
    subresource: str | None = None


class ObjectMeta(Base, kw_only=True):
    """An object's identity and bookkeeping. Texts are "" when absent."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: Int64 = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: Int64 | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    owner_references: list[OwnerReference] = field(default_factory=list)
    finalizers: list[str] = field(default_factory=list)
    managed_fields: list[ManagedFieldsEntry] = field(default_factory=list)
    self_link: str = ""

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that controls this object."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class LabelSelectorRequirement(Base, kw_only=True):
    """One condition of a LabelSelector; `operator` is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: list[str] = field(default_factory=list)


class LabelSelector(Base, kw_only=True):
    """All of `match_labels` and all of `match_expressions`; an empty selector matches everything."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: list[LabelSelectorRequirement] = field(default_factory=list)
