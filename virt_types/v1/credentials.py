"""SSH keys and passwords handed to the guest.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base


class AccessCredentialSecretSource(Base, kw_only=True):
    """A Secret that holds the credential."""

    secret_name: str = field(default_factory=str)
    """The Secret, in the same namespace."""


class ConfigDriveSSHPublicKeyAccessCredentialPropagation(Base, kw_only=True):
    """By cloud-init's config drive, at start."""


class NoCloudSSHPublicKeyAccessCredentialPropagation(Base, kw_only=True):
    """By cloud-init's NoCloud disk, at start."""


class QemuGuestAgentSSHPublicKeyAccessCredentialPropagation(Base, kw_only=True):
    """By the guest agent, whenever they change."""

    users: list[str]
    """Users of the guest who get the keys; at least one."""


class QemuGuestAgentUserPasswordAccessCredentialPropagation(Base, kw_only=True):
    """By the guest agent, whenever they change."""


class SSHPublicKeyAccessCredentialPropagationMethod(Base, kw_only=True):
    """By cloud-init or by the guest agent."""

    config_drive: ConfigDriveSSHPublicKeyAccessCredentialPropagation | None = None
    no_cloud: NoCloudSSHPublicKeyAccessCredentialPropagation | None = None
    qemu_guest_agent: QemuGuestAgentSSHPublicKeyAccessCredentialPropagation | None = None


class SSHPublicKeyAccessCredentialSource(Base, kw_only=True):
    """Where the SSH keys are."""

    secret: AccessCredentialSecretSource | None = None


class SSHPublicKeyAccessCredential(Base, kw_only=True):
    """SSH keys and how they get into the guest."""

    propagation_method: SSHPublicKeyAccessCredentialPropagationMethod = field(
        default_factory=SSHPublicKeyAccessCredentialPropagationMethod
    )
    source: SSHPublicKeyAccessCredentialSource = field(default_factory=SSHPublicKeyAccessCredentialSource)


class UserPasswordAccessCredentialPropagationMethod(Base, kw_only=True):
    """By the guest agent."""

    qemu_guest_agent: QemuGuestAgentUserPasswordAccessCredentialPropagation | None = None


class UserPasswordAccessCredentialSource(Base, kw_only=True):
    """Where the passwords are."""

    secret: AccessCredentialSecretSource | None = None


class UserPasswordAccessCredential(Base, kw_only=True):
    """Passwords and how they get into the guest."""

    propagation_method: UserPasswordAccessCredentialPropagationMethod = field(
        default_factory=UserPasswordAccessCredentialPropagationMethod
    )
    source: UserPasswordAccessCredentialSource = field(default_factory=UserPasswordAccessCredentialSource)


class AccessCredential(Base, kw_only=True):
    """An SSH key or a password for the guest."""

    ssh_public_key: SSHPublicKeyAccessCredential | None = None
    user_password: UserPasswordAccessCredential | None = None
