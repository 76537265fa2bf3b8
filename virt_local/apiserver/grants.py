"""Roles and bindings as objects: defaults, rules, those every cluster has; and nobody gives more than they have.

`rules.py` asks for defaults and causes, the writer for the check of who gives, the server for the first roles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from virt_kube.admission import UserInfo
from virt_kube.api import Json
from virt_kube.roles import Rule, as_json
from virt_local.apiserver.authz import Authorizer
from virt_local.apiserver.call import Call
from virt_local.apiserver.metadata import segment_problems
from virt_local.apiserver.rbac import ALL, GROUP, Attributes, described, missing, rule_of
from virt_local.apiserver.roles import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, MASTERS, Binding, Role
from virt_local.apiserver.status import failure, forbidden, invalid_value, not_supported, required
from virt_types.errors import Cause
from virt_types.names import subdomain_problems

SUBJECT_KINDS = ("ServiceAccount", "User", "Group")
ROLE_KINDS = ("Role", "ClusterRole")
_EVERYTHING = (Rule((ALL,), (ALL,), (ALL,)), Rule((ALL,), urls=(ALL,)))
_BOOTSTRAP_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_BOOTSTRAP_ANNOTATIONS = {"rbac.authorization.kubernetes.io/autoupdate": "true"}


def first_roles() -> Iterator[Json]:
    for name, role in CLUSTER_ROLES.items():
        yield _cluster_role(name, role)


def first_bindings() -> Iterator[Json]:
    for name, binding in CLUSTER_ROLE_BINDINGS.items():
        yield _cluster_role_binding(name, binding)


def _cluster_role(name: str, role: Role) -> Json:
    obj: Json = {"metadata": _metadata(name), "rules": [as_json(rule) for rule in role.rules]}
    if role.gathers:
        label = f"rbac.authorization.k8s.io/aggregate-to-{role.gathers}"
        obj["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}
    return obj


def _cluster_role_binding(name: str, binding: Binding) -> Json:
    subjects = [
        {"kind": kind, "name": who, "apiGroup": GROUP}
        for kind, names in (("User", binding.users), ("Group", binding.groups))
        for who in names
    ]
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": binding.role}
    return {"metadata": _metadata(name), "roleRef": ref, "subjects": subjects}


def _metadata(name: str) -> Json:
    return {"name": name, "labels": dict(_BOOTSTRAP_LABELS), "annotations": dict(_BOOTSTRAP_ANNOTATIONS)}


def prepare_binding(obj: Json, _old: Json | None) -> None:
    """API groups that follow from kinds."""
    ref = obj.setdefault("roleRef", {})
    ref["apiGroup"] = ref.get("apiGroup") or GROUP
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = subject.get("apiGroup") or GROUP


def role_causes(obj: Json, _old: Json | None) -> list[Cause]:
    return _rules_causes(obj, namespaced=True)


def cluster_role_causes(obj: Json, _old: Json | None) -> list[Cause]:
    found = _rules_causes(obj, namespaced=False)
    if "aggregationRule" in obj and not (obj["aggregationRule"] or {}).get("clusterRoleSelectors"):
        text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        found.append(required("aggregationRule.clusterRoleSelectors", text))
    return found


def _rules_causes(obj: Json, *, namespaced: bool) -> list[Cause]:
    return [
        cause
        for index, rule in enumerate(obj.get("rules") or ())
        for cause in _rule_causes(rule_of(rule), f"rules[{index}]", namespaced=namespaced)
    ]


def _rule_causes(rule: Rule, at: str, *, namespaced: bool) -> Iterator[Cause]:
    if not rule.verbs:
        yield required(f"{at}.verbs", "verbs must contain at least one value")
    if rule.urls:
        why = "namespaced rules cannot apply to non-resource URLs"
        if not namespaced:
            why = "rules cannot apply to both regular resources and non-resource URLs"
        if namespaced or rule.groups or rule.resources or rule.names:
            yield invalid_value(f"{at}.nonResourceURLs", list(rule.urls), why)
        return
    if not rule.groups:
        yield required(f"{at}.apiGroups", "resource rules must supply at least one api group")
    if not rule.resources:
        yield required(f"{at}.resources", "resource rules must supply at least one resource")


def role_binding_causes(obj: Json, old: Json | None) -> list[Cause]:
    return _binding_causes(obj, old, ROLE_KINDS)


def cluster_role_binding_causes(obj: Json, old: Json | None) -> list[Cause]:
    return _binding_causes(obj, old, ROLE_KINDS[1:])


def _binding_causes(obj: Json, old: Json | None, kinds: tuple[str, ...]) -> list[Cause]:
    ref = obj.get("roleRef") or {}
    found = []
    if ref.get("apiGroup") != GROUP:
        found.append(not_supported("roleRef.apiGroup", str(ref.get("apiGroup", "")), [GROUP]))
    if ref.get("kind") not in kinds:
        found.append(not_supported("roleRef.kind", str(ref.get("kind", "")), list(kinds)))
    if not ref.get("name"):
        found.append(required("roleRef.name"))
    else:
        found += [invalid_value("roleRef.name", ref["name"], why) for why in segment_problems(ref["name"])]
    for index, subject in enumerate(obj.get("subjects") or ()):
        found += _subject_causes(subject, f"subjects[{index}]", namespaced=len(kinds) > 1)
    if old is not None and ref != (old.get("roleRef") or {}):
        found.append(invalid_value("roleRef", ref, "cannot change roleRef"))
    return found


def _subject_causes(subject: Any, at: str, *, namespaced: bool) -> list[Cause]:
    found = []
    if not subject.get("name"):
        found.append(required(f"{at}.name"))
    kind = subject.get("kind", "")
    if kind not in SUBJECT_KINDS:
        found.append(not_supported(f"{at}.kind", str(kind), list(SUBJECT_KINDS)))
    elif (group := subject.get("apiGroup") or "") != (wanted := "" if kind == "ServiceAccount" else GROUP):
        found.append(not_supported(f"{at}.apiGroup", group, [wanted]))
    if kind == "ServiceAccount" and not namespaced and not subject.get("namespace"):
        found.append(required(f"{at}.namespace"))
    if kind == "ServiceAccount" and subject.get("name"):
        found += [invalid_value(f"{at}.name", subject["name"], why) for why in subdomain_problems(subject["name"])]
    return found


class Guard:
    """Asked by the writer before admission: may this user store this content?"""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def require_create(self, call: Call) -> None:
        """For a PUT or an apply that would make its object: who may update may not yet create. Raises 403."""
        resource = call.resource
        self._authorizer.require(
            call.user, Attributes("create", resource.group, resource.plural, "", call.namespace, call.name)
        )

    def check(self, call: Call, obj: Json, old: Json | None) -> None:
        """Raises 403."""
        if MASTERS in call.user.groups:
            return
        if call.resource.group == GROUP:
            self._no_escalation(call, obj, old)
            return
        verb = "create" if old is None else "update"
        asked = Attributes(verb, call.resource.group, call.resource.plural, call.subresource, call.namespace, call.name)
        self._authorizer.require_content(call.user, asked, obj)

    def _no_escalation(self, call: Call, obj: Json, old: Json | None) -> None:
        """Whoever writes a role or a binding must hold what it gives, or the verb that stands above that."""
        if call.resource.kind in ROLE_KINDS:
            wanted, verb, plural, name = self._role_rules(obj), "escalate", call.resource.plural, call.name
            if old is not None and wanted == self._role_rules(old):
                return
        else:
            ref = obj.get("roleRef") or {}
            if old is not None and obj.get("subjects") == old.get("subjects"):
                return
            wanted = self._authorizer.role_rules(ref, call.namespace)
            verb, plural, name = "bind", f"{str(ref.get('kind', '')).lower()}s", str(ref.get("name", ""))
            if not wanted:
                self._require_known_role(call, ref, plural)
        if self._authorizer.allows(call.user, Attributes(verb, GROUP, plural, "", call.namespace, name)):
            return
        if lacking := missing(self._authorizer.rules(call.user, call.namespace), wanted):
            why = _refusal(call.user, lacking)
            raise forbidden(GROUP, call.resource.plural, call.name, why)

    def _role_rules(self, obj: Json) -> tuple[Rule, ...]:
        """An aggregating role may come to mean anything: only who has everything may write one."""
        if "aggregationRule" in obj:
            return _EVERYTHING
        return tuple(rule_of(rule) for rule in obj.get("rules") or ())

    def _require_known_role(self, call: Call, ref: Json, plural: str) -> None:
        """404 for a role that is not there: it could be made with anything in it later."""
        if not self._authorizer.has_role(ref, call.namespace):
            name = ref.get("name", "")
            raise failure(404, "NotFound", f'{plural}.{GROUP} "{name}" not found',
                          {"name": name, "group": GROUP, "kind": plural})  # fmt: skip


def _refusal(user: UserInfo, lacking: list[Rule]) -> str:
    groups = " ".join(f'"{group}"' for group in user.groups)
    text = "\n".join(described(lacking))
    return f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{text}'
