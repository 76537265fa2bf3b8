"""`virtctl apply -f`: create what is not there, patch what is, as `kubectl apply` does on the client's side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from virt_types.labels import LAST_APPLIED
from virtctl import manifests, merge
from virtctl.errors import ApiRefusal, InputError
from virtctl.http import JSON, MERGE_PATCH
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


class Step(NamedTuple):
    """One object and what is to be done with it; an empty patch means that nothing is."""

    manifest: manifests.Manifest
    resource: Resource
    namespace: str
    current: Json | None
    body: Json

    @property
    def verdict(self) -> str:
        if self.current is None:
            return "created"
        return "configured" if self.body else "unchanged"


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
    """Create virtual machines and other objects from manifests, or bring them up to date."""
    found = manifests.load(file)
    client = client_of(ctx)
    steps = _plan(client, found)
    created_here = {step.manifest.name for step in steps if step.resource.kind == "Namespace"}
    if dry_run or len(steps) > 1:
        # All or nothing, as far as an API without transactions can promise it.
        for step in steps:
            if step.namespace not in created_here:
                _send(client, step, dry_run=True)
    for step in steps:
        if not dry_run:
            _send(client, step, dry_run=False)
        print(f"{step.resource.title(step.manifest.name)} {step.verdict}{' (dry run)' if dry_run else ''}", flush=True)


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
        steps.append(Step(manifest, resource, namespace, current, _body(manifest.obj, current)))
    return steps


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


def _body(wanted: Json, current: Json | None) -> Json:
    """The object to create, or the patch that updates it; either carries what was applied, for the next time."""
    plain = _without_record(wanted)
    record = json.dumps(plain, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
    recorded = merge.merged(plain, {"metadata": {"annotations": {LAST_APPLIED: record}}})
    if current is None:
        body: Json = recorded
        return body
    before = ((current.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    patch = merge.three_way(_record(before), plain, current)
    patch.pop("status", None)
    if not patch and before is not None and _record(before) == plain:
        return {}
    return merge.three_way(_record(before), recorded, current)


def _record(text: str | None) -> Json:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = {}
    return value if isinstance(value, dict) else {}


def _without_record(obj: Json) -> Json:
    plain: Json = merge.merged(obj, {"metadata": {"annotations": {LAST_APPLIED: None}}})
    if not (obj["metadata"].get("annotations") or {}):
        plain["metadata"].pop("annotations", None)
    return plain


def _send(client: Client, step: Step, *, dry_run: bool) -> None:
    query = {"fieldManager": MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
    name = step.manifest.name
    try:
        if step.current is None:
            target = step.resource.path(step.namespace, query=query)
            client.request("POST", target, step.body, content_type=JSON)
        elif step.body:
            target = step.resource.path(step.namespace, name, query=query)
            client.request("PATCH", target, step.body, content_type=MERGE_PATCH)
    except ApiRefusal as error:
        raise error.prefixed(f"{step.manifest.where}: ") from error
