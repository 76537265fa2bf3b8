"""Certificates: made once, kept, renewed near their end, readable by nobody else, and good for real TLS."""

from __future__ import annotations

import base64
import json
import socket
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from virt_kube import certificates
from virt_kube.admission import UserInfo
from virt_local import pki
from virt_local.apiserver import authn
from virt_local.errors import PkiError


def certificate(pair: certificates.Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert.read_bytes())


def test_a_second_start_keeps_everything(tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    pki.ensure(tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pki").iterdir()} == {0o600}


@pytest.mark.parametrize("host", ["10.1.2.3", "vm-host.example.com", "0.0.0.0"])  # noqa: S104  nothing listens
def test_the_server_is_known_by_the_address_it_listens_on(tmp_path: Path, host: str) -> None:
    pki.ensure(tmp_path)
    made = pki.ensure(tmp_path, host=host)
    names = certificate(made.server).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = {str(name.value) for name in names}
    assert found >= {"127.0.0.1", "localhost", socket.gethostname() if host == "0.0.0.0" else host}  # noqa: S104
    kept = made.server.cert.read_bytes()
    assert pki.ensure(tmp_path).server.cert.read_bytes() == kept, "a component that does not know takes nothing away"


def test_leaves_near_their_end_are_renewed_and_the_ca_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LEAF_DAYS", certificates.RENEW_DAYS - 1)
    made = pki.ensure(tmp_path)
    old, authority = certificate(made.admin), made.ca.read_bytes()
    monkeypatch.undo()
    new = certificate(pki.ensure(tmp_path).admin)
    assert new.not_valid_after_utc - old.not_valid_after_utc > timedelta(days=200)
    assert made.ca.read_bytes() == authority


def test_a_new_ca_makes_every_leaf_new(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    old = certificate(made.server).serial_number
    made.ca.unlink()
    again = pki.ensure(tmp_path)
    assert certificate(again.server).serial_number != old
    certificate(again.server).verify_directly_issued_by(x509.load_pem_x509_certificate(again.ca.read_bytes()))


def test_a_broken_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    made.ca.write_text("no certificate")
    with pytest.raises(PkiError) as refused:
        pki.ensure(tmp_path)
    assert str(tmp_path / "pki") in refused.value.message
    assert "Remove" in refused.value.hint


def test_certificates_say_who_one_is(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)

    class Tls:
        def __init__(self, pair: certificates.Pair) -> None:
            from cryptography.hazmat.primitives.serialization import Encoding

            self._bytes = certificate(pair).public_bytes(Encoding.DER)

        def getpeercert(self, *, binary_form: bool) -> bytes:
            assert binary_form
            return self._bytes

    who = authn.Authenticator()
    assert who.user("", Tls(made.admin)) == UserInfo("virtctl-admin", ("system:masters", "system:authenticated"))
    handler = who.user("", Tls(made.components["virt-handler"]))
    assert handler.name == "system:serviceaccount:kubevirt:virt-handler"
    assert "system:serviceaccounts:kubevirt" in handler.groups
    assert "system:masters" not in handler.groups


def test_the_kubeconfig_is_json_for_its_owner_only(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    path = tmp_path / "kubeconfig"
    path.write_text("old")
    path.chmod(0o644)
    pki.write_kubeconfig(path, made, "https://127.0.0.1:6443")
    config = json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert config["current-context"] == "virtctl-local"
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    key = base64.b64decode(config["users"][0]["user"]["client-key-data"])
    assert key == made.admin.key.read_bytes()


@pytest.mark.parametrize("text", ["only-a-token\n", "t,,1\n", ",user,1\n"])
def test_a_broken_token_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(text)
    with pytest.raises(Exception, match="entry 1"):
        authn.Authenticator(path)


def test_the_agents_certificate_says_which_node_is_its_own(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path, node="n1")
    user, _ = authn._by_certificate(certificate(made.components["virt-handler"]).public_bytes(Encoding.DER))
    assert "system:node:n1" in user.groups
    before = made.components["virt-api"].cert.read_bytes()
    user, _ = authn._by_certificate(
        certificate(pki.ensure(tmp_path, node="n2").components["virt-handler"]).public_bytes(Encoding.DER)
    )
    assert "system:node:n2" in user.groups
    assert "system:node:n1" not in user.groups
    assert made.components["virt-api"].cert.read_bytes() == before, "the others are kept"


def test_a_certificate_for_somebody_ends_when_it_was_said_to(tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    files = {path.name for path in (tmp_path / "pki").iterdir()}
    cert, key = pki.client_certificate(tmp_path, "viewer", ["g1", "g2"], timedelta(hours=2))
    found = x509.load_pem_x509_certificate(cert)
    user, until = authn._by_certificate(found.public_bytes(Encoding.DER))
    assert user == UserInfo("viewer", ("g1", "g2", "system:authenticated"))
    assert abs(until - datetime.now(UTC).timestamp() - 7200) < 60
    assert key.startswith(b"-----BEGIN PRIVATE KEY")
    assert {path.name for path in (tmp_path / "pki").iterdir()} == files, "it is kept nowhere"


@pytest.mark.parametrize(
    ("user", "lifetime", "said"),
    [
        ("viewer", timedelta(seconds=5), "can't live"),
        ("viewer", timedelta(days=36_500), "can't live"),
        ("x" * 65, timedelta(hours=1), "can't make a certificate"),
        ("", timedelta(hours=1), "can't make a certificate"),
    ],
)
def test_a_certificate_that_can_not_be_is_refused(tmp_path: Path, user: str, lifetime: timedelta, said: str) -> None:
    pki.ensure(tmp_path)
    with pytest.raises(PkiError, match=said):
        pki.client_certificate(tmp_path, user, (), lifetime)


def test_without_a_cluster_there_are_no_certificates_for_others(tmp_path: Path) -> None:
    with pytest.raises(PkiError) as refused:
        pki.client_certificate(tmp_path, "viewer", (), timedelta(hours=1))
    assert "virtctl local up" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_signing_key_is_kept_and_private(tmp_path: Path) -> None:
    path = tmp_path / "pki" / "tokens.key"
    first = pki.signing_key(path).public_key().public_numbers()
    assert pki.signing_key(path).public_key().public_numbers() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("no key")
    with pytest.raises(PkiError, match=r"tokens\.key can't be used"):
        pki.signing_key(path)
