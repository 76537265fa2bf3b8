"""Rules about where a guest may run (rule 99): affinity, tolerations, topology spread, in Kubernetes' own words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virt_types.errors import Cause
from virt_types.k8s.scheduling import (
    NodeAffinity,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
)
from virt_types.meta import LabelSelector, LabelSelectorRequirement
from virt_types.names import label_value_problems, qualified_name_problems
from virt_types.validation.scope import Rule, Scope, dns_label_faults, duplicate, invalid, one_of, required, shown

LISTED, BARE, COMPARED = ("In", "NotIn"), ("Exists", "DoesNotExist"), ("Gt", "Lt")
OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")
EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
TOLERATION_OPERATORS = ("Equal", "Exists")
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
NEEDED, PREFERRED = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
EMPTY = "Required value: can not be empty"
NEEDS_VALUES = "Required value: must be specified when `operator` is 'In' or 'NotIn'"
TAKES_NO_VALUES = "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
NODE_FIELD = "metadata.name"  # the one field of a node that can be asked for
POLICIES = ("Honor", "Ignore")


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
        yield from _node_term(f"{path}.{NEEDED}.nodeSelectorTerms[{index}]", term)
    for index, wish in enumerate(nodes.preferred_during_scheduling_ignored_during_execution):
        at = f"{path}.{PREFERRED}[{index}]"
        yield from _weight(f"{at}.weight", wish.weight)
        yield from _node_term(f"{at}.preference", wish.preference)


def _node_term(path: str, term: NodeSelectorTerm) -> Iterator[Cause]:
    yield from _requirements(f"{path}.matchExpressions", term.match_expressions)
    for index, one in enumerate(term.match_fields):
        field = f"{path}.matchFields[{index}]"
        if one.operator not in OPERATORS:
            yield one_of(f"{field}.operator", OPERATORS)
        elif one.operator not in LISTED:
            yield from _faults(f"{field}.operator", one.operator, ["not a valid selector operator"])
        elif len(one.values) != 1:
            text = "Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            yield required(f"{field}.values", f"{field}.values: {text}")
        if one.key != NODE_FIELD:
            yield from _faults(f"{field}.key", one.key, ["not a valid field selector key"])


def _requirements(path: str, requirements: list[NodeSelectorRequirement]) -> Iterator[Cause]:
    for index, one in enumerate(requirements):
        field, operator = f"{path}[{index}]", one.operator
        values = f"{field}.values"
        if operator in LISTED and not one.values:
            yield required(values, f"{values}: {NEEDS_VALUES}")
        elif operator in BARE and one.values:
            yield Cause("FieldValueForbidden", f"{values}: {TAKES_NO_VALUES}", values)
        elif operator in COMPARED and len(one.values) != 1:
            text = "Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield required(values, f"{values}: {text}")
        elif operator not in OPERATORS:
            yield one_of(f"{field}.operator", OPERATORS)
        yield from _faults(f"{field}.key", one.key, qualified_name_faults(one.key))


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
    yield from _topology_key(f"{path}.topologyKey", term.topology_key)
    if not term.topology_key:
        yield from _faults(f"{path}.topologyKey", "", qualified_name_faults(""))
    yield from _selector(f"{path}.labelSelector", term.label_selector)
    yield from _selector(f"{path}.namespaceSelector", term.namespace_selector)
    for name in term.namespaces:
        yield from _faults(f"{path}.namespaces", name, dns_label_faults(name))
    for field, keys in (("matchLabelKeys", term.match_label_keys), ("mismatchLabelKeys", term.mismatch_label_keys)):
        yield from _label_keys(f"{path}.{field}", keys, term.label_selector)


def _topology_key(field: str, key: str) -> Iterator[Cause]:
    if not key:
        yield required(field, f"{field}: {EMPTY}")
    else:
        yield from _faults(field, key, qualified_name_faults(key))


def _label_keys(path: str, keys: list[str], selector: LabelSelector | None) -> Iterator[Cause]:
    if keys and selector is None:
        yield Cause(
            "FieldValueForbidden", f"{path}: Forbidden: must not be specified when labelSelector is not set", path
        )
    for index, key in enumerate(keys):
        yield from _faults(f"{path}[{index}]", key, qualified_name_faults(key))


def _selector(path: str, selector: LabelSelector | None) -> Iterator[Cause]:
    """A label selector, which a scheduler would otherwise find out about."""
    if selector is None:
        return
    for key, value in selector.match_labels.items():
        yield from _faults(f"{path}.matchLabels", key, qualified_name_faults(key))
        yield from _faults(f"{path}.matchLabels", value, label_value_faults(value))
    for index, one in enumerate(selector.match_expressions):
        yield from _requirement(f"{path}.matchExpressions[{index}]", one)


def _requirement(path: str, one: LabelSelectorRequirement) -> Iterator[Cause]:
    values = f"{path}.values"
    if one.operator in LISTED and not one.values:
        yield required(values, f"{values}: {NEEDS_VALUES}")
    elif one.operator in BARE and one.values:
        yield Cause("FieldValueForbidden", f"{values}: {TAKES_NO_VALUES}", values)
    elif one.operator not in (*LISTED, *BARE):
        yield from _faults(f"{path}.operator", one.operator, ["not a valid selector operator"])
    yield from _faults(f"{path}.key", one.key, qualified_name_faults(one.key))
    for index, value in enumerate(one.values):
        yield from _faults(f"{values}[{index}]", value, label_value_faults(value))


def qualified_name_faults(key: str) -> list[str]:
    """The Kubernetes that KubeVirt is built with counts characters."""
    return [fault.replace(" bytes", " characters") for fault in qualified_name_problems(key)]


def label_value_faults(value: str) -> list[str]:
    return [fault.replace(" bytes", " characters") for fault in label_value_problems(value)]


def _faults(field: str, value: str, problems: Iterable[str]) -> Iterator[Cause]:
    yield from (invalid(field, f'{field}: Invalid value: "{shown(value)}": {why}') for why in problems)


def tolerations(scope: Scope) -> Iterator[Cause]:
    for index, toleration in enumerate(scope.spec.tolerations):
        path = scope.at(f"tolerations[{index}]")
        operator, effect = toleration.operator or "Equal", toleration.effect
        if operator not in TOLERATION_OPERATORS:
            yield one_of(f"{path}.operator", TOLERATION_OPERATORS)
        elif operator == "Exists" and toleration.value:
            field = f"{path}.operator"
            fault = "value must be empty when `operator` is 'Exists'"
            yield invalid(field, f'{field}: Invalid value: "{shown(toleration.value)}": {fault}')
        elif operator == "Equal" and not toleration.key:
            field = f"{path}.operator"
            fault = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield invalid(field, f'{field}: Invalid value: "{operator}": {fault}')
        if effect and effect not in EFFECTS:
            yield one_of(f"{path}.effect", EFFECTS)
        if toleration.toleration_seconds is not None and effect != "NoExecute":
            field = f"{path}.effect"
            fault = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid(field, f'{field}: Invalid value: "{shown(effect or "")}": {fault}')


def spread(scope: Scope) -> Iterator[Cause]:
    constraints = scope.spec.topology_spread_constraints
    for index, constraint in enumerate(constraints):
        path = scope.at(f"topologySpreadConstraints[{index}]")
        if constraint.max_skew <= 0:
            field = f"{path}.maxSkew"
            yield invalid(field, f"{field}: Invalid value: {constraint.max_skew}: must be greater than zero")
        yield from _topology_key(f"{path}.topologyKey", constraint.topology_key)
        yield from _selector(f"{path}.labelSelector", constraint.label_selector)
        yield from _label_keys(f"{path}.matchLabelKeys", constraint.match_label_keys, constraint.label_selector)
        for name, policy in (
            ("nodeAffinityPolicy", constraint.node_affinity_policy),
            ("nodeTaintsPolicy", constraint.node_taints_policy),
        ):
            if policy is not None and policy not in POLICIES:
                yield one_of(f"{path}.{name}", POLICIES)
        if constraint.when_unsatisfiable not in UNSATISFIABLE:
            yield one_of(f"{path}.whenUnsatisfiable", UNSATISFIABLE)
        if constraint.min_domains is not None and constraint.min_domains <= 0:
            field = f"{path}.minDomains"
            yield invalid(field, f"{field}: Invalid value: {constraint.min_domains}: must be greater than zero")
        pair = constraint.topology_key, constraint.when_unsatisfiable
        if any(pair == (other.topology_key, other.when_unsatisfiable) for other in constraints[index + 1 :]):
            field = f"{path}.{{topologyKey, whenUnsatisfiable}}"
            yield duplicate(field, f'{field}: Duplicate value: "{{{shown(pair[0])}, {pair[1]}}}"')


RULES: tuple[Rule, ...] = (node_affinity, neighbours, tolerations, spread)
