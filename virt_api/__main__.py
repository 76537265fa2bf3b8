"""`virt-api`: the subresource API as a program of its own.

On a unix socket for an API server on the same machine; with `--listen` over TLS for the API server of a cluster, which
asks its admission webhooks too. `virt-api manifests` prints what that API server has to be told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from virt_api import front_proxy, manifests
from virt_api.app import serve, serve_cluster
from virt_api.serving import Serving, own_certificate
from virt_kube import places
from virt_kube.certificates import Pair
from virt_kube.http import HttpClient
from virt_types.errors import VirtError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "manifests":
            print(manifests.registration(_address(arguments.address), arguments.ca_file), end="")
            return 0
        _run(arguments)
    except VirtError as err:
        print(f"virt-api: {err.message}" + (f"\n{err.hint}" if err.hint else ""), file=sys.stderr)
        return err.exit_code
    except OSError as err:
        print(f"virt-api: can't listen on {arguments.listen or arguments.socket}: {err.strerror}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    import uvloop

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(arguments))


def _parser() -> argparse.ArgumentParser:
    run = Path(places.run_dir())
    parser = argparse.ArgumentParser(
        prog="virt-api", description="KubeVirt's subresource API: start, stop, console, ..."
    )
    parser.add_argument("--kubeconfig", help="how to reach the Kubernetes API (default: as kubectl finds it)")
    parser.add_argument("--context", help="the kubeconfig's context")
    parser.add_argument("--socket", type=Path, default=run / "virt-api.sock", help="where to listen (%(default)s)")
    parser.add_argument(
        "--handler-socket", type=Path, default=run / "virt-handler.sock", help="the node agent's socket (%(default)s)"
    )
    parser.add_argument(
        "--authorize",
        action="store_true",
        help="ask the Kubernetes API whether the user in X-Remote-User may call a subresource (SubjectAccessReview); "
        "for an API server in front that only authenticates",
    )
    cluster = parser.add_argument_group("for the API server of a cluster")
    cluster.add_argument(
        "--listen",
        metavar="ADDRESS:PORT",
        help="serve TLS here instead of the socket: to the API server's front proxy, which is told by ConfigMap "
        f"{front_proxy.NAMESPACE}/{front_proxy.NAME}, and as admission webhooks",
    )
    cluster.add_argument(
        "--tls-cert-file", type=Path, metavar="FILE", help="PEM, with the chain; read anew as it changes"
    )
    cluster.add_argument("--tls-key-file", type=Path, metavar="FILE")
    cluster.add_argument(
        "--cert-dir",
        type=Path,
        default=Path(places.state_dir()) / "virt-api",
        help="without those files: where a CA (ca.crt) and a certificate are made and kept (%(default)s)",
    )
    commands = parser.add_subparsers(dest="command", metavar="manifests")
    printing = commands.add_parser(
        "manifests",
        help="print the APIServices, webhooks and the Service that lead a cluster's API server to a virt-api",
    )
    printing.add_argument("--address", required=True, metavar="HOST:PORT", help="where virt-api --listen is reached")
    printing.add_argument("--ca-file", type=Path, required=True, metavar="FILE", help="PEM: who signed its certificate")
    return parser


async def _serve(arguments: argparse.Namespace) -> None:
    client = HttpClient.from_kubeconfig(arguments.kubeconfig, arguments.context, user_agent="virt-api")
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel if task else sys.exit)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            if arguments.listen:
                address, pair = _address(arguments.listen), _certificate(arguments)
                serving = Serving(pair, await front_proxy.read(client))
                await serve_cluster(client, address=address, serving=serving, handler_socket=arguments.handler_socket)
            else:
                await serve(
                    client,
                    socket=arguments.socket,
                    handler_socket=arguments.handler_socket,
                    reviewing=arguments.authorize,
                )
    finally:
        await client.close()


def _certificate(arguments: argparse.Namespace) -> Pair:
    given = arguments.tls_cert_file, arguments.tls_key_file
    if all(given):
        return Pair(*given)
    if any(given):
        raise VirtError("--tls-cert-file and --tls-key-file go together")
    return own_certificate(arguments.cert_dir)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise VirtError(
            f"{text!r} is not HOST:PORT", hint="such as 10.0.0.5:8443, [fd00::5]:8443 or api.example.org:8443"
        )
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main())
