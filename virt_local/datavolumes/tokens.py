"""Upload tokens: a signed word that lets whoever has it fill one claim, for five minutes.

A JSON Web Token as CDI gives them out. The key lives as long as the process: after a restart clients ask for another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import NamedTuple

import msgspec

from virt_kube.clock import Clock
from virt_kube.informer import Key

LIFETIME = 300.0  # seconds
ISSUER, AUDIENCE = "cdi-apiserver", "cdi-uploadproxy"
MAX_TOKEN = 4096
_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")


class _Claims(msgspec.Struct):
    iss: str
    aud: str
    exp: float
    namespace: str
    name: str = msgspec.field(name="pvcName")
    uid: str = ""


class Grant(NamedTuple):
    """The claim a token is for, and its uid."""

    claim: Key
    uid: str


class UploadTokens:
    """Makes tokens and reads them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def issue(self, grant: Grant) -> str:
        claims = _Claims(ISSUER, AUDIENCE, self._clock() + LIFETIME, *grant.claim, grant.uid)
        text = b".".join((_HEADER, _packed(msgspec.json.encode(claims))))
        return b".".join((text, self._signature(text))).decode()

    def read(self, token: str) -> Grant | None:
        """What the token grants; None for one that is not ours or has ended."""
        text, _, signature = token.encode().rpartition(b".")
        if len(token) > MAX_TOKEN or not hmac.compare_digest(self._signature(text), signature):
            return None
        payload = text.partition(b".")[2]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)), type=_Claims)
        if self._clock() >= claims.exp:
            return None
        return Grant(Key(claims.namespace, claims.name), claims.uid)

    def _signature(self, text: bytes) -> bytes:
        return _packed(hmac.digest(self._key, text, hashlib.sha256))


def _packed(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
