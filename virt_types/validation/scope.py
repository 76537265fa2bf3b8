"""What every rule is given, and how it reports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import PurePosixPath

from virt_types.errors import Cause
from virt_types.meta import Quantity
from virt_types.quantity import QuantityError, parse
from virt_types.settings import Settings
from virt_types.v1 import VirtualMachineInstanceSpec

DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)
DNS_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
DNS_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', "
    "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
DNS_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', "
    r"regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
MIB = 2**20
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
LONG = 64  # nothing a user sent is remembered that is longer
QUANTITY_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class Scope:
    """One VirtualMachineInstanceSpec: `path` is `spec` or `spec.template.spec`, `template` whether a VM's template.

    `sized_elsewhere`: memory and CPUs come from an instancetype that this code doesn't see. The lists pair each disk,
    volume, interface and network with its path, which many rules print.
    """

    __slots__ = (
        "disks",
        "interfaces",
        "networks",
        "path",
        "settings",
        "sized_elsewhere",
        "spec",
        "template",
        "volumes",
    )

    def __init__(
        self,
        spec: VirtualMachineInstanceSpec,
        path: str,
        settings: Settings,
        *,
        template: bool = False,
        sized_elsewhere: bool = False,
    ) -> None:
        self.spec = spec
        self.path = path
        self.settings = settings
        self.template = template
        self.sized_elsewhere = sized_elsewhere
        devices = spec.domain.devices
        self.disks = [(f"{path}.domain.devices.disks[{i}]", disk) for i, disk in enumerate(devices.disks)]
        self.interfaces = [(f"{path}.domain.devices.interfaces[{i}]", nic) for i, nic in enumerate(devices.interfaces)]
        self.volumes = [(f"{path}.volumes[{i}]", volume) for i, volume in enumerate(spec.volumes)]
        self.networks = [(f"{path}.networks[{i}]", network) for i, network in enumerate(spec.networks)]

    def at(self, field: str) -> str:
        return f"{self.path}.{field}"


Rule = Callable[[Scope], Iterator[Cause]]


def invalid(field: str, message: str) -> Cause:
    return Cause("FieldValueInvalid", message, field)


def required(field: str, message: str) -> Cause:
    return Cause("FieldValueRequired", message, field)


def unsupported(field: str, message: str) -> Cause:
    return Cause("FieldValueNotSupported", message, field)


def one_of(field: str, allowed: Iterable[str]) -> Cause:
    """As an API server speaks of an enumeration in a schema."""
    return unsupported(field, f"{field} should be one of [{' '.join(allowed)}]")


def duplicate(field: str, message: str) -> Cause:
    return Cause("FieldValueDuplicate", message, field)


def shown(value: object, limit: int = 80) -> str:
    """A user's value inside a message: bounded, control characters escaped."""
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(value))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def number(quantity: Quantity | None) -> Decimal | None:
    """The value of a quantity, None when there is none that can be read (a rule of its own says so)."""
    if quantity is None or (isinstance(quantity, str) and len(quantity) > LONG):
        return None if quantity is None else _read.__wrapped__(quantity)
    return _read(quantity)


@lru_cache(maxsize=512)  # the rules ask for the same few amounts again and again
def _read(quantity: Quantity) -> Decimal | None:
    try:
        return parse(quantity)
    except QuantityError:
        return None


def dns_label_faults(name: str) -> Iterable[str]:
    if len(name) <= 63 and DNS_LABEL.fullmatch(name) is not None:
        return ()
    return _dns_label_faults(name)


def _dns_label_faults(name: str) -> Iterator[str]:
    if len(name) > 63:
        yield "must be no more than 63 characters"
    if DNS_LABEL.fullmatch(name[:64]) is None:
        yield "must not contain dots" if DNS_SUBDOMAIN.fullmatch(name[:254]) is not None else DNS_LABEL_TEXT


def dns_subdomain_faults(name: str) -> Iterator[str]:
    if len(name) > 253:
        yield "must be no more than 253 characters"
    if DNS_SUBDOMAIN.fullmatch(name[:254]) is None:
        yield DNS_SUBDOMAIN_TEXT


def file_path(field: str, value: str) -> Iterator[Cause]:
    """A path inside an image: absolute, to a file, without `.` and `..`."""
    if value == "/":
        yield invalid(field, f"{field} must not point to root")
    elif not value.startswith("/") or str(PurePosixPath(value)) != value or ".." in value.split("/") or "\0" in value:
        yield invalid(field, f"{field} must be an absolute path to a file without relative components")
