"""How names, label keys and label values have to look, in Kubernetes' own words.

Called by the API server for every object's metadata, and by virt_types.check for manifests that no server has seen.
"""

from __future__ import annotations

import hashlib
import re

MAX_NAME = 253
MAX_LABEL = 63
LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = rf"({_QUALIFIED})?"

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL}')"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN}')"
)
QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
QUALIFIED_SLASHES_TEXT = (
    "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    f"alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    f"'{_QUALIFIED}') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_LABEL_VALUE}')"
)


def subdomain_problems(name: str) -> list[str]:
    problems = [] if len(name) <= MAX_NAME else [f"must be no more than {MAX_NAME} characters"]
    return problems if re.fullmatch(SUBDOMAIN, name) else [*problems, SUBDOMAIN_TEXT]


def label_value_problems(value: str) -> list[str]:
    if len(value) > 63:
        return ["must be no more than 63 bytes"]
    return [] if re.fullmatch(_LABEL_VALUE, value) else [LABEL_VALUE_TEXT]


def qualified_name_problems(key: str) -> list[str]:
    prefix, slash, name = key.partition("/")
    if not slash:
        prefix, name = "", key
    elif "/" in name:
        return [QUALIFIED_SLASHES_TEXT]
    problems: list[str] = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash and len(prefix) > MAX_NAME:
        problems.append(f"prefix part must be no more than {MAX_NAME} bytes")
    elif slash and not re.fullmatch(SUBDOMAIN, prefix):
        problems.append(f"prefix part {SUBDOMAIN_TEXT}")
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not re.fullmatch(_QUALIFIED, name):
        problems.append(QUALIFIED_TEXT)
    return problems


def instance_id(name: str) -> str:
    """The label value that tells one machine's instance from others; Services made by `virtctl expose` select it."""
    if len(name) <= MAX_LABEL:
        return name
    return f"{name[:54]}-{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:8]}"
