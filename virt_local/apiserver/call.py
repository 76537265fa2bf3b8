"""One request to the pipeline, whichever way it came: who asks what of which resource, with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError
from virt_local.apiserver.fieldsets import FieldSet
from virt_local.apiserver.registry import ResourceType, Version
from virt_local.apiserver.status import TOO_LONG, bad_request, invalid_options, invalid_value, not_found, not_supported
from virt_local.store import Key
from virt_types.errors import Cause

Params = Mapping[str, str]

MAX_MANAGER = 128  # bytes of a field manager's name
FIELD_VALIDATION = ("Ignore", "Strict", "Warn")


class Answer(NamedTuple):
    """`body` is JSON in the version asked for."""

    code: int
    body: bytes


@dataclass
class Call:
    """`warnings` grow as the pipeline finds what the user should know."""

    user: UserInfo
    resource: ResourceType
    version: Version
    namespace: str
    name: str = ""
    subresource: str = ""
    dry_run: bool = False
    field_validation: str = "Warn"
    field_manager: str = ""
    tracked: bool = False  # a new object gets managedFields
    applied: FieldSet | None = None  # what the caller owns by a server-side apply
    warnings: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)  # paths of fields a patch has twice

    @property
    def manager(self) -> str:
        """Who is said to own what this call writes."""
        return self.field_manager or self.user.name.rpartition(":")[2]

    @property
    def key(self) -> Key:
        return Key(self.resource.stored_as, self.namespace, self.name)

    @property
    def api_version(self) -> str:
        return self.resource.api_version(self.version)

    def not_found(self) -> ApiError:
        return not_found(self.resource.group, self.resource.plural, self.name)

    def read_write_options(self, params: Params, kind: str) -> None:
        """dryRun, fieldValidation and fieldManager from the query; `kind` is the options kind errors name."""
        if (dry_run := params.get("dryRun")) is not None:
            if dry_run != "All":
                raise invalid_options(kind, not_supported("dryRun", [dry_run], ["All"]))
            self.dry_run = True
        if (validation := params.get("fieldValidation")) is not None:
            if validation not in ("", *FIELD_VALIDATION):
                raise invalid_options(kind, not_supported("fieldValidation", validation, ["", *FIELD_VALIDATION]))
            self.field_validation = validation or "Warn"
        self.field_manager = params.get("fieldManager", "")
        if len(self.field_manager) > MAX_MANAGER:
            text = f"Too long: may not be more than {MAX_MANAGER} bytes"
            raise invalid_options(kind, Cause(TOO_LONG, text, "fieldManager"))
        for index, char in enumerate(self.field_manager):
            if not char.isprintable():
                text = f"invalid character U+{ord(char):04X} (at position {index})"
                raise invalid_options(kind, invalid_value("fieldManager", self.field_manager, text))


def integer(params: Params, name: str) -> int | None:
    """A query parameter that is a whole number; 400 when it is none."""
    text = params.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def flag(params: Params, name: str) -> bool:
    """As Kubernetes reads booleans in queries: present is true unless it says false or 0."""
    return name in params and params[name].lower() not in ("false", "0")
