"""What has to happen for one pool: the order of the rules, and those of its size (spec 4.2).

`decide` names effects in order; `controller` carries them out and asks again, until only waiting is left. Rolling out a
changed template is in `update`, making failing VMs anew in `heal`.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_controller.members import BURST, selects
from virt_controller.pool.choose import chosen
from virt_controller.pool.effects import (
    AddFinalizer,
    Create,
    Decision,
    Delete,
    Disown,
    Effect,
    LetGo,
    PruneRevisions,
    RemoveFinalizer,
    StoreRevision,
    WriteStatus,
)
from virt_controller.pool.heal import heal
from virt_controller.pool.observed import Observed
from virt_controller.pool.status import status_of
from virt_controller.pool.update import update
from virt_types import labels
from virt_types.pool.v1beta1 import VirtualMachinePool

KEEPING = frozenset({"Offline", "Online"})
SELECTORS_LEAVE = "{left} VMs are too many, but no more match spec.scaleInStrategy.proactive.selectionPolicy.selectors"


def decide(observed: Observed, now: float) -> Decision:
    """The next effects for `observed`; none when the pool is as it should be. `now` is Unix seconds."""
    plan = _plan(observed, now)
    status = status_of(observed, plan.trouble, now)
    record = (WriteStatus(status),) if status != observed.pool.status else ()
    if plan.effects and not (record and observed.failure is not None):
        return Decision(plan.effects, plan.again_after, pending=True)
    return Decision(record, plan.again_after, pending=bool(plan.effects))


class _Plan(NamedTuple):
    effects: tuple[Effect, ...] = ()
    again_after: float | None = None
    trouble: tuple[str, str] | None = None


def _plan(observed: Observed, now: float) -> _Plan:
    pool = observed.pool
    if observed.deleted:
        return _Plan(_deleted(observed))
    if labels.POOL_FINALIZER not in pool.metadata.finalizers:
        return _Plan((AddFinalizer(),))
    letting = (*_strays(observed), *_disowned(observed), *_leaving(observed))
    if letting or observed.paused:
        return _Plan(letting)
    if not observed.current:
        return _Plan((StoreRevision(f"{pool.metadata.name}-{pool.metadata.generation}"),))
    scaling = _scale(observed)
    if scaling.effects:
        return scaling
    healing, again = heal(observed, now)
    effects = healing or update(observed) or _prune(observed)
    return _Plan(effects, again, scaling.trouble)


def _deleted(observed: Observed) -> tuple[Effect, ...]:
    """Let every VM go first: garbage collection has them then, or they live on without a pool.

    Where disks are to stay, the VMs are deleted here: a living VM would take a disk back that is nobody's.
    """
    meta = observed.pool.metadata
    if labels.POOL_FINALIZER not in meta.finalizers:
        return ()
    keep = keeps_disks(observed.pool) and labels.ORPHAN_FINALIZER not in meta.finalizers
    held = [each for each in observed.members if labels.POOL_FINALIZER in each.vm.metadata.finalizers]
    if keep and (staying := [each.uid for each in held if not each.leaving]):
        return (Delete(tuple(staying[:BURST])),)
    ready = (each for each in held if not keep or each.vm.metadata.deletion_timestamp)
    letting = (*_strays(observed), *(LetGo(each.uid, keep) for each in ready))
    return letting or (() if held else (RemoveFinalizer(),))


def keeps_disks(pool: VirtualMachinePool) -> bool:
    """Whether VMs that go leave their disks behind. `Online` keeps disks too; nothing keeps a guest's memory."""
    strategy = pool.spec.scale_in_strategy
    if strategy is None:
        return False
    wishes = (each.state_preservation for each in (strategy.proactive, strategy.opportunistic) if each is not None)
    return any(wish in KEEPING for wish in wishes)


def _strays(observed: Observed) -> tuple[Effect, ...]:
    """VMs that were orphaned before we let go of them could never be deleted."""
    return tuple(LetGo(each.metadata.uid) for each in observed.strays)


def _disowned(observed: Observed) -> tuple[Effect, ...]:
    selector = observed.selector
    return tuple(
        Disown(each.uid)
        for each in observed.members
        if not each.leaving and not selects(selector, each.vm.metadata.labels)
    )


def _leaving(observed: Observed) -> tuple[Effect, ...]:
    """VMs being deleted wait for us to see to their disks."""
    keep = keeps_disks(observed.pool)
    return tuple(
        LetGo(each.uid, keep)
        for each in observed.members
        if each.vm.metadata.deletion_timestamp and labels.POOL_FINALIZER in each.vm.metadata.finalizers
    )


def _scale(observed: Observed) -> _Plan:
    """A VM on its way out still has its name: its successor waits for that."""
    gap = observed.wanted - len(observed.members)
    if gap > 0:
        ordinals = observed.free[: min(gap, BURST)]
        return _Plan((Create(ordinals, observed.current),) if ordinals else ())
    excess = -gap - sum(each.leaving for each in observed.members)
    if excess <= 0:
        return _Plan()
    strategy = observed.pool.spec.scale_in_strategy
    if strategy is not None and (strategy.unmanaged is not None or strategy.opportunistic is not None):
        return _Plan()  # somebody else deletes
    policy = strategy.proactive.selection_policy if strategy is not None and strategy.proactive is not None else None
    staying = [each for each in observed.members if not each.leaving]
    victims = chosen(observed.pool, staying, policy)[:excess]
    left = excess - len(victims)
    trouble = ("FailedScaleIn", SELECTORS_LEAVE.format(left=left)) if left else None
    uids = tuple(each.uid for each in victims[:BURST])
    return _Plan((Delete(uids),) if uids else (), trouble=trouble)


def _prune(observed: Observed) -> tuple[Effect, ...]:
    used = {observed.current, *(each.revision for each in observed.members)}
    used |= {each.vmi.metadata.labels.get(labels.POOL_REVISION, "") for each in observed.members if each.vmi}
    return (PruneRevisions(frozenset(used)),) if observed.made_from.keys() - used else ()
