"""Nodes by the room they have left, kept as VMIs come and go: a placement looks at few nodes, however many there are.

Without it a placement reads, counts and sorts every node: 14 ms with 1,000 of them (docs/scale.md).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from virt_controller.objects import Node
from virt_controller.placement import Demand, allocatable
from virt_kube.informer import Informer

NOTHING = Demand(0, 0)


class Rooms:
    """`taken` is what VMIs take of each node, those included that a node is not known for."""

    def __init__(self, nodes: Informer[Node]) -> None:
        self.taken: dict[str, Demand] = {}
        self._nodes = nodes
        self._sizes: dict[str, int] = {}  # bytes of memory
        self._order: list[tuple[int, str]] = []
        nodes.add_handler(self._on_node)

    def nodes(self) -> Iterator[Node]:
        """All of them: the one with the most free memory first, and by name where that is the same."""
        for _, name in self._order:
            node = self._nodes.get("", name)
            if node is not None:
                yield node

    def take(self, node: str, demand: Demand) -> None:
        self._change(node, self.taken.get(node, NOTHING) + demand)

    def give(self, node: str, demand: Demand) -> None:
        self._change(node, self.taken.get(node, NOTHING) - demand)

    def _change(self, node: str, taken: Demand) -> None:
        self._drop(node)
        self.taken[node] = taken
        self._put(node)

    def _on_node(self, old: Node | None, new: Node | None) -> None:
        if old is not None and new is not None and old.status.allocatable == new.status.allocatable:
            return  # a heartbeat
        if old is not None:
            self._drop(old.metadata.name)
            del self._sizes[old.metadata.name]
        if new is not None:
            self._sizes[new.metadata.name] = allocatable(new).memory
            self._put(new.metadata.name)

    def _entry(self, node: str) -> tuple[int, str]:
        return (self.taken.get(node, NOTHING).memory - self._sizes[node], node)

    def _put(self, node: str) -> None:
        if node in self._sizes:
            insort(self._order, self._entry(node))

    def _drop(self, node: str) -> None:
        if node in self._sizes:
            del self._order[bisect_left(self._order, self._entry(node))]
