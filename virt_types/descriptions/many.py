"""Kinds that keep a number of guests or machines, and presets."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "VirtualMachineInstanceReplicaSetCondition": {
        "": "One aspect of a replica set's state.",
    },
    "VirtualMachineInstanceReplicaSetSpec": {
        "": "How many guests, and what they look like.",
        "paused": "While true, nothing is created or deleted; default false.",
        "replicas": "How many guests; default 1.",
        "selector": "Matches the template's labels.",
    },
    "VirtualMachineInstanceReplicaSetStatus": {
        "": "How many guests there are.",
        "labelSelector": "The selector as a text, for autoscalers.",
        "readyReplicas": "How many guests are ready.",
        "replicas": "How many guests there are that have not ended.",
        "conditions": "ReplicaPaused and ReplicaFailure, each with a reason and a message.",
    },
    "VirtualMachineInstanceReplicaSet": {
        "": "A number of interchangeable guests.",
    },
    "VirtualMachineTemplateSpec": {
        "": "The VirtualMachine that a pool makes many times.",
        "spec": "A VirtualMachine's spec: the guest is below template.spec.",
    },
    "VirtualMachinePoolAutohealingStrategy": {
        "": "When a machine that does not start is made anew.",
        "minFailingToStartDuration": "How long it has been failing; default 5m.",
        "startUpFailureThreshold": "Failed starts in a row; default 3.",
    },
    "VirtualMachinePoolCondition": {
        "": "One aspect of a pool's state.",
    },
    "VirtualMachinePoolNameGeneration": {
        "": "Whether ConfigMaps and Secrets get the machine's number too.",
        "appendIndexToConfigMapRefs": "Machine 3 uses ConfigMap NAME-3 where the template says NAME; default false.",
        "appendIndexToSecretRefs": "Machine 3 uses Secret NAME-3 where the template says NAME; default false.",
    },
    "VirtualMachinePoolSelectors": {
        "": "Only these machines are chosen.",
        "nodeSelectorRequirementMatcher": "Requirements on the nodes the machines are on.",
    },
    "VirtualMachinePoolSelectionPolicy": {
        "": "Which machines are chosen first.",
        "sortPolicy": "Random, AscendingOrder, DescendingOrder, Newest or Oldest.",
    },
    "VirtualMachinePoolOpportunisticScaleInStrategy": {
        "": "Somebody else deletes; the pool keeps what is to stay.",
        "statePreservation": "Disabled (default: disks go too), Offline (they stay) or Online.",
    },
    "VirtualMachinePoolProactiveScaleInStrategy": {
        "": "The pool chooses and deletes.",
        "statePreservation": "Disabled (default: disks go too), Offline (they stay) or Online.",
    },
    "VirtualMachinePoolUnmanagedStrategy": {
        "": "The pool does nothing by itself.",
    },
    "VirtualMachinePoolScaleInStrategy": {
        "": "How a pool becomes smaller: exactly one of the three.",
    },
    "VirtualMachineOpportunisticUpdateStrategy": {
        "": "Machines change when they next start.",
    },
    "VirtualMachinePoolProactiveUpdateStrategy": {
        "": "Machines that run on the old template are restarted.",
    },
    "VirtualMachinePoolUpdateStrategy": {
        "": "How a changed template reaches the machines: exactly one of the three.",
    },
    "VirtualMachinePoolSpec": {
        "": "How many machines, what they look like, and how changes reach them.",
        "maxUnavailable": "How many machines an update may take away at once: number or percentage.",
        "paused": "While true, nothing is created, updated or deleted.",
        "replicas": "How many machines; default 1.",
        "scaleInStrategy": "Which machines go first, and what stays of them: one of the three.",
        "selector": "Matches the template's labels; fixed once the pool is created.",
        "updateStrategy": "How a changed template reaches the machines: one of the three.",
        "virtualMachineTemplate": "The VirtualMachine to make; its guest is at spec.template.spec.",
    },
    "VirtualMachinePoolStatus": {
        "": "How many machines there are.",
        "labelSelector": "The selector as a text, for autoscalers.",
        "readyReplicas": "How many machines are ready.",
        "replicas": "How many machines there are.",
        "conditions": "ReplicaPaused and ReplicaFailure, each with a reason and a message.",
    },
    "VirtualMachinePool": {
        "": "A number of machines NAME-0, NAME-1, ... with disks of their own.",
        "spec": "How many machines, what they look like, and how changes reach them.",
    },
    "VirtualMachineInstancePresetSpec": {
        "": "The instances that are meant, and what they get.",
        "domain": "Each part that an instance has none of is taken from here as a whole.",
        "selector": "The labels of the instances that are meant.",
    },
    "VirtualMachineInstancePreset": {
        "": "Deprecated: what instances with certain labels get where they say nothing.",
        "spec": "The instances that are meant, and what they get.",
    },
}
