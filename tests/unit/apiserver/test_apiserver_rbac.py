"""Rules of roles: what they permit, what covers what, and that the roles of the cluster say what they should."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_kube.roles import READ, Rule, as_json
from virt_local.apiserver.rbac import Attributes, allows, described, missing, rule_of, selector_text
from virt_local.apiserver.roles import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from virt_types import labels

PODS = Rule(("get", "list"), ("",), ("pods", "pods/log"))

ALLOWED = [
    (PODS, Attributes("get", resource="pods"), True),
    (PODS, Attributes("get", resource="pods", subresource="log"), True),
    (PODS, Attributes("get", resource="pods", subresource="status"), False),
    (PODS, Attributes("delete", resource="pods"), False),
    (PODS, Attributes("get", "apps", "pods"), False),
    (PODS, Attributes("get", path="/pods"), False),
    (Rule(("*",), ("*",), ("*",)), Attributes("impersonate", "", "users"), True),
    (Rule(("*",), ("*",), ("*",)), Attributes("get", path="/metrics"), False),
    (Rule(("get",), ("*",), ("*/scale",)), Attributes("get", "x", "pools", "scale"), True),
    (Rule(("get",), ("*",), ("*/scale",)), Attributes("get", "x", "pools"), False),
    (Rule(("get",), ("",), ("pods",), ("a",)), Attributes("get", resource="pods", name="a"), True),
    (Rule(("get",), ("",), ("pods",), ("a",)), Attributes("get", resource="pods", name="b"), False),
    (Rule(("list",), ("",), ("pods",), ("a",)), Attributes("list", resource="pods"), False),
    (Rule(("get",), urls=("/api", "/api/*")), Attributes("get", path="/api/v1"), True),
    (Rule(("get",), urls=("/api",)), Attributes("get", path="/api/v1"), False),
    (Rule(("get",), urls=("*",)), Attributes("get", path="/anything"), True),
]


@pytest.mark.parametrize(("rule", "asked", "allowed"), ALLOWED)
def test_what_a_rule_permits(rule: Rule, asked: Attributes, allowed: bool) -> None:
    assert allows(rule, asked) is allowed


COVERED = [
    ([PODS], Rule(("get",), ("",), ("pods",)), 0),
    ([PODS], Rule(("get", "delete"), ("",), ("pods",)), 1),
    ([PODS], Rule(("*",), ("",), ("pods",)), 1),
    ([PODS], Rule(("get",), ("",), ("*",)), 1),
    ([PODS], Rule(("get",), ("",), ("pods",), ("a", "b")), 0),
    ([Rule(("get",), ("",), ("pods",), ("a",))], Rule(("get",), ("",), ("pods",)), 1),
    ([Rule(("get",), ("",), ("pods",), ("a",))], Rule(("get",), ("",), ("pods",), ("a", "b")), 1),
    ([Rule(("get",), ("",), ("*/log",))], Rule(("get",), ("",), ("pods/log",)), 0),
    ([Rule(("get",), urls=("/api/*",))], Rule(("get",), urls=("/api/v1", "/apis")), 1),
    ([Rule(("get",), urls=("/api/*",))], Rule(("get",), urls=("/api/*",)), 0),
    ([], PODS, 4),
]


@pytest.mark.parametrize(("held", "wanted", "lacking"), COVERED)
def test_nobody_gives_more_than_they_have(held: list[Rule], wanted: Rule, lacking: int) -> None:
    assert len(missing(held, [wanted])) == lacking


WORDS = st.sampled_from(["a", "b", "*"])
RULES = st.builds(
    lambda verbs, groups, resources, names: Rule(tuple(verbs), tuple(groups), tuple(resources), tuple(names)),
    *(st.lists(words, min_size=1, max_size=2) for words in (WORDS, WORDS, st.sampled_from(["a", "a/s", "*", "*/s"]))),
    st.lists(st.sampled_from(["n", "m"]), max_size=2),
)
ASKED = [
    Attributes(verb, group, resource, subresource, "", name)
    for verb, group, resource, subresource, name in itertools.product("ab", "ab", "ab", ("", "s"), ("", "n", "m"))
]


@given(st.lists(RULES, max_size=4), st.lists(RULES, max_size=3))
def test_what_is_covered_permits_nothing_new(held: list[Rule], wanted: list[Rule]) -> None:
    """The property the check exists for: no lack means that nothing becomes possible that was not."""
    if not missing(held, wanted):
        for asked in ASKED:
            if any(allows(rule, asked) for rule in wanted):
                assert any(allows(rule, asked) for rule in held), asked


@given(RULES)
def test_a_rule_covers_itself_and_survives_storage(rule: Rule) -> None:
    assert missing([rule], [rule]) == []
    assert rule_of(as_json(rule)) == rule


def test_a_lack_is_described_as_kubernetes_does() -> None:
    lacking = [Rule(("get",), ("",), ("pods",)), Rule(("list",), ("",), ("pods",)), Rule(("get",), urls=("/x",))]
    assert described(lacking) == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}',
        '{NonResourceURLs:["/x"], Verbs:["get"]}',
    ]


def test_a_selector_becomes_text() -> None:
    terms = [
        {"key": "a", "operator": "In", "values": ["x", "y"]},
        {"key": "b", "operator": "NotIn", "values": ["z"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    assert selector_text({"matchLabels": {"k": "v"}, "matchExpressions": terms}) == "k=v,a in (x,y),b notin (z),c,!d"


def may(role: str, verb: str, group: str, resource: str, subresource: str = "") -> bool:
    return any(allows(rule, Attributes(verb, group, resource, subresource)) for rule in CLUSTER_ROLES[role].rules)


KV, SUB = "kubevirt.io", "subresources.kubevirt.io"
FORBIDDEN = [
    *(("view", verb, "", "secrets") for verb in READ),
    *(("view", verb, "", "configmaps") for verb in ("create", "update", "patch", "delete")),
    ("view", "get", SUB, "virtualmachineinstances", "console"),
    ("view", "get", SUB, "virtualmachineinstances", "vnc"),
    ("view", "update", SUB, "virtualmachines", "start"),
    ("view", "create", "", "serviceaccounts", "token"),
    ("edit", "create", "rbac.authorization.k8s.io", "rolebindings"),
    ("edit", "update", "", "nodes"),
    ("edit", "impersonate", "", "users"),
    ("virt-controller", "get", "", "secrets"),
    ("virt-controller", "create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("virt-controller", "delete", "", "nodes"),
    ("virt-handler", "list", "", "secrets"),
    ("virt-handler", "update", KV, "virtualmachines"),
    ("virt-handler", "delete", KV, "virtualmachineinstances"),
    ("virt-handler", "create", KV, "virtualmachineinstances"),
    ("virt-handler", "create", "", "pods"),
    ("virt-api", "get", "", "secrets"),
    ("virt-api", "update", "", "nodes"),
    ("virt-local", "get", "", "secrets"),
    ("virt-local", "update", KV, "virtualmachineinstances"),
    ("cdi-controller", "list", "", "secrets"),
    ("cdi-controller", "update", KV, "virtualmachines"),
]
NEEDED = [
    ("view", "list", KV, "virtualmachines"),
    ("view", "get", SUB, "virtualmachineinstances", "guestosinfo"),
    ("edit", "update", SUB, "virtualmachines", "start"),
    ("edit", "get", SUB, "virtualmachineinstances", "console"),
    ("edit", "create", KV, "virtualmachines"),
    ("admin", "create", "rbac.authorization.k8s.io", "rolebindings"),
    ("virt-controller", "create", KV, "virtualmachineinstances"),
    ("virt-handler", "patch", KV, "virtualmachineinstances"),
    ("virt-local", "create", "", "endpoints"),
    ("system:controller:generic-garbage-collector", "delete", KV, "virtualmachineinstances"),
    ("system:controller:generic-garbage-collector", "update", "", "namespaces", "finalize"),
]


@pytest.mark.parametrize("asked", FORBIDDEN, ids=" ".join)
def test_a_role_may_not(asked: tuple[str, ...]) -> None:
    assert not may(*asked)


@pytest.mark.parametrize("asked", NEEDED, ids=" ".join)
def test_a_role_may(asked: tuple[str, ...]) -> None:
    assert may(*asked)


def test_every_first_binding_is_to_a_first_role_and_every_component_has_one() -> None:
    assert {binding.role for binding in CLUSTER_ROLE_BINDINGS.values()} <= CLUSTER_ROLES.keys()
    bound = {user for binding in CLUSTER_ROLE_BINDINGS.values() for user in binding.users}
    assert bound >= labels.COMPONENT_USERS
    everything = [name for name, binding in CLUSTER_ROLE_BINDINGS.items() if binding.role == "cluster-admin"]
    assert everything == ["cluster-admin"]
