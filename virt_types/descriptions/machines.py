"""VirtualMachine: whether it runs, what it is sized by, and what became of it."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "DataVolumeTemplateDummyStatus": {
        "": "Nothing; KubeVirt's clients once sent it.",
    },
    "DataVolumeTemplateSpec": {
        "": "A DataVolume to create together with the machine.",
        "status": "Nothing; ignored.",
    },
    "InstancetypeMatcher": {
        "": "Names an instancetype, or a volume to infer it from.",
        "kind": "VirtualMachineClusterInstancetype (default) or VirtualMachineInstancetype.",
        "name": "The instancetype; this or inferFromVolume.",
        "inferFromVolume": "A volume whose claim or DataSource has the labels that name the instancetype.",
        "inferFromVolumeFailurePolicy": "Reject (default) or Ignore, when there are no such labels.",
        "revisionName": "The stored copy to use; empty takes the instancetype as it is at the next start.",
    },
    "PreferenceMatcher": {
        "": "Names a preference, or a volume to infer it from.",
        "kind": "VirtualMachineClusterPreference (default) or VirtualMachinePreference.",
        "name": "The preference; this or inferFromVolume.",
        "inferFromVolume": "A volume whose claim or DataSource has the labels that name the preference.",
        "inferFromVolumeFailurePolicy": "Reject (default) or Ignore, when there are no such labels.",
        "revisionName": "The stored copy to use; empty takes the preference as it is at the next start.",
    },
    "ControllerRevisionRef": {
        "": "The stored copy that is used though the original may have changed.",
        "name": "The ControllerRevision, in the machine's namespace.",
    },
    "InstancetypeStatusRef": {
        "": "The instancetype or preference in use.",
        "inferFromVolume": "The volume it was inferred from.",
        "inferFromVolumeFailurePolicy": "Reject or Ignore, when nothing could be inferred.",
    },
    "VirtualMachineCondition": {
        "": "One aspect of a machine's state: True, False or Unknown, and why.",
        "type": "Ready, Paused, Failure, RestartRequired and the like.",
    },
    "VirtualMachineMemoryDumpRequest": {
        "": "A memory dump that was asked for, and how far it is.",
        "claimName": "The claim that takes the dump.",
        "fileName": "The dump's name on the claim.",
        "message": "Why it failed.",
        "phase": "Associating, InProgress, Unmounting, Completed, Dissociating or Failed.",
        "remove": "Whether the claim is to be let go.",
    },
    "VirtualMachineStartFailure": {
        "": "Counts failed starts; the wait before the next try grows with them.",
        "consecutiveFailCount": "Failed starts in a row.",
        "lastFailedVMIUID": "The instance that failed last, so that none is counted twice.",
        "retryAfterTimestamp": "When the next start is tried.",
    },
    "VirtualMachineStateChangeRequest": {
        "": "A start or stop that was asked for.",
        "action": "Start or Stop.",
        "data": 'More about it, such as paused: "true" for a start.',
        "uid": "The instance that a stop means.",
    },
    "VirtualMachineVolumeRequest": {
        "": "A disk that was asked to be plugged in or pulled out.",
    },
    "VolumeMigrationState": {
        "": "Volumes on their way to new storage.",
        "migratedVolumes": "The volumes that move.",
    },
    "VolumeSnapshotStatus": {
        "": "Whether a volume can be snapshotted, and why not.",
        "name": "The volume.",
        "enabled": "Whether it can be snapshotted.",
        "reason": "Why it can't.",
    },
    "VolumeUpdateState": {
        "": "How far a change of volumes is.",
    },
    "VirtualMachineSpec": {
        "": "What a machine is and when it runs.",
        "dataVolumeTemplates": "DataVolumes created with the machine and owned by it.",
        "instancetype": "Where CPU and memory come from, instead of the template.",
        "preference": "Soft defaults for what the template leaves open.",
        "runStrategy": "Always, Halted, Manual, RerunOnFailure or Once; instead of running.",
        "running": "Deprecated: true is runStrategy Always, false is Halted.",
        "template": "The instance that is made at every start; changes count from the next start on.",
        "updateVolumesStrategy": "Replacement (at the next start) or Migration (of a running guest).",
    },
    "VirtualMachineStatus": {
        "": "What is observed about a machine.",
        "conditions": "Ready, Paused, Failure and the like, each with a reason and a message.",
        "created": "Whether the instance object exists.",
        "desiredGeneration": "The generation of the machine as it is written.",
        "observedGeneration": "The generation the running instance was made from.",
        "printableStatus": "The state in one word, such as Stopped, Starting or Running.",
        "ready": "Whether the guest runs and is ready.",
        "restoreInProgress": "The VirtualMachineRestore that is under way.",
        "runStrategy": "The strategy the controller acted on last.",
        "snapshotInProgress": "The VirtualMachineSnapshot that is under way.",
        "startFailure": "How often in a row the start failed and when the next try is.",
        "stateChangeRequests": "Starts and stops that were asked for and are not done.",
        "volumeRequests": "Disks that were asked to be plugged in or pulled out.",
        "volumeSnapshotStatuses": "For each volume, whether it can be snapshotted.",
    },
    "VirtualMachine": {
        "": "A virtual machine that is kept: its definition, whether it shall run, and what became of it.",
        "spec": "What the machine is and whether it shall run.",
        "status": "What is observed; written by the controller.",
    },
}
