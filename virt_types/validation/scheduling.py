"""Rules about where a guest may run (rule 99): affinity, tolerations, topology spread, in Kubernetes' own words."""

from __future__ import annotations

from collections.abc import Iterator

from virt_types.errors import Cause
from virt_types.k8s.scheduling import (
    NodeAffinity,
    NodeSelectorRequirement,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
)
from virt_types.validation.scope import Rule, Scope, invalid, required, shown, unsupported

LISTED, BARE, COMPARED = ("In", "NotIn"), ("Exists", "DoesNotExist"), ("Gt", "Lt")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
TOLERATION_OPERATORS = ("Equal", "Exists")
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
NEEDED, PREFERRED = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
EMPTY = "Required value: can not be empty"


def node_affinity(scope: Scope) -> Iterator[Cause]:
    nodes = scope.spec.affinity.node_affinity if scope.spec.affinity else None
    if nodes is not None:
        yield from _node_affinity(scope.at("affinity.nodeAffinity"), nodes)


def _node_affinity(path: str, nodes: NodeAffinity) -> Iterator[Cause]:
    needed = nodes.required_during_scheduling_ignored_during_execution
    if needed is not None and not needed.node_selector_terms:
        field = f"{path}.{NEEDED}.nodeSelectorTerms"
        yield required(field, f"{field}: Required value: must have at least one node selector term")
    for index, term in enumerate(needed.node_selector_terms if needed else ()):
        yield from _requirements(f"{path}.{NEEDED}.nodeSelectorTerms[{index}].matchExpressions", term.match_expressions)
    for index, wish in enumerate(nodes.preferred_during_scheduling_ignored_during_execution):
        at = f"{path}.{PREFERRED}[{index}]"
        yield from _weight(f"{at}.weight", wish.weight)
        yield from _requirements(f"{at}.preference.matchExpressions", wish.preference.match_expressions)


def _requirements(path: str, requirements: list[NodeSelectorRequirement]) -> Iterator[Cause]:
    for index, one in enumerate(requirements):
        field, operator = f"{path}[{index}]", one.operator
        values = f"{field}.values"
        if operator in LISTED and not one.values:
            text = "Required value: must be specified when `operator` is 'In' or 'NotIn'"
            yield required(values, f"{values}: {text}")
        elif operator in BARE and one.values:
            text = "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield Cause("FieldValueForbidden", f"{values}: {text}", values)
        elif operator in COMPARED and len(one.values) != 1:
            text = "Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield required(values, f"{values}: {text}")
        elif operator not in (*LISTED, *BARE, *COMPARED):
            at = f"{field}.operator"
            yield invalid(at, f'{at}: Invalid value: "{shown(operator)}": not a valid selector operator')


def _weight(field: str, weight: int) -> Iterator[Cause]:
    if not 1 <= weight <= 100:
        yield invalid(field, f"{field}: Invalid value: {weight}: must be in the range 1-100")


def neighbours(scope: Scope) -> Iterator[Cause]:
    affinity = scope.spec.affinity
    wishes: tuple[tuple[str, PodAffinity | PodAntiAffinity | None], ...] = (
        ("podAffinity", affinity.pod_affinity if affinity else None),
        ("podAntiAffinity", affinity.pod_anti_affinity if affinity else None),
    )
    for name, pods in wishes:
        if pods is None:
            continue
        path = scope.at(f"affinity.{name}")
        for index, term in enumerate(pods.required_during_scheduling_ignored_during_execution):
            yield from _term(f"{path}.{NEEDED}[{index}]", term)
        for index, wish in enumerate(pods.preferred_during_scheduling_ignored_during_execution):
            yield from _weight(f"{path}.{PREFERRED}[{index}].weight", wish.weight)
            yield from _term(f"{path}.{PREFERRED}[{index}].podAffinityTerm", wish.pod_affinity_term)


def _term(path: str, term: PodAffinityTerm) -> Iterator[Cause]:
    if not term.topology_key:
        yield required(f"{path}.topologyKey", f"{path}.topologyKey: {EMPTY}")


def tolerations(scope: Scope) -> Iterator[Cause]:
    for index, toleration in enumerate(scope.spec.tolerations):
        path = scope.at(f"tolerations[{index}]")
        operator, effect = toleration.operator or "Equal", toleration.effect
        if operator not in TOLERATION_OPERATORS:
            yield _unsupported(f"{path}.operator", operator, TOLERATION_OPERATORS)
        elif operator == "Exists" and toleration.value:
            field = f"{path}.operator"
            fault = "value must be empty when `operator` is 'Exists'"
            yield invalid(field, f'{field}: Invalid value: "{shown(toleration.value)}": {fault}')
        elif operator == "Equal" and not toleration.key:
            field = f"{path}.operator"
            fault = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield invalid(field, f'{field}: Invalid value: "{operator}": {fault}')
        if effect and effect not in EFFECTS:
            yield _unsupported(f"{path}.effect", effect, EFFECTS)
        if toleration.toleration_seconds is not None and effect != "NoExecute":
            field = f"{path}.effect"
            fault = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid(field, f'{field}: Invalid value: "{shown(effect or "")}": {fault}')


def spread(scope: Scope) -> Iterator[Cause]:
    for index, constraint in enumerate(scope.spec.topology_spread_constraints):
        path = scope.at(f"topologySpreadConstraints[{index}]")
        if constraint.max_skew <= 0:
            field = f"{path}.maxSkew"
            yield invalid(field, f"{field}: Invalid value: {constraint.max_skew}: must be greater than zero")
        if not constraint.topology_key:
            yield required(f"{path}.topologyKey", f"{path}.topologyKey: {EMPTY}")
        if constraint.when_unsatisfiable not in UNSATISFIABLE:
            yield _unsupported(f"{path}.whenUnsatisfiable", constraint.when_unsatisfiable, UNSATISFIABLE)
        if constraint.min_domains is not None and constraint.min_domains <= 0:
            field = f"{path}.minDomains"
            yield invalid(field, f"{field}: Invalid value: {constraint.min_domains}: must be greater than zero")


def _unsupported(field: str, value: str, allowed: tuple[str, ...]) -> Cause:
    listed = ", ".join(f'"{one}"' for one in allowed)
    return unsupported(field, f'{field}: Unsupported value: "{shown(value)}": supported values: {listed}')


RULES: tuple[Rule, ...] = (node_affinity, neighbours, tolerations, spread)
