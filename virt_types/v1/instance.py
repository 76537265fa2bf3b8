"""VirtualMachineInstance: one running, or once running, guest.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.k8s.pods import PodDNSConfig
from virt_types.k8s.scheduling import Affinity, Toleration, TopologySpreadConstraint
from virt_types.meta import Base, Int64, ObjectMeta
from virt_types.v1.credentials import AccessCredential
from virt_types.v1.domain import DomainSpec
from virt_types.v1.network import Network, VirtualMachineInstanceResourceClaim
from virt_types.v1.probes import Probe
from virt_types.v1.status import VirtualMachineInstanceStatus
from virt_types.v1.volumes import UtilityVolume, Volume


class VirtualMachineInstanceSpec(Base, kw_only=True):
    """A guest: its domain, volumes, networks, and where it may run."""

    access_credentials: list[AccessCredential] = field(default_factory=list)
    """SSH keys and passwords to hand to the guest."""
    affinity: Affinity | None = None
    architecture: str | None = None
    """amd64, arm64 or s390x; default is the cluster's."""
    dns_config: PodDNSConfig | None = None
    dns_policy: str | None = None
    """ClusterFirst (default), ClusterFirstWithHostNet, Default or None."""
    domain: DomainSpec = field(default_factory=DomainSpec)
    """The virtual hardware."""
    eviction_strategy: str | None = None
    """None, LiveMigrate, LiveMigrateIfPossible or External."""
    hostname: str | None = None
    """The guest's host name; default is the instance's name."""
    liveness_probe: Probe | None = None
    """A guest that fails it is stopped."""
    networks: list[Network] = field(default_factory=list)
    """What interfaces are plugged into; both have one name."""
    node_selector: dict[str, str] = field(default_factory=dict)
    """Labels a node must have."""
    priority_class_name: str | None = None
    """The PriorityClass: who has to go first when a node is full."""
    readiness_probe: Probe | None = None
    """A guest that fails it is not Ready."""
    resource_claims: list[VirtualMachineInstanceResourceClaim] = field(default_factory=list)
    """Devices to be claimed for the guest."""
    scheduler_name: str | None = None
    """Who chooses the node; default is the cluster's scheduler."""
    service_account_name: str | None = None
    """Whom the guest's launcher runs as; the guest gets no token by it."""
    start_strategy: str | None = None
    """Paused starts the guest with its CPUs halted."""
    subdomain: str | None = None
    """The guest is HOSTNAME.SUBDOMAIN.NAMESPACE.svc and the cluster's domain."""
    termination_grace_period_seconds: Int64 | None = None
    """Seconds a guest has to shut down; default 30."""
    tolerations: list[Toleration] = field(default_factory=list)
    """Taints of nodes that do not matter."""
    topology_spread_constraints: list[TopologySpreadConstraint] = field(default_factory=list)
    """How evenly guests are spread over nodes or zones."""
    utility_volumes: list[UtilityVolume] = field(default_factory=list)
    """Claims for the launcher's own use; written by plugging in only."""
    volumes: list[Volume] = field(default_factory=list)
    """Where the disks' bytes come from; a volume and its disk have one name."""


class VirtualMachineInstanceTemplateSpec(Base, kw_only=True):
    """Labels, annotations and spec of the instances to make."""

    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstanceSpec = field(default_factory=VirtualMachineInstanceSpec)


class VirtualMachineInstance(Base, kw_only=True):
    """One guest that runs, will run or has run."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstanceSpec = field(default_factory=VirtualMachineInstanceSpec)
    """The guest; fixed once it is created."""
    status: VirtualMachineInstanceStatus = field(default_factory=VirtualMachineInstanceStatus)
    """What is observed; written by the controller and the node agent."""
