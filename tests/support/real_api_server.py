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
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from virt_kube.certificates import Authority, Subject

ASSETS = "KUBEBUILDER_ASSETS"
READY_WITHIN = 180  # seconds
TOKEN = "admin-token"
FRONT_PROXY = "front-proxy-client"


def assets() -> Path | None:
    """The folder with `etcd` and `kube-apiserver`, None where there is none."""
    folder = Path(os.environ.get(ASSETS) or "/nowhere")
    return folder if all((folder / name).is_file() for name in ("etcd", "kube-apiserver")) else None


class RealServer:
    """A kube-apiserver that can end and come back, as in an upgrade, while its etcd goes on."""

    def __init__(self, url: str, folder: Path, command: list[str]) -> None:
        self.url, self.folder = url, folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "kube-apiserver.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        _wait_until_ready(self.url, self.folder)

    def stop(self) -> None:
        if self._process is not None:
            _end(self._process)


@contextlib.contextmanager
def serve_real(folder: Path, programs: Path, accounts: Sequence[str] = ()) -> Iterator[RealServer]:
    """The server until the block ends; `TOKEN` is its administrator's, `accounts` are more lines of its token file.

    It aggregates APIs, with a front proxy certificate from a CA of its own in `folder`/front.
    """
    client, peer, secure = _free_port(), _free_port(), _free_port()
    (folder / "tokens.csv").write_text("\n".join([f'{TOKEN},admin,1,"system:masters"', *accounts, ""]))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "accounts.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    (folder / "front").mkdir()
    proxy = Authority(folder / "front", "front-proxy-ca").leaf(Subject("proxy", FRONT_PROXY))
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
        f"--requestheader-client-ca-file={folder / 'front' / 'ca.crt'}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={proxy.cert}",
        f"--proxy-client-key-file={proxy.key}",
    ]
    with _running(programs / "etcd", etcd, folder):
        running = RealServer(f"https://127.0.0.1:{secure}", folder, [str(programs / "kube-apiserver"), *server])
        try:
            running.start()
            yield running
        finally:
            running.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _running(program: Path, arguments: list[str], folder: Path) -> Iterator[None]:
    with (folder / f"{program.name}.log").open("wb") as log:
        process: subprocess.Popen[bytes] = subprocess.Popen([program, *arguments], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
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
