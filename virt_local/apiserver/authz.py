"""Who may do what: roles and bindings in the store, as on any cluster, narrowed for node agents to their own node.

`roles.py` is what they begin as. The group system:masters may do everything, whatever the store says, so that nobody
locks everybody out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError, Json
from virt_kube.roles import Rule
from virt_local.apiserver.node_scope import NodeScope
from virt_local.apiserver.rbac import GROUP, Attributes, allows, rule_of, selector_text
from virt_local.apiserver.roles import MASTERS
from virt_local.apiserver.selectors import LabelSelector
from virt_local.apiserver.status import failure, forbidden
from virt_local.store import Change, Key, Store

__all__ = ["Attributes", "Authorizer", "refusal"]

ROLES, CLUSTER_ROLES = f"{GROUP}/roles", f"{GROUP}/clusterroles"
ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS = f"{GROUP}/rolebindings", f"{GROUP}/clusterrolebindings"
MOST_REMEMBERED = 1_024  # users and namespaces whose rules are kept ready
_ACCOUNT = "system:serviceaccount:"

Subject = tuple[str, str]  # User or Group, and its name


class _Granted(NamedTuple):
    subjects: frozenset[Subject]
    rules: tuple[Rule, ...]


class Authorizer:
    """Answers from the store as it is now; what a user has is worked out once per change of a role or binding."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._scope = NodeScope(store)
        self._bindings: dict[str, list[_Granted]] = {}  # by namespace; "" holds everywhere
        self._rules: dict[tuple[UserInfo, str], tuple[Rule, ...]] = {}
        for resource in (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS):
            store.subscribe(resource, self._changed)

    def allows(self, user: UserInfo, asked: Attributes) -> bool:
        return self._permitted(user, asked) and not self._scope.objection(user, asked)

    def _permitted(self, user: UserInfo, asked: Attributes) -> bool:
        return MASTERS in user.groups or any(allows(rule, asked) for rule in self.rules(user, asked.namespace))

    def require(self, user: UserInfo, asked: Attributes) -> None:
        """Raises 403, or nothing."""
        if MASTERS in user.groups:
            return
        if not self._permitted(user, asked):
            raise refusal(user, asked)
        if why := self._scope.objection(user, asked):
            raise forbidden(asked.group, asked.resource, asked.name, why)

    def require_content(self, user: UserInfo, asked: Attributes, obj: Json) -> None:
        """Raises 403 for an object that is not this node agent's to make."""
        if why := self._scope.content_objection(user, asked, obj):
            raise forbidden(asked.group, asked.resource, asked.name, why)

    def rules(self, user: UserInfo, namespace: str) -> tuple[Rule, ...]:
        """Everything the user has in the namespace and everywhere."""
        if not self._bindings:
            self._read()
        found = self._rules.get((user, namespace))
        if found is None:
            if len(self._rules) >= MOST_REMEMBERED:
                self._rules.clear()
            found = self._rules[user, namespace] = tuple(self._granted(user, namespace))
        return found

    def role_rules(self, ref: Json, namespace: str) -> tuple[Rule, ...]:
        """What a roleRef gives; nothing when there is no such role."""
        name = str(ref.get("name", ""))
        if ref.get("kind") == "ClusterRole":
            return self._role(Key(CLUSTER_ROLES, "", name))
        return self._role(Key(ROLES, namespace, name))

    def has_role(self, ref: Json, namespace: str) -> bool:
        key = Key(CLUSTER_ROLES, "", "") if ref.get("kind") == "ClusterRole" else Key(ROLES, namespace, "")
        return self._store.get(key._replace(name=str(ref.get("name", "")))) is not None

    def aggregated(self, obj: Json) -> tuple[Rule, ...]:
        """The rules of the ClusterRoles that an aggregationRule gathers."""
        selectors = [
            LabelSelector(selector_text(selector))
            for selector in (obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
        ]
        found: dict[Rule, None] = {}
        for _, record in self._store.objects(CLUSTER_ROLES):
            role = msgspec.json.decode(record.value)
            if any(selector.matches(role["metadata"].get("labels") or {}) for selector in selectors):
                found.update(dict.fromkeys(rule_of(rule) for rule in role.get("rules") or ()))
        return tuple(found)

    def _granted(self, user: UserInfo, namespace: str) -> Iterator[Rule]:
        subjects: set[Subject] = {("User", user.name), *(("Group", group) for group in user.groups)}
        for where in dict.fromkeys(("", namespace)):
            for granted in self._bindings.get(where, ()):
                if not subjects.isdisjoint(granted.subjects):
                    yield from granted.rules

    def _changed(self, _change: Change) -> None:
        self._bindings.clear()
        self._rules.clear()

    def _read(self) -> None:
        self._bindings[""] = []
        for resource in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            for key, record in self._store.objects(resource):
                obj = msgspec.json.decode(record.value)
                subjects = frozenset(_subject(subject) for subject in obj.get("subjects") or ())
                granted = _Granted(subjects, self.role_rules(obj.get("roleRef") or {}, key.namespace))
                self._bindings.setdefault(key.namespace, []).append(granted)

    def _role(self, key: Key) -> tuple[Rule, ...]:
        record = self._store.get(key)
        if record is None:
            return ()
        obj = msgspec.json.decode(record.value)
        own = tuple(rule_of(rule) for rule in obj.get("rules") or ())
        return (*own, *(rule for rule in self.aggregated(obj) if rule not in own)) if "aggregationRule" in obj else own


def _subject(subject: Any) -> Subject:
    kind, name = str(subject.get("kind", "")), str(subject.get("name", ""))
    if kind == "ServiceAccount":
        return "User", f"{_ACCOUNT}{subject.get('namespace', '')}:{name}"
    return kind, name


def refusal(user: UserInfo, asked: Attributes) -> ApiError:
    if asked.path:
        return failure(403, "Forbidden", f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"', {})
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    where = f'resource "{asked.full_resource}" in API group "{asked.group}" {scope}'
    why = f'User "{user.name}" cannot {asked.verb} {where}'
    return forbidden(asked.group, asked.resource, asked.name, why)
