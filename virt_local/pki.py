"""Certificates of the one-machine cluster: a CA, the server's, the administrator's and one for each component.

Made once in STATE/pki (EC P-256, files 0600) and reused; leaves near their end are renewed when the server starts.
The kubeconfig carries them inline, as JSON, which every kubeconfig reader accepts and ours reads fastest.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from virt_local.errors import PkiError

CA_DAYS, LEAF_DAYS = 3650, 365
RENEW_DAYS = 60  # a leaf with less left is made anew
CONTEXT = "virtctl-local"
NEW_KEY = "Remove it to have a new one made; tokens given out then end."
ADMIN = "virtctl-admin"
# Service accounts whose programs may run on their own: namespace, name.
ACCOUNTS = (
    ("kubevirt", "virt-controller"),
    ("kubevirt", "virt-handler"),
    ("kubevirt", "virt-api"),
    ("kubevirt", "virt-local"),
    ("cdi", "cdi-controller"),
)
AGENT = "virt-handler"
NODE_GROUP = "system:node:"  # of the agent: which node is its own
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=3650)  # of a certificate somebody asks for
_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default.svc")
_SERVER_ADDRESSES = ("127.0.0.1", "::1")


class Pair(NamedTuple):
    """Paths of a certificate and its key, PEM."""

    cert: Path
    key: Path


class Pki(NamedTuple):
    ca: Path
    server: Pair
    admin: Pair
    components: dict[str, Pair]

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.2 and newer; client certificates are asked for, not demanded (tokens exist)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.server.cert, self.server.key)
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context


class _Subject(NamedTuple):
    file: str
    name: str
    groups: tuple[str, ...] = ()
    server: bool = False


_ADMIN = _Subject("admin", ADMIN, ("system:masters",))
_SERVER = _Subject("server", "kube-apiserver", server=True)


def _component(namespace: str, name: str, node: str) -> _Subject:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    own = (NODE_GROUP + node,) if name == AGENT and node else ()
    return _Subject(name, f"system:serviceaccount:{namespace}:{name}", (*groups, *own))


def ensure(state_dir: Path, *, node: str = "") -> Pki:
    """The certificates below `state_dir`/pki, made or renewed as needed; the agent's says which node is its own.

    Raises PkiError.
    """
    folder = state_dir / "pki"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ca = _Authority(folder)
        return Pki(
            ca.pair.cert,
            ca.leaf(_SERVER),
            ca.leaf(_ADMIN),
            {name: ca.leaf(_component(namespace, name, node)) for namespace, name in ACCOUNTS},
        )
    except (OSError, ValueError, TypeError) as error:
        raise PkiError(
            f"the certificates in {folder} can't be used: {error}",
            hint=f"Remove {folder} to have new ones made; clients then need the new kubeconfig.",
        ) from error


def upload_context(state_dir: Path) -> ssl.SSLContext:
    """TLS with the server's certificate, as `ensure` made it, for clients that show a token and no certificate."""
    folder = state_dir / "pki"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(folder / f"{_SERVER.file}.crt", folder / f"{_SERVER.file}.key")
    except (OSError, ssl.SSLError) as error:
        raise PkiError(f"the server's certificate in {folder} can't be used: {error}") from error
    return context


def signing_key(path: Path | None) -> ec.EllipticCurvePrivateKey:
    """The key that signs tokens (PEM, 0600), made when `path` is not there; a passing one without `path`.

    Raises PkiError.
    """
    if path is None:
        return ec.generate_private_key(ec.SECP256R1())
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, _encoded(ec.generate_private_key(ec.SECP256R1())))
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise PkiError(f"the key {path} can't be used: {error}", hint=NEW_KEY) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{path} is not an EC key", hint=NEW_KEY)
    return key


def client_certificate(state_dir: Path, user: str, groups: Sequence[str], lifetime: timedelta) -> tuple[bytes, bytes]:
    """A certificate and its key (PEM) for whoever `user` is, kept nowhere. Raises PkiError."""
    if not SHORTEST <= lifetime <= LONGEST:
        raise PkiError(f"a certificate can't live {lifetime}", hint="between a minute and ten years")
    folder = state_dir / "pki"
    if not (folder / "ca.key").exists():
        raise PkiError(f"there is no certificate authority in {folder}", hint="Create the cluster: virtctl local up")
    try:
        cert, key = _Authority(folder).sign(_Subject("", user, tuple(groups)), lifetime)
    except (OSError, ValueError, TypeError) as error:
        raise PkiError(f"can't make a certificate for {user!r}: {error}") from error
    return cert.public_bytes(serialization.Encoding.PEM), _encoded(key)


class _Authority:
    """The CA, and what it signs. A new CA makes every leaf new."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.pair = Pair(folder / "ca.crt", folder / "ca.key")
        if not (self.pair.cert.exists() and self.pair.key.exists()):
            self._make()
        self._cert = x509.load_pem_x509_certificate(self.pair.cert.read_bytes())
        self._key = serialization.load_pem_private_key(self.pair.key.read_bytes(), None)
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self.pair.key} is not an EC key")

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("virtctl-local-ca", ())
        builder = _builder(name, name, key.public_key(), timedelta(days=CA_DAYS))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(sign=True), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        _write_pair(self.pair, builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256()), key)

    def leaf(self, subject: _Subject) -> Pair:
        pair = Pair(self._folder / f"{subject.file}.crt", self._folder / f"{subject.file}.key")
        if not self._good(pair, subject):
            _write_pair(pair, *self.sign(subject, timedelta(days=LEAF_DAYS)))
        return pair

    def _good(self, pair: Pair, subject: _Subject) -> bool:
        if not (pair.cert.exists() and pair.key.exists()):
            return False
        cert = x509.load_pem_x509_certificate(pair.cert.read_bytes())
        try:
            cert.verify_directly_issued_by(self._cert)
        except Exception:  # whatever makes it not ours is a reason to make a new one
            return False
        fresh = cert.not_valid_after_utc - datetime.now(UTC) > timedelta(days=RENEW_DAYS)
        return fresh and cert.subject == _name(subject.name, subject.groups)

    def sign(self, subject: _Subject, lifetime: timedelta) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(subject.name, subject.groups), self._cert.subject, key.public_key(), lifetime)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=False), critical=True)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if subject.server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._cert.public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(authority, critical=False)
        if subject.server:
            names: list[x509.GeneralName] = [x509.DNSName(name) for name in _SERVER_NAMES]
            names += [x509.IPAddress(ipaddress.ip_address(address)) for address in _SERVER_ADDRESSES]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256()), key  # type: ignore[arg-type]


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
    write_private(pair.key, _encoded(key))
    write_private(pair.cert, cert.public_bytes(serialization.Encoding.PEM))


def _encoded(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, content: bytes) -> None:
    """Replace a file atomically; only its owner may read it."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from birth
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def write_kubeconfig(
    path: Path, pki: Pki, server: str, *, pair: Pair | None = None, namespace: str = "default"
) -> None:
    """A kubeconfig (JSON, 0600) for `server`, the URL; for the administrator unless another pair is given."""
    pair = pair or pki.admin
    try:
        user = (pair.cert.stem, pair.cert.read_bytes(), pair.key.read_bytes())
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, kubeconfig(server, pki.ca.read_bytes(), *user, namespace=namespace))
    except OSError as error:
        raise PkiError(f"the kubeconfig {path} can't be written: {error}") from error


def kubeconfig(server: str, ca: bytes, user: str, cert: bytes, key: bytes, *, namespace: str = "default") -> bytes:
    """The text of a kubeconfig for one user; certificates and key are PEM."""

    def inline(content: bytes) -> str:
        return base64.b64encode(content).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": {"server": server, "certificate-authority-data": inline(ca)}}],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": inline(cert), "client-key-data": inline(key)},
            }
        ],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": user, "namespace": namespace}}],
    }
    return json.dumps(config, indent=1).encode() + b"\n"
