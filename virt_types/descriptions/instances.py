"""VirtualMachineInstance: the guest as it is written, its probes and credentials."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "VirtualMachineInstanceSpec": {
        "": "A guest: its domain, volumes, networks, and where it may run.",
        "accessCredentials": "SSH keys and passwords to hand to the guest.",
        "architecture": "amd64, arm64 or s390x; default is the cluster's.",
        "dnsPolicy": "ClusterFirst (default), ClusterFirstWithHostNet, Default or None.",
        "domain": "The virtual hardware.",
        "evictionStrategy": "None, LiveMigrate, LiveMigrateIfPossible or External.",
        "hostname": "The guest's host name; default is the instance's name.",
        "livenessProbe": "A guest that fails it is stopped.",
        "networks": "What interfaces are plugged into; both have one name.",
        "nodeSelector": "Labels a node must have.",
        "priorityClassName": "The PriorityClass: who has to go first when a node is full.",
        "readinessProbe": "A guest that fails it is not Ready.",
        "resourceClaims": "Devices to be claimed for the guest.",
        "schedulerName": "Who chooses the node; default is the cluster's scheduler.",
        "serviceAccountName": "Whom the guest's launcher runs as; the guest gets no token by it.",
        "startStrategy": "Paused starts the guest with its CPUs halted.",
        "subdomain": "The guest is HOSTNAME.SUBDOMAIN.NAMESPACE.svc and the cluster's domain.",
        "terminationGracePeriodSeconds": "Seconds a guest has to shut down; default 30.",
        "tolerations": "Taints of nodes that do not matter.",
        "topologySpreadConstraints": "How evenly guests are spread over nodes or zones.",
        "utilityVolumes": "Claims for the launcher's own use; written by plugging in only.",
        "volumes": "Where the disks' bytes come from; a volume and its disk have one name.",
    },
    "VirtualMachineInstanceTemplateSpec": {
        "": "Labels, annotations and spec of the instances to make.",
    },
    "VirtualMachineInstance": {
        "": "One guest that runs, will run or has run.",
        "spec": "The guest; fixed once it is created.",
        "status": "What is observed; written by the controller and the node agent.",
    },
    "GuestAgentPing": {
        "": "Asks whether the guest agent answers.",
    },
    "Probe": {
        "": "A question that is asked again and again to see whether the guest is well.",
        "failureThreshold": "Failures in a row that count; default 3.",
        "initialDelaySeconds": "Seconds after the start until it is asked for the first time; default 0.",
        "periodSeconds": "Seconds between two questions; default 10.",
        "successThreshold": "Successes in a row after a failure that count; default 1, and 1 for liveness.",
        "timeoutSeconds": "Seconds an answer may take; default 1.",
    },
    "AccessCredentialSecretSource": {
        "": "A Secret that holds the credential.",
        "secretName": "The Secret, in the same namespace.",
    },
    "ConfigDriveSSHPublicKeyAccessCredentialPropagation": {
        "": "By cloud-init's config drive, at start.",
    },
    "NoCloudSSHPublicKeyAccessCredentialPropagation": {
        "": "By cloud-init's NoCloud disk, at start.",
    },
    "QemuGuestAgentSSHPublicKeyAccessCredentialPropagation": {
        "": "By the guest agent, whenever they change.",
        "users": "Users of the guest who get the keys; at least one.",
    },
    "QemuGuestAgentUserPasswordAccessCredentialPropagation": {
        "": "By the guest agent, whenever they change.",
    },
    "SSHPublicKeyAccessCredentialPropagationMethod": {
        "": "By cloud-init or by the guest agent.",
    },
    "SSHPublicKeyAccessCredentialSource": {
        "": "Where the SSH keys are.",
    },
    "SSHPublicKeyAccessCredential": {
        "": "SSH keys and how they get into the guest.",
    },
    "UserPasswordAccessCredentialPropagationMethod": {
        "": "By the guest agent.",
    },
    "UserPasswordAccessCredentialSource": {
        "": "Where the passwords are.",
    },
    "UserPasswordAccessCredential": {
        "": "Passwords and how they get into the guest.",
    },
    "AccessCredential": {
        "": "An SSH key or a password for the guest.",
    },
}
