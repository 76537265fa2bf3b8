"""Certificates: made once, kept, renewed near their end, readable by nobody else, and good for real TLS."""

from __future__ import annotations

import base64
import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from virt_kube.admission import UserInfo
from virt_local import pki
from virt_local.apiserver import authn
from virt_local.errors import PkiError


def certificate(pair: pki.Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert.read_bytes())


def test_a_second_start_keeps_everything(tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    pki.ensure(tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pki").iterdir()} == {0o600}


def test_leaves_near_their_end_are_renewed_and_the_ca_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "LEAF_DAYS", pki.RENEW_DAYS - 1)
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
        def __init__(self, pair: pki.Pair) -> None:
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
