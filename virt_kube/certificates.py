"""A certificate authority of our own in a folder, and what it signs: made once, kept, renewed near its end.

`virt_local.pki` has the certificates of the one-machine cluster from it, `virt_api.serving` the one it shows to the API
server of a cluster. EC P-256, files 0600.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from virt_kube.durable import write_durably

CA_DAYS, LEAF_DAYS = 3650, 365
RENEW_DAYS = 60  # a leaf with less left is made anew


class Pair(NamedTuple):
    """Paths of a certificate and its key, PEM."""

    cert: Path
    key: Path


class Subject(NamedTuple):
    """Whose a certificate is: `file` its name in the folder, `hosts` the names and addresses of a server."""

    file: str
    name: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class Authority:
    """The CA in a folder, made where there is none, and what it signs. A new CA makes every leaf new.

    Raises OSError, ValueError or TypeError when the files can't be used.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.pair = Pair(folder / "ca.crt", folder / "ca.key")
        if not (self.pair.cert.exists() and self.pair.key.exists()):
            self._make()
        self._cert = x509.load_pem_x509_certificate(self.pair.cert.read_bytes())
        self._key = serialization.load_pem_private_key(self.pair.key.read_bytes(), None)
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self.pair.key} is not an EC key")

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(self._name, ())
        builder = _builder(name, name, key.public_key(), timedelta(days=CA_DAYS))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(sign=True), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        _write_pair(self.pair, builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256()), key)

    def leaf(self, subject: Subject) -> Pair:
        pair = Pair(self._folder / f"{subject.file}.crt", self._folder / f"{subject.file}.key")
        if not self._good(pair, subject):
            _write_pair(pair, *self.sign(subject, timedelta(days=LEAF_DAYS)))
        return pair

    def _good(self, pair: Pair, subject: Subject) -> bool:
        if not (pair.cert.exists() and pair.key.exists()):
            return False
        cert = x509.load_pem_x509_certificate(pair.cert.read_bytes())
        try:
            cert.verify_directly_issued_by(self._cert)
        except Exception:  # whatever makes it not ours is a reason to make a new one
            return False
        fresh = cert.not_valid_after_utc - datetime.now(UTC) > timedelta(days=RENEW_DAYS)
        return fresh and cert.subject == _name(subject.name, subject.groups) and _hosts(cert) >= set(subject.hosts)

    def sign(self, subject: Subject, lifetime: timedelta) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(subject.name, subject.groups), self._cert.subject, key.public_key(), lifetime)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=False), critical=True)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if subject.hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._cert.public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(authority, critical=False)
        if subject.hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in subject.hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()), key  # type: ignore[arg-type]


def _general_name(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _hosts(cert: x509.Certificate) -> set[str]:
    with suppress(x509.ExtensionNotFound):
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return {str(name.value) for name in names}
    return set()


def _name(common: str, groups: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks of clients may be behind
        .not_valid_after(now + lifetime)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pair(pair: Pair, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """The key first: a certificate on disk always has its key."""
    write_durably(pair.key, encoded(key))
    write_durably(pair.cert, cert.public_bytes(serialization.Encoding.PEM))


def encoded(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PEM, PKCS 8."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
