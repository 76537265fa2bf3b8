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
    affinity: Affinity | None = None
    architecture: str | None = None
    dns_config: PodDNSConfig | None = None
    dns_policy: str | None = None
    domain: DomainSpec = field(default_factory=DomainSpec)
    eviction_strategy: str | None = None
    hostname: str | None = None
    liveness_probe: Probe | None = None
    networks: list[Network] = field(default_factory=list)
    node_selector: dict[str, str] = field(default_factory=dict)
    priority_class_name: str | None = None
    readiness_probe: Probe | None = None
    resource_claims: list[VirtualMachineInstanceResourceClaim] = field(default_factory=list)
    scheduler_name: str | None = None
    service_account_name: str | None = None
    start_strategy: str | None = None
    subdomain: str | None = None
    termination_grace_period_seconds: Int64 | None = None
    tolerations: list[Toleration] = field(default_factory=list)
    topology_spread_constraints: list[TopologySpreadConstraint] = field(default_factory=list)
    utility_volumes: list[UtilityVolume] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=list)


class VirtualMachineInstanceTemplateSpec(Base, kw_only=True):
    """Labels, annotations and spec of the instances to make."""

    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstanceSpec = field(default_factory=VirtualMachineInstanceSpec)


class VirtualMachineInstance(Base, kw_only=True):
    """One guest that runs, will run or has run."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstanceSpec = field(default_factory=VirtualMachineInstanceSpec)
    status: VirtualMachineInstanceStatus = field(default_factory=VirtualMachineInstanceStatus)
