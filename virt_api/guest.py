"""May this be asked of a guest now? One pure check per subresource of a VirtualMachineInstance.

`virt_api.proxy` and `virt_api.portforward` call these before they bother the node agent, so that a refusal carries its
own code and text and, for streams, comes before the upgrade.
"""

from __future__ import annotations

from virt_api.refusals import VMI, bad_request, conflict, forbidden
from virt_kube.api import ApiError
from virt_types.v1 import SEV, VirtualMachineInstance

RUNNING = "Running"
NO_ATTESTATION = "Attestation not requested for VMI"
OFF_NODE = "Unable to connect to VirtualMachineInstance because phase is {phase} instead of Running or Scheduled"
ON_NODE = frozenset({"Running", "Scheduled"})


def condition(vmi: VirtualMachineInstance, kind: str) -> bool:
    return any(each.type == kind and each.status == "True" for each in vmi.status.conditions)


def check_pause(vmi: VirtualMachineInstance) -> ApiError | None:
    probe = vmi.spec.liveness_probe
    if vmi.status.phase != RUNNING:
        return _conflict(vmi, "VM is not running")
    if probe is not None and probe.guest_agent_ping is None:
        text = "Pausing VMIs with a non-GuestAgentPing LivenessProbe is not supported"
        return forbidden(VMI, vmi.metadata.name, text)
    if condition(vmi, "Paused"):
        return _conflict(vmi, "VMI is already paused")
    return None


def check_unpause(vmi: VirtualMachineInstance) -> ApiError | None:
    """That its VM is not in the middle of a snapshot is `virt_api.proxy`'s to look at."""
    if vmi.status.phase != RUNNING:
        return _conflict(vmi, "VMI is not running")
    if not condition(vmi, "Paused"):
        return _conflict(vmi, "VMI is not paused")
    return None


def check_softreboot(vmi: VirtualMachineInstance) -> ApiError | None:
    if vmi.status.phase != RUNNING:
        return _conflict(vmi, "VM is not running")
    if condition(vmi, "Paused"):
        return _conflict(vmi, "VMI is paused")
    if not condition(vmi, "AgentConnected") and _acpi_disabled(vmi):
        return _conflict(vmi, "VMI neither have the agent connected nor the ACPI feature enabled")
    return None


def check_reset(vmi: VirtualMachineInstance) -> ApiError | None:
    if vmi.status.phase in ON_NODE:
        return None
    phase = vmi.status.phase or ""
    return bad_request(f"Failed to reset non-running VMI with phase {phase}: {OFF_NODE.format(phase=phase)}")


def check_console(vmi: VirtualMachineInstance) -> ApiError | None:
    if vmi.spec.domain.devices.autoattach_serial_console is False:
        return bad_request("No serial consoles are present.")
    if vmi.status.phase == "Failed":
        return _conflict(vmi, "VMI is in failed status")
    if vmi.status.phase != RUNNING:
        return bad_request("VMI is not running")
    return None


def check_vnc(vmi: VirtualMachineInstance) -> ApiError | None:
    if vmi.spec.domain.devices.autoattach_graphics_device is False:
        return bad_request("No graphics devices are present.")
    if vmi.status.phase != RUNNING:
        return bad_request("VMI is not running")
    return None


def check_guest_agent(vmi: VirtualMachineInstance) -> ApiError | None:
    if vmi.status.phase != RUNNING:
        return _conflict(vmi, "VMI is not running")
    if not condition(vmi, "AgentConnected"):
        return _conflict(vmi, "VMI does not have guest agent connected")
    return None


def check_freeze(vmi: VirtualMachineInstance) -> ApiError | None:
    return _conflict(vmi, "VM is not running") if vmi.status.phase != RUNNING else None


def check_unfreeze(vmi: VirtualMachineInstance) -> ApiError | None:
    return _conflict(vmi, "VMI is not running") if vmi.status.phase != RUNNING else None


def check_usbredir(vmi: VirtualMachineInstance) -> ApiError | None:
    if vmi.spec.architecture == "s390x":
        return _conflict(vmi, "No USB support on s390x")
    if vmi.spec.domain.devices.client_passthrough is None:
        return _conflict(vmi, "Not configured with USB Redirection")
    return bad_request("VMI is not running") if vmi.status.phase != RUNNING else None


def check_vsock(vmi: VirtualMachineInstance) -> ApiError | None:
    if not vmi.spec.domain.devices.autoattach_vsock:
        return bad_request("VSOCK is not attached.")
    phase = vmi.status.phase or ""
    return None if phase in ON_NODE else bad_request(OFF_NODE.format(phase=phase))


def check_redefine_checkpoint(vmi: VirtualMachineInstance) -> ApiError | None:
    tracking = vmi.status.changed_block_tracking
    if tracking is None or tracking.state != "Enabled":
        return _conflict(vmi, "ChangedBlockTracking is not enabled")
    return None


def check_sev_certificates(vmi: VirtualMachineInstance) -> ApiError | None:
    if vmi.status.phase not in ON_NODE:
        return _conflict(vmi, "VMI is not assigned to a node yet")
    return None if _attested(vmi) else _conflict(vmi, NO_ATTESTATION)


def check_sev_session(vmi: VirtualMachineInstance) -> ApiError | None:
    if vmi.status.phase != "Scheduled":
        return _conflict(vmi, "VMI is not in Scheduled phase")
    sev = _attested(vmi)
    if sev is None:
        return _conflict(vmi, NO_ATTESTATION)
    return _conflict(vmi, "Session already defined") if sev.session or sev.dh_cert else None


def check_sev_launch(vmi: VirtualMachineInstance) -> ApiError | None:
    """Measurement and secret: of a guest that waits, paused, to be trusted."""
    if vmi.status.phase != RUNNING:
        return _conflict(vmi, "VMI is not running")
    if _attested(vmi) is None:
        return _conflict(vmi, NO_ATTESTATION)
    return None if condition(vmi, "Paused") else _conflict(vmi, "VMI is not paused")


def check_evacuation(vmi: VirtualMachineInstance) -> ApiError | None:
    return None if vmi.status.node_name else _conflict(vmi, "VMI is not assigned to a node yet")


def check_portforward(vmi: VirtualMachineInstance) -> ApiError | None:
    if condition(vmi, "Paused"):
        return _conflict(vmi, "VMI is paused")
    if not vmi.status.interfaces:
        return bad_request("no network interfaces are present")
    isolated = next((each for each in vmi.status.conditions if each.type == "NetworkReachable"), None)
    if isolated is not None and isolated.status == "False":
        return _conflict(vmi, isolated.message or "VMI can't be reached")
    if not vmi.status.interfaces[0].ip_address:
        return _conflict(vmi, "VMI has no IP address yet")
    return None


def _conflict(vmi: VirtualMachineInstance, message: str) -> ApiError:
    return conflict(VMI, vmi.metadata.name, message)


def _attested(vmi: VirtualMachineInstance) -> SEV | None:
    """The guest's SEV, if it is to be attested; SNP guests attest themselves."""
    security = vmi.spec.domain.launch_security
    if security is None or security.snp is not None or security.sev is None:
        return None
    return security.sev if security.sev.attestation is not None else None


def _acpi_disabled(vmi: VirtualMachineInstance) -> bool:
    features = vmi.spec.domain.features
    return features is not None and features.acpi is not None and features.acpi.enabled is False
