"""Rolling out a changed template (spec 4.2): VMs get the new spec, and under `proactive` their guests are replaced.

At most `maxUnavailable` VMs are without a ready guest at a time; those that have none anyway cost nothing and go first.
A rollout whose new guests never get ready therefore stops by itself.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_controller.members import BURST
from virt_controller.pool.choose import chosen
from virt_controller.pool.effects import Effect, Recreate, Relabel, Restart, UpdateMachine
from virt_controller.pool.observed import Member, Observed
from virt_controller.vm.strategy import strategy
from virt_types import labels
from virt_types.pool.v1beta1 import VirtualMachinePool, VirtualMachinePoolSpec

DISKS_CHANGED = "the pool's dataVolumeTemplates have changed"


class _Step(NamedTuple):
    """What a member needs next; `disturbs`: its guest ends for it."""

    member: Member
    effect: Effect
    disturbs: bool = False


def update(observed: Observed) -> tuple[Effect, ...]:
    """The next steps of the rollout; none when it is done, not wanted, or has to wait for guests to get ready."""
    spec = observed.pool.spec
    wish = spec.update_strategy
    if wish is not None and wish.unmanaged is not None:
        return ()
    staying = [each for each in observed.members if not each.leaving]
    if wish is not None and wish.opportunistic is not None:
        behind = (each for each in staying if each.revision != observed.current)
        return tuple(UpdateMachine(each.uid, observed.current) for each in behind)[:BURST]
    policy = wish.proactive.selection_policy if wish is not None and wish.proactive is not None else None
    steps = (_step(observed, each) for each in chosen(observed.pool, staying, policy))
    return _affordable(observed, [each for each in steps if each is not None])


def _affordable(observed: Observed, steps: list[_Step]) -> tuple[Effect, ...]:
    unavailable = sum(each.missed for each in observed.members)
    budget = max_unavailable(observed.pool, observed.wanted) - unavailable
    effects: list[Effect] = []
    # Whoever was begun is finished first: a VM with its new spec and its old guest.
    for step in sorted(steps, key=lambda each: isinstance(each.effect, UpdateMachine)):
        if step.disturbs:
            if budget <= 0:
                continue
            budget -= 1
        effects.append(step.effect)
    return tuple(effects[:BURST])


def _step(observed: Observed, member: Member) -> _Step | None:
    """A VM that is behind disturbs its guest from the beginning on, so that no more are begun than may be finished."""
    was = observed.made_from.get(member.revision)
    if member.revision != observed.current:
        if _other_disks(observed, was):
            return _Step(member, Recreate(member.uid, DISKS_CHANGED), disturbs=member.available)
        disturbs = member.available and not _same_guest(observed, was)
        return _Step(member, UpdateMachine(member.uid, observed.current), disturbs)
    vmi = member.vmi
    if vmi is None or not member.runs or strategy(member.vm) == "Halted":
        return None
    made_of = vmi.metadata.labels.get(labels.POOL_REVISION, "")
    if made_of == observed.current:
        return None
    if _same_guest(observed, observed.made_from.get(made_of)):
        return _Step(member, Relabel(member.uid))
    return _Step(member, Restart(member.uid), disturbs=member.available)


def _other_disks(observed: Observed, was: VirtualMachinePoolSpec | None) -> bool:
    now = observed.pool.spec.virtual_machine_template.spec
    return was is not None and was.virtual_machine_template.spec.data_volume_templates != now.data_volume_templates


def _same_guest(observed: Observed, was: VirtualMachinePoolSpec | None) -> bool:
    """Whether a guest of the old template is one of the new: only labels, annotations, run strategy differ."""
    return was is not None and _guest(was) == _guest(observed.pool.spec)


def _guest(made_from: VirtualMachinePoolSpec) -> tuple[object, ...]:
    spec = made_from.virtual_machine_template.spec
    return spec.template.spec, spec.instancetype, spec.preference, made_from.name_generation


def max_unavailable(pool: VirtualMachinePool, wanted: int) -> int:
    """How many VMs may be without a ready guest: a number, or a share rounded down; at least 1. Default: all."""
    limit = pool.spec.max_unavailable
    if isinstance(limit, str):
        text = limit.removesuffix("%")
        share = int(text) if text.isdecimal() and len(text) < 10 else 100
        limit = wanted * min(share, 100) // 100
    return max(1, wanted if limit is None else limit)
