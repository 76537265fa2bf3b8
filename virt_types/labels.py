"""Every label, annotation and finalizer name the components read or write, each in one place.

Standard library only: the command line imports it on its fast path.
"""

from __future__ import annotations

# Groups and kinds
GROUP = "kubevirt.io"
SUBRESOURCE_GROUP = "subresources.kubevirt.io"

# Finalizers
VM_FINALIZER = "kubevirt.io/virtualMachineControllerFinalize"
VMI_FINALIZER = "kubevirt.io/foregroundDeleteVirtualMachine"
MIGRATION_FINALIZER = "kubevirt.io/migrationJobFinalize"
POOL_FINALIZER = "pool.kubevirt.io/finalizer"
ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"

# Labels of VMIs and their pods
NODE_NAME = "kubevirt.io/nodeName"
MIGRATION_TARGET_NODE_NAME = "kubevirt.io/migrationTargetNodeName"
MIGRATION_JOB_UID = "kubevirt.io/migrationJobUID"
CREATED_BY = "kubevirt.io/created-by"
DOMAIN = "kubevirt.io/domain"
VM_NAME = "vm.kubevirt.io/name"
VMI_NAME = "kubevirt.io/vmi-name"
VMI_ID = "vmi.kubevirt.io/id"
INSTALL_STRATEGY = "kubevirt.io/install-strategy"
POOL_REVISION = "kubevirt.io/vm-pool-revision-name"
OUTDATED_LAUNCHER_IMAGE = "kubevirt.io/outdatedLauncherImage"

# Labels and annotations of nodes
NODE_SCHEDULABLE = "kubevirt.io/schedulable"
NODE_HEARTBEAT = "kubevirt.io/heartbeat"
NODE_CPU_MANAGER = "kubevirt.io/cpumanager"
NODE_REALTIME = "kubevirt.io/realtime"
NODE_DRAIN_TAINT = "kubevirt.io/drain"
HOSTNAME = "kubernetes.io/hostname"
ARCH = "kubernetes.io/arch"

# Annotations of VMs and VMIs
VM_GENERATION = "kubevirt.io/vm-generation"
REPLICA_FAILURES = "kubevirt.io/consecutive-failures"  # lives before this one, in a row, that did not last
POOL_HEALINGS = "kubevirt.io/consecutive-healings"  # how often in a row a VM of this name was made anew
INSTANCETYPE_NAME = "kubevirt.io/instancetype-name"
CLUSTER_INSTANCETYPE_NAME = "kubevirt.io/cluster-instancetype-name"
PREFERENCE_NAME = "kubevirt.io/preference-name"
CLUSTER_PREFERENCE_NAME = "kubevirt.io/cluster-preference-name"
PCI_TOPOLOGY_VERSION = "kubevirt.io/pci-topology-version"
IMMEDIATE_DATA_VOLUME_CREATION = "kubevirt.io/immediate-data-volume-creation"
EVACUATION_MIGRATION = "kubevirt.io/evacuationMigration"
EVICTION_SOURCE = "kubevirt.io/eviction-source"
MEMORY_DUMP = "kubevirt.io/memory-dump"
IGNITION_DATA = "kubevirt.io/ignitiondata"
HOOK_SIDECARS = "hooks.kubevirt.io/hookSidecars"
PRESET_PREFIX = "virtualmachinepreset.kubevirt.io/"
PRESET_EXCLUDE = "virtualmachineinstancepresets.admission.kubevirt.io/exclude"
# On a VMI: the MAC chosen for its interface of this name, kept across restarts of the agent.
MAC_ANNOTATION_PREFIX = "mac.kubevirt.io/"
# On a VM that was stopped by writing Halted: the strategy it declared, for the next start. Always needs none.
STOPPED_STRATEGY = "virt-api.kubevirt.io/stopped-run-strategy"
# On a DataVolume or claim that outlives the pool's VM it was made for: the uid of that VM.
KEPT_FROM = "virt-controller.kubevirt.io/kept-from"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

# Data volumes and claims
DV_POPULATED_FOR = "cdi.kubevirt.io/storage.populatedFor"
CLAIM_ADOPTION = "cdi.kubevirt.io/allowClaimAdoption"
IMMEDIATE_BINDING = "cdi.kubevirt.io/storage.bind.immediate.requested"
CLAIM_CONTENT_TYPE = "cdi.kubevirt.io/storage.contentType"
CLAIM_FILL_PHASE = "cdi.kubevirt.io/storage.pod.phase"  # Succeeded: a guest may have it
CLAIM_FILL_RESTARTS = "cdi.kubevirt.io/storage.pod.restarts"
CLAIM_FILL_READY = "cdi.kubevirt.io/storage.pod.ready"
CLAIM_PREALLOCATION = "cdi.kubevirt.io/storage.preallocation.requested"
CLAIM_CREATED_FOR = "cdi.kubevirt.io/createdForDataVolume"
UPLOAD_TARGET = "cdi.kubevirt.io/storage.upload.target"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DEFAULT_VIRT_CLASS = "storageclass.kubevirt.io/is-default-virt-class"

# Services and service accounts
SERVICE_ACCOUNTS_GROUP = "system:serviceaccounts:kubevirt"
CONTROLLER_USER = "system:serviceaccount:kubevirt:virt-controller"
HANDLER_USER = "system:serviceaccount:kubevirt:virt-handler"
API_USER = "system:serviceaccount:kubevirt:virt-api"
COMPONENT_USERS = frozenset({CONTROLLER_USER, HANDLER_USER, API_USER})

# Labels that only the components may set or change on a VMI.
RESERVED_VMI_LABELS = (
    CREATED_BY,
    MIGRATION_JOB_UID,
    NODE_NAME,
    MIGRATION_TARGET_NODE_NAME,
    NODE_SCHEDULABLE,
    INSTALL_STRATEGY,
)
