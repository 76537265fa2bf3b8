"""What a rule of a role permits, as Kubernetes reads it (k8s.io/component-helpers/auth/rbac/validation). Pure.

`authz.py` asks it about requests, `grants.py` about roles somebody wants to give away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from virt_kube.api import Json
from virt_kube.roles import Rule

GROUP = "rbac.authorization.k8s.io"
ALL = "*"


class Attributes(NamedTuple):
    """One thing somebody wants to do. Outside resources `path` is set instead."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    version: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def allows(rule: Rule, asked: Attributes) -> bool:
    if ALL not in rule.verbs and asked.verb not in rule.verbs:
        return False
    if asked.path:
        return any(_url_matches(url, asked.path) for url in rule.urls)
    return (
        (ALL in rule.groups or asked.group in rule.groups)
        and any(_resource_matches(resource, asked) for resource in rule.resources)
        and (not rule.names or asked.name in rule.names)
    )


def _url_matches(url: str, path: str) -> bool:
    return url in (ALL, path) or (url.endswith(ALL) and path.startswith(url.rstrip(ALL)))


def _resource_matches(resource: str, asked: Attributes) -> bool:
    if resource in (ALL, asked.full_resource):
        return True
    return bool(asked.subresource) and resource == f"*/{asked.subresource}"


def rule_of(obj: Any) -> Rule:
    """A PolicyRule as stored; what is no list of texts counts as absent."""
    fields = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
    return Rule(*(tuple(map(str, obj.get(name) or ())) for name in fields))


def missing(held: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The parts of `wanted` that no rule of `held` covers, each as a rule for one verb of one resource or path."""
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(own, part) for own in held)]


def _parts(rule: Rule) -> Iterator[Rule]:
    names: list[tuple[str, ...]] = [(name,) for name in rule.names] or [()]
    for verb, group, resource, name in product(rule.verbs, rule.groups, rule.resources, names):
        yield Rule((verb,), (group,), (resource,), name)
    for verb, url in product(rule.verbs, rule.urls):
        yield Rule((verb,), urls=(url,))


def _covers(own: Rule, part: Rule) -> bool:
    """Whether a rule permits all that a rule for one thing does; a wildcard is covered by a wildcard only."""
    if ALL not in own.verbs and part.verbs[0] not in own.verbs:
        return False
    if part.urls:
        return any(url == part.urls[0] or _url_matches(url, part.urls[0]) for url in own.urls)
    resource = part.resources[0]
    _, slash, subresource = resource.partition("/")
    return (
        (ALL in own.groups or part.groups[0] in own.groups)
        and (ALL in own.resources or resource in own.resources or (bool(slash) and f"*/{subresource}" in own.resources))
        and (not own.names or (bool(part.names) and part.names[0] in own.names))
    )


def described(rules: Iterable[Rule]) -> list[str]:
    """As Kubernetes names rules in a refusal, those that differ in verbs only together, sorted."""
    together: dict[Rule, list[str]] = {}
    for rule in rules:
        together.setdefault(rule._replace(verbs=()), []).extend(rule.verbs)
    return sorted(_described(rule._replace(verbs=tuple(verbs))) for rule, verbs in together.items())


def _described(rule: Rule) -> str:
    fields = {
        "APIGroups": rule.groups,
        "Resources": rule.resources,
        "NonResourceURLs": rule.urls,
        "ResourceNames": rule.names,
        "Verbs": rule.verbs,
    }
    return "{" + ", ".join(f"{name}:{_quoted(values)}" for name, values in fields.items() if values) + "}"


def _quoted(values: Iterable[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def selector_text(selector: Json) -> str:
    """A LabelSelector object as the text `LabelSelector` reads."""
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or ():
        key, values = term.get("key", ""), ",".join(term.get("values") or ())
        match term.get("operator"):
            case "Exists":
                terms.append(key)
            case "DoesNotExist":
                terms.append(f"!{key}")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case _:
                terms.append(f"{key} in ({values})")
    return ",".join(terms)
