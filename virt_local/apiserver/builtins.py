"""The built-in kinds, as data. Verbs, short names and categories are those a real server lists in discovery."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from virt_local.apiserver.builtin_schemas import schema
from virt_local.apiserver.registry import CRUD_VERBS, ResourceType, Version

WITH_STATUS = (Version("v1", status=True),)

EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source=source.component",
    "type",
)

_EVENT = ResourceType("", "events", "Event", short_names=("ev",), selectable=EVENT_FIELDS, creates_on_update=True)
_OLD_ENDPOINTS = Version("v1", warning="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
_TYPES = (
    ResourceType("", "configmaps", "ConfigMap", short_names=("cm",)),
    ResourceType("", "endpoints", "Endpoints", (_OLD_ENDPOINTS,), short_names=("ep",), creates_on_update=True),
    _EVENT,
    ResourceType(
        "",
        "namespaces",
        "Namespace",
        WITH_STATUS,
        namespaced=False,
        short_names=("ns",),
        verbs=tuple(verb for verb in CRUD_VERBS if verb != "deletecollection"),
        selectable=("status.phase",),
        subresources=("finalize",),
    ),
    ResourceType(
        "", "nodes", "Node", WITH_STATUS, namespaced=False, short_names=("no",), selectable=("spec.unschedulable",)
    ),
    ResourceType("", "persistentvolumeclaims", "PersistentVolumeClaim", WITH_STATUS, short_names=("pvc",)),
    ResourceType("", "persistentvolumes", "PersistentVolume", WITH_STATUS, namespaced=False, short_names=("pv",)),
    ResourceType(
        "",
        "pods",
        "Pod",
        WITH_STATUS,
        short_names=("po",),
        categories=("all",),
        selectable=(
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ),
        counts_generation=True,
    ),
    ResourceType("", "secrets", "Secret", selectable=("type",)),
    ResourceType("", "serviceaccounts", "ServiceAccount", short_names=("sa",), subresources=("token",)),
    ResourceType(
        "",
        "services",
        "Service",
        WITH_STATUS,
        short_names=("svc",),
        categories=("all",),
        selectable=("spec.clusterIP", "spec.type"),
        creates_on_update=True,
    ),
    ResourceType(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        WITH_STATUS,
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        counts_generation=True,
    ),
    ResourceType("apps", "controllerrevisions", "ControllerRevision"),
    ResourceType("coordination.k8s.io", "leases", "Lease", creates_on_update=True),
    ResourceType("discovery.k8s.io", "endpointslices", "EndpointSlice", counts_generation=True),
    ResourceType(
        "events.k8s.io",
        "events",
        "Event",
        short_names=("ev",),
        selectable=(
            "reason",
            "type",
            "reportingController=reportingComponent",
            *(
                f"regarding.{field}=involvedObject.{field}"
                for field in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
            ),
        ),
        creates_on_update=True,
        view_of=_EVENT,
    ),
    ResourceType(
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "ClusterRoleBinding",
        namespaced=False,
        creates_on_update=True,
    ),
    ResourceType("rbac.authorization.k8s.io", "clusterroles", "ClusterRole", namespaced=False, creates_on_update=True),
    ResourceType("rbac.authorization.k8s.io", "rolebindings", "RoleBinding", creates_on_update=True),
    ResourceType("rbac.authorization.k8s.io", "roles", "Role", creates_on_update=True),
    ResourceType("storage.k8s.io", "storageclasses", "StorageClass", namespaced=False, short_names=("sc",)),
)


_LOOK = ("delete", "get", "list", "watch")
# What every cluster has and nothing here would act on: there are none, and none can be created. kubectl looks at them
# whether anybody uses them or not: `apply --prune`, `describe namespace` and `cluster-info dump` fail without.
_NONE_HERE = tuple(
    ResourceType(group, plural, kind, short_names=short_names, verbs=_LOOK)
    for group, plural, kind, short_names in (
        ("", "limitranges", "LimitRange", ("limits",)),
        ("", "replicationcontrollers", "ReplicationController", ("rc",)),
        ("", "resourcequotas", "ResourceQuota", ("quota",)),
        ("apps", "daemonsets", "DaemonSet", ("ds",)),
        ("apps", "deployments", "Deployment", ("deploy",)),
        ("apps", "replicasets", "ReplicaSet", ("rs",)),
        ("apps", "statefulsets", "StatefulSet", ("sts",)),
        ("batch", "cronjobs", "CronJob", ("cj",)),
        ("batch", "jobs", "Job", ()),
        ("networking.k8s.io", "ingresses", "Ingress", ("ing",)),
    )
)


def _with_schema(resource: ResourceType) -> ResourceType:
    versions = tuple(replace(version, schema=partial(schema, type_name(resource))) for version in resource.versions)
    return replace(resource, versions=versions)


def type_name(resource: ResourceType) -> str:
    """Its name in the table of built-in types."""
    return "events.Event" if resource.view_of else resource.kind


BUILTINS = {(resource.group, resource.plural): _with_schema(resource) for resource in (*_TYPES, *_NONE_HERE)}
CRD = BUILTINS["apiextensions.k8s.io", "customresourcedefinitions"]
NAMESPACE = BUILTINS["", "namespaces"]
SERVICE = BUILTINS["", "services"]
CLAIM = BUILTINS["", "persistentvolumeclaims"]
STORAGE_CLASS = BUILTINS["storage.k8s.io", "storageclasses"]
CLUSTER_ROLE = BUILTINS["rbac.authorization.k8s.io", "clusterroles"]
CLUSTER_ROLE_BINDING = BUILTINS["rbac.authorization.k8s.io", "clusterrolebindings"]

# What exists before anybody creates it; `default`, `kube-system` and `kube-public` can't be deleted.
FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kubevirt")
PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})
