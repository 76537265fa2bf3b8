"""A cluster that runs for longer than its certificates are good."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from virt_kube import certificates
from virt_local import components
from virt_local.settings import Places, Settings


def served(url: str) -> x509.Certificate:
    address = urlsplit(url)
    text = ssl.get_server_certificate((str(address.hostname), address.port or 0))
    return x509.load_pem_x509_certificate(text.encode())


async def test_certificates_near_their_end_are_renewed_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "RENEW_EVERY", 0.2)
    monkeypatch.setattr(certificates, "LEAF_DAYS", certificates.RENEW_DAYS - 1)
    places = Places(tmp_path / "s", tmp_path / "r")
    for folder in (places.state, places.run):
        folder.mkdir()
    async with components.Api(Settings(places=places, node_name="n1")) as api:
        old = await asyncio.to_thread(served, api.server)
        kubeconfig = places.kubeconfig.read_bytes()
        monkeypatch.setattr(certificates, "LEAF_DAYS", 365)
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(served, api.server)).serial_number == old.serial_number:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            while places.kubeconfig.read_bytes() == kubeconfig:  # noqa: ASYNC110  a file's change
                await asyncio.sleep(0.05)
        new = await asyncio.to_thread(served, api.server)
        assert new.not_valid_after_utc > old.not_valid_after_utc
