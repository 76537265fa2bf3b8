"""`virtctl list`: the tables the server prints for kubectl, so that both always show the same columns."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from virtctl import output
from virtctl.errors import UsageError
from virtctl.http import JSON
from virtctl.resources import INSTANCE, VIRTUAL_MACHINE, Resource, Resources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtctl.http import Client, Json

from virtctl.options import client_of

EXAMPLES = """
# Machines and their instances in this namespace
virtctl list

# Only machines, everywhere, and every change from now on
virtctl list vm -A -w

# For programs
virtctl list vm -o json
"""
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PAGE = "500"
FORMATS = ("json", "yaml", "name", "wide")


def command(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="[vm|vmi]", help="What to list; both if not given.")] = "",
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Only these.", show_default=False)
    ] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Print every change, until Ctrl+C.")] = False,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="In all namespaces.")] = False,
    selector: Annotated[str, typer.Option("--selector", "-l", help="Label selector, such as app=web,tier!=db.")] = "",
    output_format: Annotated[
        str, typer.Option("--output", "-o", metavar="json|yaml|name|wide", help="Another form.")
    ] = "",
) -> None:
    """List virtual machines and their instances."""
    output.check_format(output_format, FORMATS)
    if names and everywhere:
        raise UsageError("a resource cannot be retrieved by name across all namespaces")
    if names and selector:
        raise UsageError("selectors and names exclude each other")
    client = client_of(ctx)
    listing = Listing(client, names or [], everywhere=everywhere, selector=selector, form=output_format)
    resources = _resources(client, kind, watch=watch)
    if watch and len(resources) > 1:
        raise UsageError("you may only specify a single resource type", hint="virtctl list vm -w")
    if output_format in ("json", "yaml") and not watch:
        listing.print_documents(resources)
        return
    found = sum(listing.print_rows(resource, prefixed=len(resources) > 1) for resource in resources)
    if not found and not watch:
        where = "" if everywhere else f" in {client.namespace} namespace"
        print(f"No resources found{where}.", file=sys.stderr)
    if watch:
        listing.follow(resources[0])


def _resources(client: Client, kind: str, *, watch: bool) -> list[Resource]:
    if not kind:
        return [VIRTUAL_MACHINE] if watch else [VIRTUAL_MACHINE, INSTANCE]
    known = Resources(client)
    return [known.of_word(word) for word in kind.split(",") if word]


class Listing:
    """One `list`: what to ask for and how to print it."""

    def __init__(self, client: Client, names: list[str], *, everywhere: bool, selector: str, form: str) -> None:
        self._client = client
        self._names = names
        self._everywhere = everywhere
        self._namespace = "" if everywhere else client.namespace
        self._selector = {"labelSelector": selector} if selector else {}
        self._form = form
        self._widths: list[int] | None = None
        self._columns: list[Json] = []
        self._version = ""

    def print_documents(self, resources: list[Resource]) -> None:
        items = [
            item for resource in resources for page in self._pages(resource, JSON) for item in _items(page, resource)
        ]
        if len(self._names) == 1 and len(items) == 1:
            output.document(items[0], self._form)
        else:
            document = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}
            output.document(document, self._form)

    def print_rows(self, resource: Resource, *, prefixed: bool) -> int:
        """Print one resource's table or names; the number of rows."""
        pages = list(self._pages(resource, TABLE))
        rows = [row for page in pages for row in page.get("rows") or []]
        self._columns = next((page["columnDefinitions"] for page in pages if page.get("columnDefinitions")), [])
        self._version = pages[-1].get("metadata", {}).get("resourceVersion", "") if pages else ""
        if self._form == "name":
            for row in rows:
                print(resource.title(_metadata(row).get("name", "")))
        elif rows:
            if prefixed and self._widths:
                print()
            self._widths = output.table(self._headers(), [self._cells(row, resource, prefixed) for row in rows])
        return len(rows)

    def follow(self, resource: Resource) -> None:
        """Print changes until the user ends it; a watch the server ends is continued."""
        while True:
            query = {**self._selector, "watch": "true", "resourceVersion": self._version}
            if self._names:
                query["fieldSelector"] = f"metadata.name={self._names[0]}"
            accept = JSON if self._form in ("json", "yaml") else TABLE
            for event in self._client.watch(
                resource.path(self._namespace, query=query), accept=accept, on_idle=_nothing
            ):
                if not self._print_event(event, resource):
                    self._version = ""
                    break
            time.sleep(1)

    def _print_event(self, event: Json, resource: Resource) -> bool:
        """False when the server wants us to start anew."""
        body = event.get("object") or {}
        if event.get("type") == "ERROR":
            return False
        rows = body.get("rows") or [] if body.get("kind") == "Table" else [{"cells": [], "object": body}]
        for row in rows:
            self._version = _metadata(row).get("resourceVersion", self._version)
            if event.get("type") == "BOOKMARK":
                continue
            if self._form in ("json", "yaml"):
                output.document(body, self._form)
            elif self._form == "name":
                print(resource.title(_metadata(row).get("name", "")), flush=True)
            else:
                self._columns = body.get("columnDefinitions") or self._columns
                cells = [self._cells(row, resource, prefixed=False)]
                self._widths = output.table(self._headers(), cells, self._widths)
        return True

    def _pages(self, resource: Resource, accept: str) -> Iterator[Json]:
        for name in self._names:
            yield _as_wanted(self._client.json("GET", resource.path(self._namespace, name), accept=accept), accept)
        more = ""
        while not self._names:
            query = {**self._selector, "limit": PAGE, **({"continue": more} if more else {})}
            page = self._client.json("GET", resource.path(self._namespace, query=query), accept=accept)
            yield _as_wanted(page, accept)
            more = page.get("metadata", {}).get("continue", "")
            if not more:
                return

    def _shown(self) -> list[int]:
        return [i for i, c in enumerate(self._columns) if self._form == "wide" or not c.get("priority")]

    def _headers(self) -> list[str]:
        headers = [str(self._columns[i].get("name", "")).upper() for i in self._shown()]
        return ["NAMESPACE", *headers] if self._everywhere else headers

    def _cells(self, row: Json, resource: Resource, prefixed: bool) -> list[str]:
        cells = row.get("cells") or []
        shown = [_text(cells[i]) if i < len(cells) else "" for i in self._shown()]
        if prefixed and shown:
            shown[0] = resource.title(shown[0])
        return [str(_metadata(row).get("namespace", "")), *shown] if self._everywhere else shown


def _as_wanted(page: Json, accept: str) -> Json:
    """The page; where a table was asked for and the server prints none, one with names only."""
    if accept != TABLE or page.get("kind") == "Table":
        return page
    rows = [{"cells": [item["metadata"]["name"]], "object": item} for item in page.get("items", [page])]
    return {"metadata": page.get("metadata") or {}, "columnDefinitions": [{"name": "Name"}], "rows": rows}


def _nothing() -> None:
    """A watch may stay idle for as long as the user likes."""


def _metadata(row: Json) -> Json:
    return (row.get("object") or {}).get("metadata") or {}


def _items(page: Json, resource: Resource) -> list[Json]:
    """The objects of a list, which leave out their kind, or the one object a page is."""
    if "items" not in page:
        return [page]
    api_version = f"{resource.group}/{resource.version}" if resource.group else resource.version
    return [{"apiVersion": api_version, "kind": resource.kind, **item} for item in page["items"] or []]


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return {True: "true", False: "false"}[cell] if isinstance(cell, bool) else str(cell)
