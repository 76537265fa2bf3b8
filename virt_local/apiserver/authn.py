"""Who asks: a client certificate (CN is the user, O the groups), or a bearer token from a file or of a service account.

The token file is Kubernetes' static one: `token,user,uid,"group1,group2"` a line.
"""

from __future__ import annotations

import csv
import hmac
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from virt_kube.admission import UserInfo
from virt_local.apiserver.authz import Authorizer, refusal
from virt_local.apiserver.rbac import Attributes
from virt_local.apiserver.roles import AUTHENTICATED, UNAUTHENTICATED
from virt_local.apiserver.status import bad_request, unauthorized
from virt_local.apiserver.tokens import ISSUER, Claimed, Tokens
from virt_local.errors import LocalError

ANONYMOUS = UserInfo("system:anonymous", (UNAUTHENTICATED,))
_ACCOUNT = "system:serviceaccount:"


class _Token(NamedTuple):
    secret: bytes
    user: UserInfo


class Authenticator:
    def __init__(
        self,
        token_file: Path | None = None,
        *,
        tokens: Tokens | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._static = _read_tokens(token_file) if token_file else []
        self._tokens = tokens
        self._clock = clock

    def user(self, authorization: str, ssl_object: Any) -> UserInfo:
        """Raises 401 for credentials that are none or have ended; no credentials at all is the anonymous user."""
        certificate = ssl_object.getpeercert(binary_form=True) if ssl_object is not None else None
        if certificate:
            user, until = _by_certificate(certificate)
            if self._clock() < until:  # the handshake looked once; connections live long
                return user
            raise unauthorized()
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return ANONYMOUS
        found = self.by_token(secret.strip())
        if found is None or (found.audiences and ISSUER not in found.audiences):
            raise unauthorized()
        return found.user

    def by_token(self, secret: str) -> Claimed | None:
        """Whose token this is; None when it is nobody's."""
        given = secret.encode(errors="surrogateescape")  # as the bytes came
        for token in self._static:
            if hmac.compare_digest(token.secret, given):
                return Claimed(token.user, ())
        return self._tokens.find(secret) if self._tokens and secret.isascii() else None


def impersonated(authorizer: Authorizer, headers: Any, user: UserInfo, asked: Attributes) -> UserInfo:
    """Whom the headers want `user` to be taken for; 403 unless they may."""
    name, groups = headers.get("Impersonate-User", ""), tuple(headers.getall("Impersonate-Group", ()))
    if not name:
        shown = "[]string{" + ", ".join(f'"{group}"' for group in groups) + "}" if groups else "[]string(nil)"
        raise bad_request(
            f'requested &user.DefaultInfo{{Name:"", UID:"{headers.get("Impersonate-Uid", "")}", Groups:{shown}, '
            "Extra:map[string][]string(nil)} without impersonating a user name"
        )
    if not all(authorizer.allows(user, wanted) for wanted in _impersonations(name, groups, headers)):
        raise refusal(user, asked._replace(verb=f"impersonate-on:user-info:{asked.verb}"))
    known = UNAUTHENTICATED if name == ANONYMOUS.name else AUTHENTICATED
    if name.startswith(_ACCOUNT) and not groups:
        namespace = name.removeprefix(_ACCOUNT).partition(":")[0]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return UserInfo(name, (*groups, known), headers.get("Impersonate-Uid", ""))


def _impersonations(name: str, groups: tuple[str, ...], headers: Mapping[str, str]) -> list[Attributes]:
    wanted = [Attributes("impersonate", "", "groups", name=group) for group in groups]
    if uid := headers.get("Impersonate-Uid"):
        wanted.append(Attributes("impersonate", "authentication.k8s.io", "uids", name=uid))
    if name.startswith(_ACCOUNT):
        namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
        return [*wanted, Attributes("impersonate", "", "serviceaccounts", namespace=namespace, name=account)]
    return [*wanted, Attributes("impersonate", "", "users", name=name)]


def wants_impersonation(headers: Mapping[str, str]) -> bool:
    return any(f"Impersonate-{what}" in headers for what in ("User", "Group", "Uid"))


def _read_tokens(path: Path) -> list[_Token]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file, skipinitialspace=True) if row and not row[0].startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"the token file {path} can't be read: {error}") from error
    tokens = []
    for number, row in enumerate(rows, 1):
        if len(row) < 3 or not row[0] or not row[1]:
            raise LocalError(f'the token file {path}, entry {number}: expected token,user,uid[,"group1,group2"]')
        groups = tuple(group.strip() for group in (row[3] if len(row) > 3 else "").split(",") if group.strip())
        tokens.append(_Token(row[0].encode(), UserInfo(row[1], (*groups, AUTHENTICATED), row[2])))
    return tokens


@lru_cache(maxsize=256)
def _by_certificate(certificate: bytes) -> tuple[UserInfo, float]:
    """The user and until when (seconds since the epoch). TLS has already proved that our CA signed it."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    found = x509.load_der_x509_certificate(certificate)
    names = [str(each.value) for each in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(each.value) for each in found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if not names:
        raise unauthorized()
    return UserInfo(names[0], (*groups, AUTHENTICATED)), found.not_valid_after_utc.timestamp()
