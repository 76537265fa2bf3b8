"""The servers that are measured: ours, and a real kube-apiserver with etcd where KUBEBUILDER_ASSETS names a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks import measure
from benchmarks.api_wire import Access, Wire
from virt_local import pki
from virt_types.labels import CONTROLLER_USER

ASSETS = "KUBEBUILDER_ASSETS"
READY_WITHIN = 120.0  # seconds
TOKEN = "bench-token"  # noqa: S105  of a server that lives for minutes on loopback
CONTROLLER_TOKEN = "controller-token"  # noqa: S105  the same
AUDIT_LOG = "audit.log"


class Server(NamedTuple):
    """`started` is how long it took from the first process to the first good /readyz, in seconds."""

    access: Access
    pids: tuple[int, ...]
    started: float

    def resident(self) -> int:
        """Bytes, of all its processes."""
        return sum(measure.resident_bytes(pid) for pid in self.pids)


class Serve(Protocol):
    """`ours` or `peer`."""

    __name__: str

    def __call__(self, folder: Path, *, audit: bool = False) -> contextlib.AbstractContextManager[Server]: ...


@contextlib.contextmanager
def ours(folder: Path, *, audit: bool = False) -> Iterator[Server]:
    """Our API server alone, its certificates made beforehand as the peer's are. `audit`: requests go to AUDIT_LOG."""
    tokens = _prepare(folder)
    port = _free_port()
    command = [sys.executable, "-m", "virt_local.apiserver", "--no-admission", "--listen", f"127.0.0.1:{port}"]
    command += ["--data-dir", str(folder), "--token-auth-file", str(tokens)]
    command += ["--audit-log", str(folder / AUDIT_LOG)] if audit else []
    access = Access(f"https://127.0.0.1:{port}", folder / "pki" / "ca.crt", TOKEN)
    with _running([command], folder) as (processes, begin):
        yield _server(access, processes, begin)


def peer_here() -> bool:
    folder = Path(os.environ.get(ASSETS) or "/nonexistent")
    return all((folder / name).exists() for name in ("etcd", "kube-apiserver"))


@contextlib.contextmanager
def peer(folder: Path, *, audit: bool = False) -> Iterator[Server]:
    """kube-apiserver and etcd as envtest starts them, but with etcd's writes on disk, as ours are."""
    assets = Path(os.environ[ASSETS])
    tokens = _prepare(folder)
    certificates = pki.ensure(folder)
    accounts = folder / "accounts.key"
    accounts.write_bytes(
        rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    client, other, port = _free_port(), _free_port(), _free_port()
    etcd = [str(assets / "etcd"), f"--data-dir={folder / 'etcd'}", f"--listen-peer-urls=http://127.0.0.1:{other}"]
    etcd += [f"--{kind}-client-urls=http://127.0.0.1:{client}" for kind in ("listen", "advertise")]
    flags = {
        "etcd-servers": f"http://127.0.0.1:{client}",
        "bind-address": "127.0.0.1",
        "secure-port": str(port),
        "cert-dir": str(folder / "certs"),
        "tls-cert-file": str(certificates.server.cert),
        "tls-private-key-file": str(certificates.server.key),
        "token-auth-file": str(tokens),
        "authorization-mode": "RBAC",
        "disable-admission-plugins": "ServiceAccount",
        "service-cluster-ip-range": "10.0.0.0/24",
        "service-account-issuer": "https://127.0.0.1/",
        "service-account-key-file": str(accounts),
        "service-account-signing-key-file": str(accounts),
        "allow-privileged": "true",
    }
    if audit:
        flags |= {"audit-log-path": str(folder / AUDIT_LOG), "audit-policy-file": str(_audit_policy(folder))}
    server = [str(assets / "kube-apiserver"), *(f"--{name}={value}" for name, value in flags.items())]
    access = Access(f"https://127.0.0.1:{port}", certificates.ca, TOKEN)
    with _running([etcd, server], folder) as (processes, begin):
        yield _server(access, processes, begin)


def _audit_policy(folder: Path) -> Path:
    """Who asked for what, without bodies: what our server logs too."""
    policy = folder / "audit-policy.yaml"
    rules = "omitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"
    policy.write_text(f"apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")
    return policy


def _prepare(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pki.ensure(folder)
    tokens = folder / "tokens.csv"
    accounts = f'{CONTROLLER_TOKEN},{CONTROLLER_USER},2,"system:masters"\n'
    tokens.write_text(f'{TOKEN},bench,1,"system:masters"\n{accounts}')
    return tokens


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(commands: list[list[str]], folder: Path) -> Iterator[tuple[list[subprocess.Popen[bytes]], float]]:
    processes: list[subprocess.Popen[bytes]] = []
    begin = time.monotonic()
    try:
        for command in commands:
            output = (folder / f"{Path(command[0]).name}.log").open("wb")
            env = measure.environment()
            processes.append(subprocess.Popen(command, stdout=output, stderr=output, env=env))
            output.close()
        yield processes, begin
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)
        shutil.rmtree(folder / "etcd", ignore_errors=True)


def _server(access: Access, processes: list[subprocess.Popen[bytes]], begin: float) -> Server:
    """What is running, once it is ready."""
    while time.monotonic() - begin < READY_WITHIN and all(process.poll() is None for process in processes):
        with contextlib.suppress(OSError, ValueError, IndexError, SystemExit):
            wire = Wire(access)
            wire("GET", "/readyz")
            wire.close()
            return Server(access, tuple(process.pid for process in processes), time.monotonic() - begin)
        time.sleep(0.005)
    raise SystemExit(f"{access.url} was not ready within {READY_WITHIN:.0f} seconds, or its process ended")
