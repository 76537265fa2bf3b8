"""Which VMs of a pool come first: those a policy's selectors match, in the order its sort policy names (spec 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from virt_controller.members import created_at, lot
from virt_controller.pool.machine import ordinal_of
from virt_controller.pool.observed import Member
from virt_types.pool.v1beta1 import VirtualMachinePool, VirtualMachinePoolSelectionPolicy, VirtualMachinePoolSelectors
from virt_types.selectors import Requirement, from_struct

RANDOM = "Random"
OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}
SORT_KEYS: dict[str, Callable[[VirtualMachinePool, Member], Any]] = {
    "AscendingOrder": lambda pool, each: ordinal_of(pool, each.name),
    "DescendingOrder": lambda pool, each: -ordinal_of(pool, each.name),
    "Newest": lambda pool, each: (-created_at(each.vm), -ordinal_of(pool, each.name)),
    "Oldest": lambda pool, each: (created_at(each.vm), ordinal_of(pool, each.name)),
}


def chosen(
    pool: VirtualMachinePool, members: Iterable[Member], policy: VirtualMachinePoolSelectionPolicy | None
) -> list[Member]:
    """The members that may be chosen, first choice first.

    Where no order is asked for, those that are not available go before those that are; the rest is chance, but the same
    chance for the same generation of the pool: a pass that is repeated chooses the same ones.
    """
    candidates = [each for each in members if policy is None or _selected(each, policy.selectors)]
    key = SORT_KEYS.get((policy.sort_policy if policy is not None else None) or RANDOM)
    if key is not None:
        return sorted(candidates, key=lambda each: (key(pool, each), each.uid))
    seed = f"{pool.metadata.uid}/{pool.metadata.generation}"
    return sorted(candidates, key=lambda each: (each.available, lot(seed, each.uid), each.uid))


def _selected(member: Member, selectors: VirtualMachinePoolSelectors | None) -> bool:
    """Both kinds of selector have to match, where they are given."""
    if selectors is None:
        return True
    if selectors.label_selector is not None and not from_struct(selectors.label_selector).matches(
        member.vm.spec.template.metadata.labels
    ):
        return False
    requirements = selectors.node_selector_requirement_matcher
    if not requirements:
        return True
    # Without a node it has the labels that its node will have for certain.
    node = member.node if member.node is not None else member.vm.spec.template.spec.node_selector
    return all(
        Requirement(each.key, OPERATORS.get(each.operator, ""), tuple(each.values)).matches(node)
        for each in requirements
    )
