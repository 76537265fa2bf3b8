"""The wire: dead and strange servers, proxies, prefixes, kept connections, the -v trace."""

from __future__ import annotations

import base64
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cli_fake_api import FakeApi, Handler
from cli_program import Run
from hypothesis import given
from hypothesis import strategies as st

from virt_kube import proxies
from virtctl import trace, websocket, wire
from virtctl.address import address

SUB = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/vm1"


def serve(answer: bytes | Callable[[socket.socket], None]) -> tuple[int, list[bytes]]:
    """A server for one connection that sends these bytes, whatever is asked. Its port, and what it was sent."""
    listener = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []

    def run() -> None:
        with listener, listener.accept()[0] as peer:
            peer.settimeout(5)
            if callable(answer):
                answer(peer)
                return
            got.append(peer.recv(65536))
            peer.sendall(answer)

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1], got


STRANGE = {
    b"SSH-2.0-OpenSSH_9.2\r\n": "does not speak HTTP",
    b"": "closed the connection before its answer was complete",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc": "closed the connection before its answer was complete",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n": 'a body length of "-5"',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": 'a body length of "zz"',
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 600 + b"\r\n": "too many headers",
    b"x" * 100_000: "a line without an end",
}


@pytest.mark.parametrize(("answer", "expected"), STRANGE.items())
def test_strange_servers(virtctl: Run, answer: bytes, expected: str) -> None:
    port, _ = serve(answer)
    result = virtctl("start", "vm1", f"--server=http://127.0.0.1:{port}")
    assert result.code == 1
    assert expected in result.err


def test_dead_server_names_address_and_way_out(virtctl: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for arguments in (["start", "vm1"], ["list"], ["console", "vm1"], ["apply", "-f", "/dev/null"]):
        result = virtctl(*arguments, f"--server=https://127.0.0.1:{port}")
        if arguments[0] != "apply":
            assert result == (
                1,
                "",
                f"Unable to connect to the server: dial tcp 127.0.0.1:{port}: connect: connection refused\n"
                "Is it running? `virtctl local up` starts the one-machine cluster, `virtctl local status` shows it.\n",
            )


def test_server_that_never_answers(virtctl: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = virtctl("start", "vm1", f"--server=http://127.0.0.1:{port}", "--request-timeout=200ms")
    assert result.code == 1
    assert f"dial tcp 127.0.0.1:{port}: i/o timeout" in result.err


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("https://no.such.host.invalid", "dial tcp: lookup no.such.host.invalid: "),
        ("http://127.0.0.1:99999", "http://127.0.0.1:99999 is not an address"),
        ("http://127.0.0.1:x", "is not an address"),
        ("gopher://x", 'server "gopher://x" is not an address'),
        ("http://a b", "is not an address"),
    ],
)
def test_addresses_that_are_none(virtctl: Run, server: str, expected: str) -> None:
    assert expected in virtctl("start", "vm1", "--server", server).err


def test_no_header_can_be_smuggled(virtctl: Run, api: FakeApi, kube: object) -> None:
    assert "holds a line break" in virtctl("start", "vm1", "--as", "me\r\nX-Evil: 1").err
    assert api.seen == []


def test_path_prefix_is_kept_for_requests_and_streams(virtctl: Run, api: FakeApi) -> None:
    api.on("PUT", f"/k8s/clusters/c1{SUB}/start", (202, None))
    assert virtctl("start", "vm1", "--server", f"{api.url}/k8s/clusters/c1/").code == 0
    virtctl("console", "vm1", "--server", f"{api.url}/k8s/clusters/c1")
    assert api.seen[1].path.startswith("/k8s/clusters/c1/apis/subresources.kubevirt.io/v1/")
    assert api.seen[1].headers["sec-websocket-protocol"] == "plain.kubevirt.io"


def test_chunked_answer_and_kept_connection(virtctl: Run, api: FakeApi, kube: object) -> None:
    peers: set[Any] = set()

    def answer(handler: Handler) -> None:
        peers.add(handler.client_address)
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b'5;x=y\r\n{"ite\r\n7\r\nms":[]}\r\n0\r\nTrailer: x\r\n\r\n')

    base = "/apis/kubevirt.io/v1/namespaces/default"
    api.on("GET", f"{base}/virtualmachines", answer)
    api.on("GET", f"{base}/virtualmachineinstances", answer)
    assert virtctl("list", "-o", "json").code == 0
    assert len(peers) == 1


APPLIED = {
    "metadata": {
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": '{"stringData":{"password":"hidden-4"}}',
            "kubevirt.io/ignitiondata": "hidden-5",
        }
    }
}


def test_trace_shows_requests_but_no_secret(virtctl: Run, api: FakeApi, kube: object) -> None:
    api.on("PUT", f"{SUB}/start", (200, {"kind": "X", "data": {"a": "hidden-1"}, "userData": "hidden-2", **APPLIED}))
    for level, seen in {"6": "", "7": "    User-Agent: virtctl", "8": "Response Body: "}.items():
        result = virtctl("start", "vm1", "-v", level, "--as=jane")
        assert re.search(rf"PUT {api.url}{SUB}/start 200 OK in \d+ milliseconds\n", result.err)
        assert seen in result.err
        assert "hidden" not in result.err
        assert result.out == "VM vm1 was scheduled to start\n"
    assert virtctl("start", "vm1", "-v5").err == ""
    assert trace.masked(b"not json") == "[8 bytes]"
    assert trace.masked(b'{"a":"' + b"x" * 9000 + b'"}').endswith(" chars]")
    masked = [("Authorization", "Bearer hidden-3")]
    trace.request(7, "GET", "u", masked, None)


def test_server_warnings_are_shown_once(virtctl: Run, api: FakeApi, kube: object) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Warning", '299 - "spec.\\"x\\" is old"')
        handler.send_header("Warning", '299 - "and that too"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    api.on("PUT", f"{SUB}/start", answer)
    assert virtctl("start", "vm1", "vm1").err == 'Warning: spec."x" is old\nWarning: and that too\n'


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    return monkeypatch  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("url", "excluded", "expected"),
    [
        ("https://api.test", "", "http://proxy"),
        ("https://127.0.0.1", "", ""),
        ("https://localhost", "", ""),
        ("https://api.test", "other.test, .test", ""),
        ("https://api.test", "api.test", ""),
        ("https://myapi.test", "api.test", "http://proxy"),
        ("https://sub.api.test", "api.test", ""),
        ("https://api.test:8443", "api.test:443", "http://proxy"),
        ("https://10.1.2.3", "10.0.0.0/8", ""),
        ("https://11.1.2.3", "10.0.0.0/8", "http://proxy"),
        ("https://api.test", "*", ""),
    ],
)
def test_proxy_from_environment(no_proxy: pytest.MonkeyPatch, url: str, excluded: str, expected: str) -> None:
    no_proxy.setenv("HTTPS_PROXY", "http://proxy")
    no_proxy.setenv("NO_PROXY", excluded)
    target = address(url)
    assert proxies.from_environment(target.scheme, target.host, target.port) == expected


def relay(peer: socket.socket, api: FakeApi) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as upstream:
        upstream.sendall(peer.recv(65536))
        peer.sendall(upstream.recv(65536))


def test_http_proxy(virtctl: Run, api: FakeApi, no_proxy: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    def tunnel(peer: socket.socket) -> None:
        heads.append(peer.recv(65536))
        peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        relay(peer, api)

    api.on("PUT", f"{SUB}/start", (202, None))
    port, _ = serve(tunnel)
    assert (
        virtctl("start", "vm1", "--server=http://api.test:8080", f"--proxy-url=http://me:p%40ss@127.0.0.1:{port}").code
        == 0
    )
    assert heads[0].startswith(b"CONNECT api.test:8080 HTTP/1.1\r\n")
    assert base64.b64encode(b"me:p@ss") in heads[0]


def test_socks_proxy(virtctl: Run, api: FakeApi) -> None:
    heard: list[bytes] = []

    def tunnel(peer: socket.socket) -> None:
        heard.append(peer.recv(100))
        peer.sendall(b"\x05\x02")
        heard.append(peer.recv(100))
        peer.sendall(b"\x01\x00")
        heard.append(peer.recv(100))
        peer.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
        relay(peer, api)

    api.on("PUT", f"{SUB}/start", (202, None))
    port, _ = serve(tunnel)
    assert (
        virtctl("start", "vm1", "--server=http://api.test:80", f"--proxy-url=socks5://u:p@127.0.0.1:{port}").code == 0
    )
    assert heard == [b"\x05\x02\x00\x02", b"\x01\x01u\x01p", b"\x05\x01\x00\x03\x08api.test\x00\x50"]


@pytest.mark.parametrize(
    ("answer", "scheme", "expected"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "http",
            "refused to connect to api.test:80: HTTP/1.1 407",
        ),
        (b"", "http", "closed the connection"),
        (b"\x05\xff", "socks5", "wants an authentication we do not have"),
        (b"\x05\x00\x05\x05\x00\x01" + bytes(6), "socks5", "could not connect to api.test:80: connection refused"),
    ],
)
def test_proxy_refuses(virtctl: Run, answer: bytes, scheme: str, expected: str) -> None:
    port, _ = serve(answer)
    result = virtctl("start", "vm1", "--server=http://api.test", f"--proxy-url={scheme}://127.0.0.1:{port}")
    assert result.code == 1
    assert expected in result.err
    dead = virtctl("start", "vm1", "--server=http://api.test", "--proxy-url=http://127.0.0.1:1")
    assert dead.err.startswith("Unable to connect to the proxy: dial tcp 127.0.0.1:1: connect: connection refused")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_quoted_segment_is_one_segment(text: str) -> None:
    from urllib.parse import unquote

    quoted = wire.quote(text)
    assert unquote(quoted) == text
    assert not set(quoted) & set("/?#& \r\n")
    assert quoted not in (".", "..")


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(payload: bytes, key: bytes) -> None:
    masked = websocket._masked(payload, key)
    assert masked == bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


@pytest.mark.usefixtures("kube")
def test_page_of_somebody_else(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", "/apis/kubevirt.io/v1/namespaces/default/virtualmachines", (200, b"<html>\n<title>Log in</title>"))
    error, hint = virtctl("list", "vm").err.splitlines()
    assert error == 'the server\'s answer is not JSON but "<html> <title>Log in</title>"'
    assert hint.startswith("Is this the address of a Kubernetes API server?")


@pytest.mark.usefixtures("kube")
@pytest.mark.parametrize(
    ("server", "hint"), [("http://127.0.0.1:1", "`virtctl local up`"), ("http://127.0.0.2:1", "Check the server")]
)
def test_hint_of_a_server_that_does_not_answer(virtctl: Run, server: str, hint: str) -> None:
    error = virtctl("list", "vm", "--server", server).err
    assert hint in error.splitlines()[1]
