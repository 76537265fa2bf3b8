"""Who asks: a client certificate (CN is the user, O the groups) or a bearer token from a file.

The token file is Kubernetes' static one: `token,user,uid,"group1,group2"` a line.
"""

from __future__ import annotations

import csv
import hmac
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from virt_kube.admission import UserInfo
from virt_local.apiserver.status import unauthorized
from virt_local.errors import LocalError

AUTHENTICATED = "system:authenticated"
ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))


class _Token(NamedTuple):
    secret: bytes
    user: UserInfo


class Authenticator:
    def __init__(self, token_file: Path | None = None) -> None:
        self._tokens = _read_tokens(token_file) if token_file else []

    def user(self, authorization: str, ssl_object: Any) -> UserInfo:
        """Raises 401 for credentials that are none; no credentials at all is the anonymous user."""
        if authorization:
            return self._by_token(authorization)
        certificate = ssl_object.getpeercert(binary_form=True) if ssl_object is not None else None
        return _by_certificate(certificate) if certificate else ANONYMOUS

    def _by_token(self, authorization: str) -> UserInfo:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthorized()
        given = secret.strip().encode()
        for token in self._tokens:
            if hmac.compare_digest(token.secret, given):
                return token.user
        raise unauthorized()


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
def _by_certificate(certificate: bytes) -> UserInfo:
    """TLS has already proved that our CA signed it."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.load_der_x509_certificate(certificate).subject
    names = [str(found.value) for found in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(found.value) for found in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if not names:
        raise unauthorized()
    return UserInfo(names[0], (*groups, AUTHENTICATED))
