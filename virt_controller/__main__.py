"""The program `virt-controller`: the controllers against any Kubernetes API, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence

from virt_controller.app import Options, run
from virt_kube.http import HttpClient
from virt_kube.leader import LeaderElector, LostLease
from virt_types.errors import VirtError

log = logging.getLogger("virt_controller.main")

LEASE = "virt-controller"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and work; ends with the exit code of what went wrong."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose > 1 else logging.INFO if arguments.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        asyncio.run(_serve(arguments))
    except VirtError as error:
        print(f"virt-controller: {error.message}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        sys.exit(error.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="virt-controller",
        description="Runs virtual machines' control loops: creates, places, restarts and removes their instances.",
    )
    parser.add_argument(
        "--kubeconfig", help="kubeconfig file (default: $KUBECONFIG, ~/.kube/config, the pod's account)"
    )
    parser.add_argument("--context", help="context of the kubeconfig")
    parser.add_argument("--namespace", default="", help="serve one namespace only (default: all)")
    parser.add_argument("--workers", type=int, default=8, help="objects of a kind worked at the same time (default: 8)")
    parser.add_argument(
        "--leader-elect",
        action="store_true",
        help="of several copies only the holder of a Lease works (for Deployments with replicas)",
    )
    parser.add_argument("--lease-namespace", default="kubevirt", help="namespace of that Lease (default: kubevirt)")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log what happens; twice: log everything")
    return parser


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = HttpClient.from_kubeconfig(arguments.kubeconfig, arguments.context, user_agent="virt-controller")
    try:
        work = asyncio.ensure_future(_work(client, arguments))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
        if not work.cancelled():
            work.result()
    finally:
        await client.close()


async def _work(client: HttpClient, arguments: argparse.Namespace) -> None:
    options = Options(namespace=arguments.namespace, workers=max(1, arguments.workers))
    if not arguments.leader_elect:
        await run(client, options=options)
        return
    identity = f"{socket.gethostname()}_{os.getpid()}"
    elector = LeaderElector(client, arguments.lease_namespace, LEASE, identity)
    while True:  # an API server that was away is no reason to end: stand in line again, with empty caches
        try:
            await elector.lead(lambda: run(client, options=options))
        except LostLease as error:
            log.warning("work stopped reason=LostLease error=%s", error)
        else:
            return


if __name__ == "__main__":
    main()
