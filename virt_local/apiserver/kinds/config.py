"""ConfigMap and Secret: keys, sizes, well-known types, what `immutable` freezes."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver.patches import same_json
from virt_local.apiserver.status import TOO_LONG, forbidden_value, invalid_value, required
from virt_types.errors import Cause

MAX_DATA = 1024 * 1024  # bytes
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_FROZEN = "field is immutable when `immutable` is set"
_REDACTED = "<secret contents redacted>"


def prepare_secret(obj: Json, old: Json | None) -> None:
    for key, value in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(str(value).encode()).decode()
    obj.setdefault("type", (old or {}).get("type", "Opaque"))


def config_map_causes(obj: Json, old: Json | None) -> list[Cause]:
    text, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    found = [
        invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData") for key in text if key in binary
    ]
    for field, values in (("data", text), ("binaryData", binary)):
        found += [invalid_value(f"{field}[{key}]", key, why) for key in values for why in key_problems(key)]
    size = sum(len(value.encode()) for value in text.values()) + sum(map(_decoded_size, binary.values()))
    found += _too_large(size, "[]")
    return found + _frozen(obj, old, ("data", "binaryData"))


def secret_causes(obj: Json, old: Json | None) -> list[Cause]:
    data = obj.get("data") or {}
    found = [invalid_value(f"data[{key}]", key, why) for key in data for why in key_problems(key)]
    found += _too_large(sum(map(_decoded_size, data.values())), "data")
    if (check := _BY_TYPE.get(obj.get("type", ""))) is not None:
        found += check(obj, data)
    if old is not None and obj.get("type") != old.get("type"):
        found.append(invalid_value("type", obj.get("type"), "field is immutable"))
    return found + _frozen(obj, old, ("data",))


def key_problems(key: str) -> list[str]:
    problems = [] if len(key) <= 253 else ["must be no more than 253 bytes"]
    if not _KEY.fullmatch(key):
        problems.append(_KEY_TEXT)
    if key in (".", ".."):
        problems.append(f"must not be '{key}'")
    elif key.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def _decoded_size(value: str) -> int:
    return len(value) * 3 // 4 - value[-2:].count("=")


def _too_large(size: int, field: str) -> list[Cause]:
    return [Cause(TOO_LONG, f"Too long: may not be more than {MAX_DATA} bytes", field)] if size > MAX_DATA else []


def _frozen(obj: Json, old: Json | None, fields: tuple[str, ...]) -> list[Cause]:
    if old is None or not old.get("immutable"):
        return []
    found = [] if obj.get("immutable") else [forbidden_value("immutable", _FROZEN)]
    changed = (field for field in fields if not same_json(obj.get(field) or {}, old.get(field) or {}))
    return found + [forbidden_value(field, _FROZEN) for field in changed]


def _needs(*keys: str) -> Callable[[Json, Json], list[Cause]]:
    return lambda _obj, data: [required(f"data[{key}]") for key in keys if key not in data]


def _basic_auth(_obj: Json, data: Json) -> list[Cause]:
    if "username" in data or "password" in data:
        return []
    return [required("data[username]"), required("data[password]")]


def _account_token(obj: Json, _data: Json) -> list[Cause]:
    account = "kubernetes.io/service-account.name"
    if (obj["metadata"].get("annotations") or {}).get(account):
        return []
    return [required(f"metadata.annotations[{account}]")]


def _json_file(key: str) -> Callable[[Json, Json], list[Cause]]:
    def check(_obj: Json, data: Json) -> list[Cause]:
        if key not in data:
            return [required(f"data[{key}]")]
        try:
            found: Any = msgspec.json.decode(base64.b64decode(data[key]))
        except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError) as error:
            return [invalid_value(f"data[{key}]", _REDACTED, str(error))]
        return [] if isinstance(found, dict) else [invalid_value(f"data[{key}]", _REDACTED, "it is no JSON object")]

    return check


_BY_TYPE: dict[str, Callable[[Json, Json], list[Cause]]] = {
    "kubernetes.io/service-account-token": _account_token,
    "kubernetes.io/dockercfg": _json_file(".dockercfg"),
    "kubernetes.io/dockerconfigjson": _json_file(".dockerconfigjson"),
    "kubernetes.io/basic-auth": _basic_auth,
    "kubernetes.io/ssh-auth": _needs("ssh-privatekey"),
    "kubernetes.io/tls": _needs("tls.crt", "tls.key"),
}
