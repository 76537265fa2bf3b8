"""How to reach one API server, and the TLS that goes with it: what `virt_kube.kubeconfig` makes of all its sources.

Standard library only: every command of virtctl imports it.
"""

from __future__ import annotations

import binascii
import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from virt_types.errors import VirtError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

MAX_BYTES = 16 << 20


class KubeconfigError(VirtError):
    """The configuration can't be used; the message names the file, the field and the value."""

    reason = "BadConfiguration"


class ClientConfig(NamedTuple):
    """How to reach one API server. Certificates and keys are PEM; `server` may carry a path prefix, without a slash."""

    server: str
    namespace: str = "default"
    namespace_given: bool = False  # by flag, not only by the context
    context: str = ""
    source: str = ""  # the file the cluster came from; empty: flags or the pod's service account
    ca_data: bytes = b""  # empty: the system's authorities
    client_cert: bytes = b""
    client_key: bytes = b""
    token: str = ""
    token_file: str = ""  # read for every request: kubelet rotates it
    username: str = ""
    password: str = ""
    insecure: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""  # empty: the environment's
    impersonate: str = ""
    impersonate_uid: str = ""
    impersonate_groups: tuple[str, ...] = ()

    @property
    def tls(self) -> bool:
        return self.server.startswith("https://")

    def headers(self) -> list[tuple[str, str]]:
        """Authorization and Impersonate-* of one request. Credentials never travel over plain HTTP."""
        headers: list[tuple[str, str]] = []
        token = _token(self.token_file) if self.token_file else self.token
        if self.tls and token:
            headers.append(("Authorization", f"Bearer {token}"))
        elif self.tls and self.username:
            pair = binascii.b2a_base64(f"{self.username}:{self.password}".encode(), newline=False).decode()
            headers.append(("Authorization", f"Basic {pair}"))
        if self.impersonate:
            headers.append(("Impersonate-User", self.impersonate))
        if self.impersonate_uid:
            headers.append(("Impersonate-Uid", self.impersonate_uid))
        headers += [("Impersonate-Group", group) for group in self.impersonate_groups]
        return headers

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings of this server; None for plain HTTP."""
        if not self.tls:
            return None
        import ssl

        # create_default_context would parse the system's whole bundle even when the cluster brings its own authority.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_data:
            _load_authority(context, self)
        else:
            context.load_default_certs()
        if self.client_cert:
            _load_client_certificate(context, self)
        return context


def _token(path: str) -> str:
    try:
        return read(path, "tokenFile").decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise KubeconfigError(f"tokenFile {path} holds no token: it is not ASCII") from error


def _load_authority(context: ssl.SSLContext, config: ClientConfig) -> None:
    import ssl

    try:
        context.load_verify_locations(cadata=config.ca_data.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise KubeconfigError(
            f"certificate-authority holds no PEM certificate{of_file(config.source)}: {error}",
        ) from error


def _load_client_certificate(context: ssl.SSLContext, config: ClientConfig) -> None:
    """OpenSSL reads the key from a file only."""
    import ssl

    try:
        with _secret_file(config.client_cert + b"\n" + config.client_key) as path:
            context.load_cert_chain(path, password=_refuse_password)
    except (ssl.SSLError, ValueError) as error:
        raise KubeconfigError(
            f"client-certificate and client-key{of_file(config.source)} are not a PEM pair: {error}",
        ) from error


@contextlib.contextmanager
def _secret_file(data: bytes) -> Iterator[str]:
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("client-certificate", os.MFD_CLOEXEC), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        import tempfile

        with tempfile.NamedTemporaryFile() as named:
            named.write(data)
            named.flush()
            yield named.name


def _refuse_password() -> str:
    raise ValueError("the key is encrypted; kubeconfig keys must not be")


def read(path: str, field: str = "") -> bytes:
    """A whole file, 16 MiB at most. Raises KubeconfigError, which begins with `field`."""
    prefix = f"{field}: " if field else ""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            data = file.read(MAX_BYTES + 1)
    except PermissionError as error:
        raise KubeconfigError(
            f'{prefix}error loading config file "{path}": open {path}: permission denied',
            hint=f"Run as the owner of {path}, or name another configuration with --kubeconfig.",
        ) from error
    except OSError as error:
        raise KubeconfigError(f"{prefix}open {path}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:  # a NUL in the path
        raise KubeconfigError(f"{prefix}{path!r} is not a path: {error}") from error
    if len(data) > MAX_BYTES:
        raise KubeconfigError(f"{prefix}{path} is larger than {MAX_BYTES >> 20} MiB")
    return data


def of_file(source: str) -> str:
    """` (FILE)` for the end of a message; empty when no file is to blame."""
    return f" ({source})" if source else ""
