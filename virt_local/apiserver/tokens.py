"""Tokens of service accounts: signed, with an end, good only while their account is there.

A JSON Web Token (ES256) as Kubernetes' TokenRequest gives one out; the key lies beside the certificates. `authn.py`
asks who a token is, `reviews.py` answers TokenRequests with it.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from virt_kube.admission import UserInfo
from virt_kube.api import Json
from virt_local.apiserver import represent
from virt_local.apiserver.roles import AUTHENTICATED
from virt_local.apiserver.status import bad_request, conflict, invalid, invalid_value, not_found
from virt_local.store import Key, Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ISSUER = "https://kubernetes.default.svc"
ACCOUNTS = "/serviceaccounts"
DEFAULT_SECONDS, LEAST_SECONDS, MOST_SECONDS = 3_600, 600, 365 * 86_400
MOST_REMEMBERED = 256  # tokens whose signature need not be looked at again
MAX_TOKEN = 8 * 1024  # bytes
# What a token may be bound to, by kind: its claim, where it is stored, whether it is namespaced.
_HOLDERS = {
    "Node": ("node", "/nodes", False),
    "Pod": ("pod", "/pods", True),
    "Secret": ("secret", "/secrets", True),
}
_HEADER = {"alg": "ES256", "typ": "JWT"}
_COORDINATE = 32  # bytes of r and of s in an ES256 signature


class _Object(msgspec.Struct):
    name: str
    uid: str


class _Bound(msgspec.Struct, omit_defaults=True):
    """What a token ends with: its account, and a Pod, Secret or Node when it was asked for with one."""

    namespace: str
    serviceaccount: _Object
    pod: _Object | None = None
    secret: _Object | None = None
    node: _Object | None = None


class _Claims(msgspec.Struct):
    iss: str
    exp: float
    nbf: float
    aud: list[str]
    bound: _Bound = msgspec.field(name="kubernetes.io")


class Claimed(NamedTuple):
    """Who a good token is, and for which audiences."""

    user: UserInfo
    audiences: tuple[str, ...]


class Tokens:
    """`key` is where the signing key lies, made when it is missing; without one it lives as long as the process."""

    def __init__(self, store: Store, key: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._path = key
        self._clock = clock
        self._key: EllipticCurvePrivateKey | None = None
        self._good: dict[str, _Claims] = {}

    def request(self, namespace: str, name: str, body: Json) -> Json:
        """Answer a TokenRequest for an account. Raises 400, 404, 409 and 422."""
        record = self._store.get(Key(ACCOUNTS, namespace, name))
        if record is None:
            raise not_found("", "serviceaccounts", name)
        uid = represent.meta(record.value).uid
        spec = body.get("spec") or {}
        seconds = _seconds(spec)
        audiences = [str(audience) for audience in spec.get("audiences") or ()] or [ISSUER]
        begin = int(self._clock())
        reference = spec.get("boundObjectRef")
        bound = _Bound(namespace, _Object(name, uid), **(self._holder(namespace, name, reference) if reference else {}))
        claims = _Claims(ISSUER, begin + seconds, begin, audiences, bound)
        more = {"iat": begin, "jti": secrets.token_hex(16), "sub": f"system:serviceaccount:{namespace}:{name}"}
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": _stamp(begin)},
            "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference or None},
            "status": {
                "token": self._sign(msgspec.to_builtins(claims) | more),
                "expirationTimestamp": _stamp(begin + seconds),
            },
        }

    def find(self, token: str) -> Claimed | None:
        """Whose token it is; None for one that is not ours, has ended, or whose account is gone."""
        claims = self._good.get(token)
        if claims is None:
            claims = self._verified(token)
            if claims is None:
                return None
            if len(self._good) >= MOST_REMEMBERED:
                self._good.clear()
            self._good[token] = claims
        if not claims.nbf - 60 <= self._clock() < claims.exp:
            return None
        bound, account = claims.bound, claims.bound.serviceaccount
        namespace = bound.namespace
        ends_with = [(ACCOUNTS, namespace, account)]
        ends_with += [
            (kept_as, namespace if namespaced else "", holder)
            for word, kept_as, namespaced in _HOLDERS.values()
            if (holder := getattr(bound, word)) is not None
        ]
        if not all(self._is_there(*each) for each in ends_with):
            return None
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        user = UserInfo(f"system:serviceaccount:{namespace}:{account.name}", groups, account.uid)
        return Claimed(user, tuple(claims.aud))

    def _holder(self, namespace: str, account: str, reference: Json) -> dict[str, _Object]:
        """The claim for the object a token is to end with. Raises 400, 404 and 409."""
        group, _, version = str(reference.get("apiVersion") or "").rpartition("/")
        kind, name = str(reference.get("kind") or ""), str(reference.get("name") or "")
        if group or kind not in _HOLDERS:
            raise bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        word, kept_as, namespaced = _HOLDERS[kind]
        record = self._store.get(Key(kept_as, namespace if namespaced else "", name))
        if record is None:
            raise not_found("", f"{word}s", name)
        runs_as = (represent.decode(record.value).get("spec") or {}).get("serviceAccountName")
        if kind == "Pod" and runs_as != account:
            raise bad_request(
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
        uid = represent.meta(record.value).uid
        if reference.get("uid") not in (None, "", uid):
            why = (
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise conflict("", kind, name, why)
        return {word: _Object(name, uid)}

    def _is_there(self, kept_as: str, namespace: str, wanted: _Object) -> bool:
        record = self._store.get(Key(kept_as, namespace, wanted.name))
        return record is not None and represent.meta(record.value).uid == wanted.uid

    def _sign(self, claims: Json) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        text = f"{_packed(msgspec.json.encode(_HEADER))}.{_packed(msgspec.json.encode(claims))}"
        signature = self._signer().sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(signature)
        return f"{text}.{_packed(r.to_bytes(_COORDINATE, 'big') + s.to_bytes(_COORDINATE, 'big'))}"

    def _verified(self, token: str) -> _Claims | None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        text, _, signature = token.rpartition(".")
        if len(token) > MAX_TOKEN or text.count(".") != 1:
            return None
        try:
            head, body = (_unpacked(part) for part in text.split("."))
            raw = _unpacked(signature)
            if msgspec.json.decode(head) != _HEADER or len(raw) != 2 * _COORDINATE:
                return None
            r, s = (int.from_bytes(raw[start : start + _COORDINATE], "big") for start in (0, _COORDINATE))
            der = utils.encode_dss_signature(r, s)
            self._signer().public_key().verify(der, text.encode(), ec.ECDSA(hashes.SHA256()))
            claims = msgspec.json.decode(body, type=_Claims)
        except (ValueError, InvalidSignature, msgspec.MsgspecError):
            return None
        return claims if claims.iss == ISSUER else None

    def _signer(self) -> EllipticCurvePrivateKey:
        if self._key is None:
            from virt_local import pki

            self._key = pki.signing_key(self._path)
        return self._key


def _seconds(spec: Json) -> int:
    """The lifetime a request means. Raises 422."""
    seconds = spec.get("expirationSeconds")
    if seconds is None:
        return DEFAULT_SECONDS
    why = ""
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        why = "must be an integer"
    elif seconds < LEAST_SECONDS:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > 1 << 32:
        why = "may not specify a duration larger than 2^32 seconds"
    if why:
        cause = invalid_value("spec.expirationSeconds", seconds, why)
        raise invalid("authentication.k8s.io", "TokenRequest", "", [cause])
    return min(int(seconds), MOST_SECONDS)


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
