"""start, stop and restart: their requests and texts, for the fast path and for the typer commands alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from virtctl.errors import ApiRefusal, UsageError
from virtctl.http import VIRTUAL_MACHINES

if TYPE_CHECKING:
    from virtctl.http import Client, Json

DEFAULT_WAIT_SECONDS = 300.0


class Verb(NamedTuple):
    """One verb; `failing` and `forcing` begin the error of a refused request, as scripts know them."""

    name: str
    failing: str
    forcing: str
    waited: str  # what to say when --wait saw it


VERBS = {
    verb.name: verb
    for verb in (
        Verb("start", "Error starting VirtualMachine ", "", "is running"),
        Verb("stop", "error stopping VirtualMachine ", "error force stopping VirtualMachine: ", "is stopped"),
        Verb(
            "restart",
            "error restarting VirtualMachine: ",
            "error force restarting VirtualMachine: ",
            "is running again",
        ),
    )
}


class Request(NamedTuple):
    """What the flags of one verb ask for. `wait` is the limit in seconds; None is not to wait."""

    verb: Verb
    names: list[str]
    body: Json
    forced: bool = False
    dry_run: bool = False
    wait: float | None = None


def machine_names(words: list[str], verb: str) -> list[str]:
    """The names in `[vm] NAME...`; a first word that means VirtualMachine is a kind when a name follows."""
    if not words:
        raise UsageError(
            "requires at least 1 arg(s), only received 0", hint=f"Name the virtual machine: virtctl {verb} NAME"
        )
    if len(words) == 1:
        return words
    from virt_types.kinds import VIRTUAL_MACHINE, find_kind

    kind = find_kind(words[0])
    if kind is None:
        return words
    if kind is not VIRTUAL_MACHINE:
        raise UsageError(
            f'unsupported resource type "{words[0]}": {verb} works on virtual machines',
            hint=f"virtctl {verb} vm {words[1]}",
        )
    return words[1:]


def run(client: Client, request: Request) -> None:
    """Send the request for each machine, then wait for all of them. The first failure ends the command."""
    waits = []
    if request.dry_run:
        print("Dry Run execution")
    for name in request.names:
        if request.wait is not None and not request.dry_run:
            from virtctl import waiting

            waits.append(waiting.goal(client, request.verb.name, name))
        try:
            client.request("PUT", client.subresource(VIRTUAL_MACHINES, name, request.verb.name), request.body)
        except ApiRefusal as error:
            raise error.prefixed(request.verb.forcing if request.forced else request.verb.failing) from error
        print(f"VM {name} was scheduled to {request.verb.name}", flush=True)
    if waits:
        from virtctl import waiting

        for target in waiting.until(client, waits, request.wait or 0.0):
            print(f"VM {target.name} {request.verb.waited}", flush=True)
