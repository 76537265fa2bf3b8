"""TLS of virt-api in a cluster: the certificate it shows and the CA whose clients it believes, both as they change.

`virt_api.__main__` makes it. A handshake takes what was read last, so that neither a renewed certificate nor a new
front proxy CA needs a restart.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from virt_api import front_proxy
from virt_api.front_proxy import FrontProxy
from virt_kube.api import ApiError, KubeClient
from virt_kube.certificates import Authority, Pair, Subject
from virt_types.errors import VirtError

log = logging.getLogger("virt_api.serving")

REFRESH = 60.0  # seconds between looks at the files and the ConfigMap
NAMESPACE, SERVICE = "kubevirt", "virt-api"
# The names under which an API server calls a Service.
SERVICE_NAMES = (f"{SERVICE}.{NAMESPACE}.svc", f"{SERVICE}.{NAMESPACE}", SERVICE, "localhost")


class CertificateError(VirtError):
    """The serving certificate can't be used; the message names the files."""

    reason = "BadCertificate"


def own_certificate(folder: Path, hosts: Sequence[str] = ()) -> Pair:
    """A certificate from a CA made and kept in `folder` (ca.crt is what clients trust). Raises CertificateError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = Authority(folder, "virt-api-ca")
        return authority.leaf(Subject("tls", SERVICE, hosts=tuple(dict.fromkeys((*SERVICE_NAMES, *hosts)))))
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(
            f"no certificate can be kept in {folder}: {error}", hint="Give one with --tls-cert-file and --tls-key-file."
        ) from error


class Serving:
    """A server's TLS context that is exchanged while it serves."""

    def __init__(self, pair: Pair, front: FrontProxy) -> None:
        self.front = front
        self._pair = pair
        self._stamp = _stamp(pair)
        self._current = _context(pair, front)
        self.context = _context(pair, front)
        self.context.sni_callback = self._exchange  # called for every handshake, with or without a name

    async def keep(self, client: KubeClient) -> None:
        """Follow the files and the ConfigMap until cancelled; what can't be read leaves the last good state."""
        while True:
            await asyncio.sleep(REFRESH)
            try:
                await self.refresh(client)
            except (VirtError, ApiError) as error:
                log.warning("tls not refreshed error=%s", error)

    async def refresh(self, client: KubeClient) -> None:
        front, stamp = await front_proxy.read(client), _stamp(self._pair)
        if (front, stamp) != (self.front, self._stamp):
            self._current = _context(self._pair, front)
            self.front, self._stamp = front, stamp
            log.info("tls refreshed certificate=%s", self._pair.cert)

    def _exchange(self, handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = self._current


def _context(pair: Pair, front: FrontProxy) -> ssl.SSLContext:
    """TLS 1.2 and newer; a client may show a certificate, and then the front proxy's CA must have signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(*pair)
        context.load_verify_locations(cadata=front.authority)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateError(f"{pair.cert}, {pair.key} or the front proxy's CA can't be used: {error}") from error
    return context


def _stamp(pair: Pair) -> tuple[int, ...]:
    """What changes with the files."""
    try:
        return tuple(path.stat().st_mtime_ns for path in pair)
    except OSError as error:
        raise CertificateError(f"{error.filename}: {error.strerror}") from error
