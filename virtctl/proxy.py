"""Connections through a proxy: HTTP CONNECT and SOCKS5, by the kubeconfig's proxy-url or the environment."""

from __future__ import annotations

import socket

from virt_kube.proxies import from_environment
from virtctl.address import Address, address, describe
from virtctl.errors import Unreachable


def connect(proxy_url: str, target: Address, timeout: float) -> socket.socket:
    """A TCP connection to `target`, through its proxy if it has one. `timeout` covers connecting, in seconds."""
    url = proxy_url or from_environment(target.scheme, target.host, target.port)
    if not url:
        return socket.create_connection((target.host, target.port), timeout)
    proxy = address(url if "://" in url else f"http://{url}")
    try:
        plain = socket.create_connection((proxy.host, proxy.port), timeout)
    except OSError as error:
        raise Unreachable(
            f"Unable to connect to the proxy: {describe(error, proxy)}",
            hint="The proxy comes from --proxy-url, the kubeconfig's proxy-url, or HTTPS_PROXY.",
        ) from error
    try:
        if proxy.scheme.startswith("socks5"):
            _socks5(plain, proxy, target)
            return plain
        if proxy.scheme == "https":
            import ssl

            plain = ssl.create_default_context().wrap_socket(plain, server_hostname=proxy.host)
        _http_connect(plain, proxy, target)
    except BaseException:
        plain.close()
        raise
    return plain


def _http_connect(plain: socket.socket, proxy: Address, target: Address) -> None:
    lines = [f"CONNECT {target.authority} HTTP/1.1", f"Host: {target.authority}"]
    if proxy.userinfo:
        import base64

        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(_unquote(proxy.userinfo)).decode()}")
    plain.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte: what follows the head belongs to the tunnel.
        byte = plain.recv(1)
        if not byte or len(head) > 16384:
            raise Unreachable(f"the proxy {proxy.authority} closed the connection")
        head += byte
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    if status.split(" ")[1:2] != ["200"]:
        raise Unreachable(f"the proxy {proxy.authority} refused to connect to {target.authority}: {status}")


_SOCKS_ERRORS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
}


def _socks5(plain: socket.socket, proxy: Address, target: Address) -> None:
    """RFC 1928 with RFC 1929 passwords; the proxy resolves the name."""
    user, _, password = _unquote(proxy.userinfo).partition(b":")
    plain.sendall(b"\x05\x02\x00\x02" if user else b"\x05\x01\x00")
    _, method = _receive(plain, 2, proxy)
    if method == 2:
        plain.sendall(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        if _receive(plain, 2, proxy)[1]:
            raise Unreachable(f"the proxy {proxy.authority} refused the user name and password")
    elif method:
        raise Unreachable(f"the proxy {proxy.authority} wants an authentication we do not have")
    host = target.host.encode("idna")
    plain.sendall(b"\x05\x01\x00\x03" + bytes([len(host)]) + host + target.port.to_bytes(2, "big"))
    _, code, _, kind = _receive(plain, 4, proxy)
    if code:
        why = _SOCKS_ERRORS.get(code, f"error {code}")
        raise Unreachable(f"the proxy {proxy.authority} could not connect to {target.authority}: {why}")
    length = {1: 4, 4: 16}.get(kind) or _receive(plain, 1, proxy)[0]
    _receive(plain, length + 2, proxy)


def _receive(plain: socket.socket, size: int, proxy: Address) -> bytes:
    data = b""
    while len(data) < size:
        part = plain.recv(size - len(data))
        if not part:
            raise Unreachable(f"the proxy {proxy.authority} closed the connection")
        data += part
    return data


def _unquote(text: str) -> bytes:
    import urllib.parse

    return urllib.parse.unquote_to_bytes(text)
