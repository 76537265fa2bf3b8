"""What is Kubernetes' own."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "LocalObjectReference": {
        "": "The name of an object in the same namespace.",
    },
    "TypedLocalObjectReference": {
        "": "Kind and name of an object in the same namespace.",
        "apiGroup": "The object's API group; empty is the core group.",
    },
    "TypedObjectReference": {
        "": "Kind, namespace and name of an object.",
        "apiGroup": "The object's API group; empty is the core group.",
        "namespace": "Where the object is; default is the same namespace.",
    },
    "ExecAction": {
        "": "Runs a command in the guest.",
        "command": "The program and its arguments, run in the guest by its agent; no shell is between.",
    },
    "HTTPHeader": {
        "": "A header of an HTTP request.",
        "value": "The header's value.",
    },
    "HTTPGetAction": {
        "": "Asks the guest by HTTP.",
        "host": "Whom to connect to; default is the guest's address.",
        "path": "The path to ask for; default /.",
        "port": "A number from 1 to 65535, or the name of one of the guest's ports.",
        "scheme": "HTTP (default) or HTTPS.",
        "httpHeaders": "Headers sent with the request.",
    },
    "TCPSocketAction": {
        "": "Opens a TCP connection to the guest.",
        "host": "Whom to connect to; default is the guest's address.",
        "port": "A number from 1 to 65535, or the name of one of the guest's ports.",
    },
    "PodDNSConfigOption": {
        "": "A resolver option.",
        "value": "The option's value, where it has one.",
    },
    "PodDNSConfig": {
        "": "Name servers and search domains.",
        "nameservers": "IP addresses of name servers, at most 3, asked besides those of dnsPolicy.",
        "searches": "Search domains, at most 6, besides those of dnsPolicy.",
        "options": "Options of the resolver, besides those of dnsPolicy.",
    },
    "ObjectFieldSelector": {
        "": "A field of the object.",
        "apiVersion": "The version the field's path is of; default v1.",
        "fieldPath": "The field, such as metadata.labels or metadata.name.",
    },
    "ResourceFieldSelector": {
        "": "A resource of the container.",
        "containerName": "The container; needed in volumes.",
        "divisor": "The unit of the output; default 1.",
        "resource": "Such as limits.cpu or requests.memory.",
    },
    "DownwardAPIVolumeFile": {
        "": "A file made from a field.",
        "mode": "The file's permission bits, 0 to 0777.",
        "path": 'The file\'s name, a relative path without "..".',
    },
    "VolumeResourceRequirements": {
        "": "The storage asked for.",
        "limits": "The most storage that may be taken; key storage.",
        "requests": "The least storage that is needed; key storage, such as 10Gi.",
    },
    "PersistentVolumeClaimSpec": {
        "": "A claim for storage.",
        "accessModes": "Exactly one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod.",
        "storageClassName": "The storage class; default is the cluster's default class.",
        "volumeAttributesClassName": "A VolumeAttributesClass, for drivers that can change a volume's attributes.",
        "volumeMode": "Filesystem (default) or Block.",
        "volumeName": "The PersistentVolume to take; default is any that fits.",
    },
    "ClaimVolumeSource": {
        "": "The name of a claim.",
        "claimName": "The PersistentVolumeClaim, in the same namespace.",
        "readOnly": "Whether it is only read; default false.",
    },
    "NodeSelectorRequirement": {
        "": "A label, an operator, and values.",
        "key": "The node's label, or the node's field.",
        "operator": "In, NotIn, Exists, DoesNotExist, Gt or Lt.",
        "values": "What the label is compared with: some for In and NotIn, one number for Gt and Lt, else none.",
    },
    "NodeSelectorTerm": {
        "": "Requirements that must all hold.",
        "matchExpressions": "Requirements on the node's labels.",
        "matchFields": "Requirements on the node's fields; metadata.name is the one there is.",
    },
    "NodeSelector": {
        "": "Node terms of which one must hold.",
        "nodeSelectorTerms": "Terms of which one must hold; at least one.",
    },
    "PreferredSchedulingTerm": {
        "": "A node term and its weight.",
        "weight": "1 to 100: added to a node's score when it fits.",
    },
    "NodeAffinity": {
        "": "Which nodes are wanted.",
        "preferredDuringSchedulingIgnoredDuringExecution": "Nodes to be preferred, by weight.",
    },
    "PodAffinityTerm": {
        "": "Neighbours, and what counts as near.",
        "labelSelector": "The neighbours, by their labels.",
        "matchLabelKeys": "Labels in which the neighbours must equal the guest.",
        "mismatchLabelKeys": "Labels in which the neighbours must differ from the guest.",
        "namespaceSelector": "Namespaces, by their labels, besides those named.",
        "namespaces": "Where neighbours are looked for; default is the guest's namespace.",
        "topologyKey": "Nodes are the same place when they agree in this label, such as kubernetes.io/hostname.",
    },
    "WeightedPodAffinityTerm": {
        "": "A neighbour term and its weight.",
        "weight": "1 to 100: added to a node's score when it fits.",
    },
    "PodAffinity": {
        "": "Which neighbours are wanted.",
        "preferredDuringSchedulingIgnoredDuringExecution": "Neighbours to be near to if possible, by weight.",
        "requiredDuringSchedulingIgnoredDuringExecution": "Neighbours to be near to in any case.",
    },
    "PodAntiAffinity": {
        "": "Which neighbours are not wanted.",
        "preferredDuringSchedulingIgnoredDuringExecution": "Neighbours to stay away from if possible, by weight.",
        "requiredDuringSchedulingIgnoredDuringExecution": "Neighbours to stay away from in any case.",
    },
    "Affinity": {
        "": "Preferences and demands about nodes and neighbours.",
    },
    "Toleration": {
        "": "A taint of nodes that does not matter.",
        "effect": "NoSchedule, PreferNoSchedule or NoExecute; empty means all of them.",
        "key": "The taint's key; empty, with operator Exists, means every taint.",
        "operator": "Equal (default: key and value) or Exists (any value).",
        "tolerationSeconds": "How long a NoExecute taint is borne; default is for ever.",
        "value": "The taint's value, for operator Equal.",
    },
    "TopologySpreadConstraint": {
        "": "How evenly guests are spread.",
        "labelSelector": "The guests that are counted, by their labels.",
        "matchLabelKeys": "Labels in which the counted guests must equal this one.",
        "maxSkew": "How many more guests one place may have than the emptiest; at least 1.",
        "minDomains": "How many places there must be at least, for DoNotSchedule; default 1.",
        "nodeAffinityPolicy": "Honor (default: only nodes that fit count) or Ignore.",
        "nodeTaintsPolicy": "Honor (only nodes whose taints are tolerated count) or Ignore (default).",
        "topologyKey": "Nodes are the same place when they agree in this label.",
        "whenUnsatisfiable": "DoNotSchedule (default) or ScheduleAnyway.",
    },
    "LabelSelectorRequirement": {
        "": "A label, an operator, and values.",
        "key": "The label.",
        "operator": "In, NotIn, Exists or DoesNotExist.",
        "values": "What the label is compared with: some for In and NotIn, else none.",
    },
    "LabelSelector": {
        "": "Chooses objects by their labels; an empty one chooses all.",
        "matchLabels": "Labels that must all be there with these values.",
        "matchExpressions": "Requirements that must all hold, too.",
    },
}
