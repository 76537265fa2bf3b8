"""Certificates of the one-machine cluster: a CA, the server's, the administrator's and one for each component.

Made once in STATE/pki (EC P-256, files 0600) and reused; leaves near their end are renewed when the server starts.
The kubeconfig carries them inline, as JSON, which every kubeconfig reader accepts and ours reads fastest.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from virt_kube.certificates import Authority, Pair, Subject, encoded
from virt_kube.durable import write_durably
from virt_local.errors import PkiError

CA_NAME = "virtctl-local-ca"
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
_HOSTS = ("localhost", "kubernetes", "kubernetes.default.svc", "127.0.0.1", "::1")


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


_ADMIN = Subject("admin", ADMIN, ("system:masters",))
_SERVER = Subject("server", "kube-apiserver", hosts=_HOSTS)


def _component(namespace: str, name: str, node: str) -> Subject:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    own = (NODE_GROUP + node,) if name == AGENT and node else ()
    return Subject(name, f"system:serviceaccount:{namespace}:{name}", (*groups, *own))


def ensure(state_dir: Path, *, node: str = "", host: str = "") -> Pki:
    """The certificates below `state_dir`/pki, made or renewed as needed.

    The agent's says which `node` is its own; the server's is good for this machine and for the `host` it listens on.

    Raises PkiError.
    """
    folder = state_dir / "pki"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ca = Authority(folder, CA_NAME)
        return Pki(
            ca.pair.cert,
            ca.leaf(_SERVER._replace(hosts=(*_HOSTS, *_other_hosts(host)))),
            ca.leaf(_ADMIN),
            {name: ca.leaf(_component(namespace, name, node)) for namespace, name in ACCOUNTS},
        )
    except (OSError, ValueError, TypeError) as error:
        raise PkiError(
            f"the certificates in {folder} can't be used: {error}",
            hint=f"Remove {folder} to have new ones made; clients then need the new kubeconfig.",
        ) from error


def _other_hosts(host: str) -> tuple[str, ...]:
    """Names clients may know the server by, beyond loopback's; an address of all interfaces has the machine's."""
    if host in ("", *_HOSTS):
        return ()
    return (socket.gethostname(), socket.getfqdn()) if host in ("0.0.0.0", "::") else (host,)  # noqa: S104  a comparison


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
            write_durably(path, encoded(ec.generate_private_key(ec.SECP256R1())))
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
        cert, key = Authority(folder, CA_NAME).sign(Subject("", user, tuple(groups)), lifetime)
    except (OSError, ValueError, TypeError) as error:
        raise PkiError(f"can't make a certificate for {user!r}: {error}") from error
    return cert.public_bytes(serialization.Encoding.PEM), encoded(key)


def write_kubeconfig(
    path: Path, pki: Pki, server: str, *, pair: Pair | None = None, namespace: str = "default"
) -> None:
    """A kubeconfig (JSON, 0600) for `server`, the URL; for the administrator unless another pair is given."""
    pair = pair or pki.admin
    try:
        user = (pair.cert.stem, pair.cert.read_bytes(), pair.key.read_bytes())
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, kubeconfig(server, pki.ca.read_bytes(), *user, namespace=namespace))
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
