"""A real kube-apiserver with its etcd, from the folder that KUBEBUILDER_ASSETS names, as envtest starts them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ASSETS = "KUBEBUILDER_ASSETS"
READY_WITHIN = 60  # seconds
TOKEN = "admin-token"


def assets() -> Path | None:
    """The folder with `etcd` and `kube-apiserver`, None where there is none."""
    folder = Path(os.environ.get(ASSETS) or "/nowhere")
    return folder if all((folder / name).is_file() for name in ("etcd", "kube-apiserver")) else None


@contextlib.contextmanager
def serve_real(folder: Path, programs: Path) -> Iterator[str]:
    """The server's URL until the block ends; `TOKEN` is its administrator's."""
    client, peer, secure = _free_port(), _free_port(), _free_port()
    (folder / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "accounts.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    etcd = [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
    ]
    server = [
        f"--etcd-servers=http://127.0.0.1:{client}",
        f"--secure-port={secure}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={folder / 'certificates'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://127.0.0.1/",
        f"--service-account-key-file={folder / 'accounts.key'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
    ]
    url = f"https://127.0.0.1:{secure}"
    with _running(programs / "etcd", etcd, folder), _running(programs / "kube-apiserver", server, folder):
        _wait_until_ready(url, folder)
        yield url


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _running(program: Path, arguments: list[str], folder: Path) -> Iterator[None]:
    with (folder / f"{program.name}.log").open("w") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(url: str, folder: Path) -> None:
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE  # it signs its own certificate
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310  our URL
    end = time.monotonic() + READY_WITHIN
    while time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(request, context=trust, timeout=5).close()  # noqa: S310
            return
        time.sleep(0.3)
    raise TimeoutError((folder / "kube-apiserver.log").read_text()[-4000:])
