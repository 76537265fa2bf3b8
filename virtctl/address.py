"""Where a server is, and a socket's errors about it in the words kubectl's users know. Called by `wire` and `proxy`."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import NamedTuple

from virtctl.errors import Unreachable


class Address(NamedTuple):
    """Where a URL points. `prefix` is its path without a slash at the end, for servers behind a path."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    userinfo: str = ""

    @property
    def authority(self) -> str:
        """HOST:PORT with the brackets IPv6 needs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def address(url: str) -> Address:
    """Take a URL apart. Raises Unreachable when its scheme or port is nonsense."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    userinfo, _, hostport = authority.rpartition("@")
    host, _, port = hostport.rpartition(":")
    if not host or hostport.endswith("]"):
        host, port = hostport, ""
    number = int(port) if port.isdecimal() and port.isascii() and len(port) < 6 else _PORTS.get(scheme, 0)
    if scheme not in _PORTS or not host or not 0 < number < 65536 or (port and not port.isdecimal()):
        raise Unreachable(f"{url} is not an address", hint="Write it as https://HOST:PORT.")
    return Address(scheme, host.strip("[]"), number, f"/{path}".rstrip("/"), userinfo)


def describe(error: OSError, target: Address) -> str:
    """A socket error in the words kubectl's users know."""
    where = f"dial tcp {target.authority}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: {target.authority}: failed to verify certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"tls: {target.authority}: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError):
        return f"{where}: i/o timeout"
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {target.host}: {(error.strerror or 'no such host').lower()}"
    if error.errno == errno.ECONNREFUSED:
        return f"{where}: connect: connection refused"
    return f"{where}: {(error.strerror or str(error)).lower()}"
