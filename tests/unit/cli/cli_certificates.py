"""Certificates for loopback, made once per test run."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Certificates(NamedTuple):
    """PEM: an authority, a server certificate for 127.0.0.1 and a client certificate of user `me`."""

    ca: bytes
    server: bytes
    server_key: bytes
    client: bytes
    client_key: bytes

    def server_context(self, folder: Path, *, ask_client: bool = False) -> ssl.SSLContext:
        (folder / "server.pem").write_bytes(self.server + self.server_key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.ca.decode())
        return context


def _certificate(
    name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0] if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        names = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("api.test")]
        )
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def make() -> Certificates:
    """A new authority with a server's and a client's certificate."""
    ca, ca_key = _certificate("test authority", None)
    server, server_key = _certificate("127.0.0.1", (ca.subject, ca_key))
    client, client_key = _certificate("me", (ca.subject, ca_key))
    pem = serialization.Encoding.PEM
    return Certificates(
        ca.public_bytes(pem), server.public_bytes(pem), _pem(server_key), client.public_bytes(pem), _pem(client_key)
    )
