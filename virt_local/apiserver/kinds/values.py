"""Checks of single values that several kinds share, in the API server's words."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver.status import TOO_LONG, invalid_value, not_supported, required
from virt_types.errors import Cause
from virt_types.names import LABEL_TEXT, qualified_name_problems, subdomain_problems
from virt_types.quantity import parse

PORT_TEXT = "must be between 1 and 65535, inclusive"
IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_TEXT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
IMMUTABLE = "field is immutable"
_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def one_of(field: str, value: Any, allowed: Sequence[str]) -> list[Cause]:
    """Nothing wrong, or the value is none of these."""
    return [] if value in allowed else [not_supported(field, value or "", allowed)]


def positive(field: str, quantity: Any) -> list[Cause]:
    """A resource quantity above zero."""
    return [] if parse(quantity) > 0 else [invalid_value(field, quantity, "must be greater than zero")]


def not_negative(field: str, number: int | None) -> list[Cause]:
    return [invalid_value(field, number, "must be greater than or equal to 0")] if (number or 0) < 0 else []


def is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def is_port(number: Any) -> bool:
    return isinstance(number, int) and 0 < number < 65536


def port(field: str, number: Any) -> list[Cause]:
    if is_port(number):
        return []
    return [invalid_value(field, number or 0, PORT_TEXT)]


def port_or_name(field: str, value: Any) -> list[Cause]:
    """A port by number, or by a name such as `http`."""
    if not isinstance(value, str):
        return port(field, value)
    problems = []
    if len(value) > 15:
        problems.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]*", value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return [invalid_value(field, value, problem) for problem in problems]


def label_name(field: str, value: str) -> list[Cause]:
    """A DNS label: names of ports, containers, volumes."""
    if len(value) > 63:
        return [invalid_value(field, value, "must be no more than 63 characters")]
    return [] if _PORT_NAME.fullmatch(value) else [invalid_value(field, value, LABEL_TEXT)]


def subdomain(field: str, value: str) -> list[Cause]:
    return [invalid_value(field, value, why) for why in subdomain_problems(value)]


def qualified_name(field: str, value: str) -> list[Cause]:
    return [invalid_value(field, value, why) for why in qualified_name_problems(value)]


def at_most(field: str, value: str, limit: int) -> list[Cause]:
    return [Cause(TOO_LONG, f"Too long: may not be more than {limit} bytes", field)] if len(value) > limit else []


def unchanged(fields: Iterable[str], new: Json, old: Json, path: str = "", text: str = IMMUTABLE) -> list[Cause]:
    """Which of the fields differ from the stored object's."""
    return [
        invalid_value(f"{path}{field}", new.get(field), text) for field in fields if new.get(field) != old.get(field)
    ]


def label_selector(field: str, selector: Json | None) -> list[Cause]:
    """matchLabels and matchExpressions."""
    found: list[Cause] = []
    for key in (selector or {}).get("matchLabels") or {}:
        found += qualified_name(f"{field}.matchLabels", key)
    for index, term in enumerate((selector or {}).get("matchExpressions") or []):
        at = f"{field}.matchExpressions[{index}]"
        values, operator = term.get("values") or [], term.get("operator")
        if operator not in _SELECTOR_OPERATORS:
            found.append(invalid_value(f"{at}.operator", operator or "", "not a valid selector operator"))
        elif operator in ("In", "NotIn") and not values:
            found.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist") and values:
            text = "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(Cause("FieldValueForbidden", text, f"{at}.values"))
        found += qualified_name(f"{at}.key", term.get("key") or "")
    return found
