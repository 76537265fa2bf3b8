"""`virtctl delete`: by kind and names, or what a manifest describes; returns when it is gone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from virt_types.durations import seconds
from virtctl import manifests
from virtctl.errors import ApiRefusal, Unreachable, UsageError, WaitFailed
from virtctl.http import JSON
from virtctl.options import NO_GRACE_PERIOD, GracePeriod, client_of
from virtctl.progress import Progress
from virtctl.resources import Resource, Resources
from virtctl.waiting import explain, state, uid_of

if TYPE_CHECKING:
    from virtctl.http import Client, Json

EXAMPLES = """
# Delete the virtual machine myvm and return when it is gone
virtctl delete vm myvm

# Leave its running instance behind
virtctl delete vm myvm --cascade=orphan

# What a manifest has created
virtctl delete -f vm.yaml
"""
PROPAGATION = {
    "background": "Background",
    "foreground": "Foreground",
    "orphan": "Orphan",
    "true": "Background",
    "false": "Orphan",
}
POLL_SECONDS = 0.5


class Target(NamedTuple):
    """One object to delete."""

    resource: Resource
    namespace: str
    name: str

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace, self.name)


def command(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND NAME...]", show_default=False, help="What, such as vm myvm or vm/myvm."),
    ] = None,
    *,
    file: Annotated[
        list[str] | None,
        typer.Option("--filename", "-f", metavar="FILE", show_default=False, help="Delete what it describes."),
    ] = None,
    cascade: Annotated[
        str, typer.Option("--cascade", metavar="HOW", help="background, foreground or orphan.")
    ] = "background",
    grace_period: GracePeriod = NO_GRACE_PERIOD,
    now: Annotated[bool, typer.Option("--now", help="Give the guest one second.")] = False,
    ignore_not_found: Annotated[bool, typer.Option("--ignore-not-found", help="What is not there is deleted.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when the objects are gone.")] = True,
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to wait at most.")] = "300s",
) -> None:
    """Delete objects by name or by manifest."""
    options = _options(cascade, grace_period, now=now)
    if bool(words) == bool(file):
        raise UsageError("name what to delete: KIND NAME..., or -f FILE", hint="virtctl delete vm myvm")
    client = client_of(ctx)
    targets = _of_manifests(client, file) if file else _of_words(client, words or [])
    deadline = time.monotonic() + (seconds(timeout) or 0.0)  # the grammar has refused what is no duration
    waiting: list[tuple[Target, str]] = []
    for target in targets:
        try:
            answer = client.json("DELETE", target.path, options, content_type=JSON)
        except ApiRefusal as error:
            if error.code == 404 and ignore_not_found:
                continue
            raise
        print(f'{target.resource.type_name} "{target.name}" deleted', flush=True)
        waiting.append((target, _uid(answer)))
    if wait:
        _wait(client, waiting, deadline, timeout)


def _options(cascade: str, grace_period: int, *, now: bool) -> Json:
    if cascade not in PROPAGATION:
        raise UsageError(f'invalid cascade value ({cascade}). Must be "background", "foreground", or "orphan"')
    if now and grace_period != NO_GRACE_PERIOD:
        raise UsageError("--now and --grace-period cannot be specified together")
    options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": PROPAGATION[cascade]}
    if now or grace_period != NO_GRACE_PERIOD:
        options["gracePeriodSeconds"] = 1 if now else grace_period
    return options


def _of_words(client: Client, words: list[str]) -> list[Target]:
    """`vm a b` or `vm/a vmi/b`."""
    resources = Resources(client)
    if "/" in words[0]:
        pairs = [word.partition("/") for word in words]
        wrong = next((word for word, (kind, _, name) in zip(words, pairs, strict=True) if not kind or not name), None)
        if wrong is not None:
            raise UsageError(f'"{wrong}" is not KIND/NAME', hint="virtctl delete vm/a vm/b, or virtctl delete vm a b")
        return [Target(resources.of_word(kind), client.namespace, name) for kind, _, name in pairs]
    if len(words) == 1:
        raise UsageError("resource(s) were provided, but no name was specified", hint=f"virtctl delete {words[0]} NAME")
    resource = resources.of_word(words[0])
    return [Target(resource, client.namespace, name) for name in words[1:]]


def _of_manifests(client: Client, files: list[str]) -> list[Target]:
    resources = Resources(client)
    return [
        Target(resources.of_object(m.obj["apiVersion"], m.obj["kind"]), m.namespace or client.namespace, m.name)
        for m in manifests.load(files)
    ]


def _uid(answer: Json) -> str:
    """Of the object deleted: a Status names it in its details when it is gone already."""
    details = answer.get("details")
    return str(details.get("uid") or "") if isinstance(details, dict) else uid_of(answer)


def _wait(client: Client, waiting: list[tuple[Target, str]], deadline: float, timeout: str) -> None:
    with Progress() as progress:
        for target, uid in waiting:
            left: Json | None = {}
            while (left := _still_there(client, target, uid, left)) is not None:
                held = ", ".join((left.get("metadata") or {}).get("finalizers") or []) or "nothing we know of"
                if time.monotonic() >= deadline:
                    raise WaitFailed(
                        f"timed out after {timeout} waiting for {target.resource.title(target.name)} to go away: "
                        f"it is {explain(left)}, held by {held}",
                        hint="The deletion goes on by itself; --grace-period 0 does not wait for the guest.",
                    )
                progress.show(f"{target.resource.title(target.name)} to go away", state(left))
                time.sleep(POLL_SECONDS)


def _still_there(client: Client, target: Target, uid: str, before: Json | None) -> Json | None:
    """The object, unless it is gone or another of its name has taken its place; as `before` while no server answers."""
    try:
        current = client.json("GET", target.path)
    except Unreachable:
        return before
    except ApiRefusal as error:
        if error.code != 404:
            raise
        return None
    return current if not uid or uid_of(current) == uid else None
