"""`virtctl apply -f`: create what is not there, patch what is, as `kubectl apply` does on the client's side."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from virt_types.errors import VirtError
from virt_types.kinds import (
    CLUSTER_INSTANCETYPE,
    CLUSTER_PREFERENCE,
    INSTANCETYPE,
    PREFERENCE,
    PRESET,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_INSTANCE,
)
from virt_types.labels import LAST_APPLIED
from virtctl import manifests, merge, strategic
from virtctl.errors import ApiRefusal, InputError
from virtctl.http import JSON, MERGE_PATCH, STRATEGIC_PATCH, decode
from virtctl.resources import Resource, Resources

if TYPE_CHECKING:
    from virtctl.http import Client, Json

from virtctl.options import client_of

EXAMPLES = """
# Create or update what the manifest describes
virtctl apply -f vm.yaml

# From standard input, or every manifest of a directory
cat vm.yaml | virtctl apply -f -
virtctl apply -f manifests/

# Only check
virtctl apply -f vm.yaml --dry-run
"""
MANAGER = "kubectl-client-side-apply"


# What a server looks up when it judges a machine, and is therefore applied before.
REFERRED = tuple(kind.kind for kind in (PRESET, INSTANCETYPE, CLUSTER_INSTANCETYPE, PREFERENCE, CLUSTER_PREFERENCE))
FIRST = ("Namespace", *REFERRED)
MACHINES = frozenset(kind.kind for kind in (VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE))
VOLUMES = ("PersistentVolumeClaim", "DataVolume", "DataSource")  # whose labels may suggest a size
# Somebody else may write the object between our reading and our patch; it is read again so many times.
ATTEMPTS = 5
RETRY_SECONDS = 0.2
# What every write changes, whether or not it changed anything else.
BOOKKEEPING = ("resourceVersion", "managedFields", "generation")


class Step(NamedTuple):
    """One object and what is to be done with it; an empty patch means that nothing is."""

    manifest: manifests.Manifest
    resource: Resource
    namespace: str
    current: Json | None
    body: Json

    @property
    def title(self) -> str:
        return self.resource.title(self.manifest.name)


def command(
    ctx: typer.Context,
    *,
    file: Annotated[
        list[str],
        typer.Option("--filename", "-f", metavar="FILE", show_default=False, help="File, directory or -; repeatable."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, on the server too; change nothing.")
    ] = False,
) -> None:
    """Create objects from manifests, or bring them up to date."""
    found = manifests.load(file)
    client = client_of(ctx)
    steps = _plan(client, found)
    created_here = {step.manifest.name for step in steps if step.resource.kind == "Namespace"}
    new_kinds = {step.resource.kind for step in steps if step.current is None}
    if dry_run or len(steps) > 1:
        # All or nothing, as far as an API without transactions can promise it.
        for step in steps:
            if step.namespace not in created_here and (dry_run or not _depends(step, new_kinds)):
                _send(client, step, dry_run=True)
    done: list[str] = []
    for position, step in enumerate(steps):
        try:
            verdict = _send(client, step, dry_run=dry_run)
        except VirtError as error:
            error.hint = "\n".join(filter(None, [error.hint, _account(done, steps[position + 1 :])]))
            raise
        done.append(f"{step.title} {verdict}{' (dry run)' if dry_run else ''}")
        print(done[-1], flush=True)


def _account(done: list[str], left: list[Step]) -> str:
    """What an apply that failed in the middle has done and what it has not."""
    parts = [
        f"Done before: {', '.join(done)}." if done else "",
        f"Not tried: {', '.join(f'{step.title} ({step.manifest.where})' for step in left)}." if left else "",
    ]
    return " ".join(filter(None, parts))


def _plan(client: Client, found: list[manifests.Manifest]) -> list[Step]:
    resources = Resources(client)
    steps: list[Step] = []
    seen: dict[tuple[str, str, str], str] = {}
    for manifest in found:
        resource = _resource(resources, manifest)
        namespace = _namespace(client, manifest) if resource.namespaced else ""
        key = (resource.type_name, namespace, manifest.name)
        if key in seen:
            raise InputError(
                f"{manifest.where}: {resource.title(manifest.name)} is also at {seen[key]}",
                hint="Remove one of the two.",
            )
        seen[key] = manifest.where
        current = _current(client, resource, namespace, manifest.name)
        steps.append(_step(manifest, resource, namespace, current))
    return sorted(
        steps, key=lambda step: FIRST.index(step.resource.kind) if step.resource.kind in FIRST else len(FIRST)
    )


def _depends(step: Step, new_kinds: set[str]) -> bool:
    """Whether a server can judge the machine only once others of this call are there."""
    if step.resource.kind not in MACHINES:
        return False
    spec = step.manifest.obj.get("spec") or {}
    infers = any((spec.get(word) or {}).get("inferFromVolume") for word in ("instancetype", "preference"))
    return bool(new_kinds & {*REFERRED, *(VOLUMES if infers else ())})


def _step(manifest: manifests.Manifest, resource: Resource, namespace: str, current: Json | None) -> Step:
    return Step(manifest, resource, namespace, current, _body(_applied(manifest.obj, namespace), current, resource))


def _resource(resources: Resources, manifest: manifests.Manifest) -> Resource:
    try:
        return resources.of_object(manifest.obj["apiVersion"], manifest.obj["kind"])
    except InputError as error:
        raise InputError(f"{manifest.where}: {error.message}", hint=error.hint) from error


def _namespace(client: Client, manifest: manifests.Manifest) -> str:
    given = client.config.namespace_given
    if given and manifest.namespace and manifest.namespace != client.namespace:
        raise InputError(
            f"{manifest.where}: the namespace from the provided object "
            f'"{manifest.namespace}" does not match the namespace "{client.namespace}"',
            hint="Leave out -n, or metadata.namespace.",
        )
    return manifest.namespace or client.namespace


def _current(client: Client, resource: Resource, namespace: str, name: str) -> Json | None:
    try:
        return client.json("GET", resource.path(namespace, name))
    except ApiRefusal as error:
        if error.code != 404:
            raise
        return None


def _body(plain: Json, current: Json | None, resource: Resource) -> Json:
    """The object to create, or the patch that updates it; either carries what was applied, for the next time."""
    record = json.dumps(plain, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
    recorded = merge.merged(plain, {"metadata": {"annotations": {LAST_APPLIED: record}}})
    if current is None:
        body: Json = recorded
        return body
    three_way = strategic.three_way if _is_builtin(resource) else merge.three_way
    last = _last_applied(current)
    if last == plain and not three_way(last, plain, current):
        return {}
    return three_way(last, recorded, current)


def _is_builtin(resource: Resource) -> bool:
    """Whether the server knows strategic merge patches for it; custom resources only take JSON's."""
    return resource.group in strategic.BUILTIN_GROUPS


def _last_applied(current: Json) -> Json:
    """What was applied before, by whichever program; empty when nothing was."""
    metadata = current.get("metadata") or {}
    try:
        value = json.loads((metadata.get("annotations") or {}).get(LAST_APPLIED) or "{}")
    except ValueError:
        value = {}
    if not isinstance(value, dict) or not isinstance(value.get("metadata"), dict):
        return {}
    return _applied(value, str(metadata.get("namespace") or ""))


def _applied(obj: Json, namespace: str) -> Json:
    """A manifest in the form kubectl records it: with namespace and annotations, without the record and the status."""
    metadata = dict(obj["metadata"])
    annotations = metadata.get("annotations") or {}
    metadata["annotations"] = {name: value for name, value in annotations.items() if name != LAST_APPLIED}
    if namespace:
        metadata["namespace"] = namespace
    return {**{name: value for name, value in obj.items() if name != "status"}, "metadata": metadata}


def _send(client: Client, step: Step, *, dry_run: bool) -> str:
    """Create or patch one object, anew when somebody else was quicker; `created`, `configured` or `unchanged`."""
    attempts = 0
    while True:
        attempts += 1
        try:
            return _sent(client, step, dry_run=dry_run)
        except ApiRefusal as error:
            if error.code != 409 or attempts == ATTEMPTS:
                raise error.prefixed(f"{step.manifest.where}: ") from error
        time.sleep(RETRY_SECONDS)
        current = _current(client, step.resource, step.namespace, step.manifest.name)
        step = _step(step.manifest, step.resource, step.namespace, current)


def _sent(client: Client, step: Step, *, dry_run: bool) -> str:
    query = {"fieldManager": MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
    if step.current is None:
        client.request("POST", step.resource.path(step.namespace, query=query), step.body, content_type=JSON)
        return "created"
    if not step.body:
        return "unchanged"
    target = step.resource.path(step.namespace, step.manifest.name, query=query)
    kind = STRATEGIC_PATCH if _is_builtin(step.resource) else MERGE_PATCH
    answer = decode(client.request("PATCH", target, step.body, content_type=kind))
    return "unchanged" if _content(answer) == _content(step.current) else "configured"


def _content(obj: Json) -> Json:
    """An object without what the server writes on its own account: a patch may ask for what it has in other words."""
    metadata = {name: value for name, value in (obj.get("metadata") or {}).items() if name not in BOOKKEEPING}
    return {**obj, "metadata": metadata}
