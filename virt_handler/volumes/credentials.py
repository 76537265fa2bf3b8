"""A registry's login out of a `kubernetes.io/dockerconfigjson` secret. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec

from virt_handler.errors import VolumeError
from virt_handler.images.reference import DEFAULT_REGISTRY, parse
from virt_handler.images.sources import Credentials

KEY = ".dockerconfigjson"
HUB_NAMES = frozenset({"https://index.docker.io/v1/", "index.docker.io", DEFAULT_REGISTRY})


def pull_credentials(secret: Mapping[str, bytes], image: str, field: str) -> Credentials | None:
    """The login for the image's registry, None when the secret has none for it; raises VolumeError."""
    registry = parse(image).registry
    try:
        entries = msgspec.json.decode(secret[KEY])["auths"]
        for name, entry in entries.items():
            host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
            if host == registry or (registry == DEFAULT_REGISTRY and name in HUB_NAMES):
                return _login(entry)
    except (KeyError, TypeError, AttributeError, ValueError, msgspec.DecodeError, binascii.Error):
        raise VolumeError(f"{field}: not a usable secret of type kubernetes.io/dockerconfigjson") from None
    return None


def _login(entry: Mapping[str, str]) -> Credentials:
    if "auth" in entry:
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        return Credentials(user, password)
    return Credentials(entry["username"], entry["password"])
