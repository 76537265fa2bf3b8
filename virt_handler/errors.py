"""Everything that can go wrong on a node, each error with the reason a condition or event shows.

    HandlerError
    ├── HypervisorError               libvirt refused, and nothing below fits
    │   ├── HypervisorUnreachable     no connection, or no answer within the deadline
    │   ├── NoSuchGuest               libvirt does not know the domain
    │   ├── GuestStateError           not possible in the guest's present state
    │   ├── GuestAgentError           the agent inside the guest did not do it
    │   └── DomainRejected      fatal libvirt or QEMU can't run this configuration
    ├── DomainConflict                the domain's name or uuid is taken by a guest that isn't ours
    ├── RenderError             fatal the VMI can't be expressed as a domain
    │   └── UnsafeTextError     fatal a text with control characters or broken Unicode (domain/proof.py)
    ├── ProcessorsTaken               no processors are left that a guest could have for itself
    ├── NotEnoughMemory               a running guest asks for more than the machine has available
    ├── ImageError                    a container disk's image can't be had
    │   ├── ImagePullError            registry unreachable, image unknown, digest wrong
    │   └── ImageRefused        fatal not an image, no disk in it, or a disk we will not attach
    ├── VolumeError                   a volume can't be prepared
    │   ├── ClaimNotFound             the PersistentVolumeClaim does not exist (yet)
    │   ├── ClaimNotFilled            a DataVolume or an upload has not put a disk into it (yet)
    │   ├── ObjectNotFound            a secret or config map does not exist (yet)
    │   ├── UnsafePath          fatal a path leaves its directory or goes through a link
    │   └── UnsupportedVolume   fatal a kind of volume this agent can't attach
    ├── NetworkError                  an interface can't be connected
    ├── AcceleratorError              neither KVM nor emulation starts a guest
    ├── BadCall                       a request to the agent's own API can't be read
    ├── ConsoleError                  a guest's console or screen can't be opened
    └── StateError                    the agent's own records can't be read or written

`fatal` says that trying again is useless until the object changes.
"""

from __future__ import annotations

from typing import ClassVar

from virt_types.errors import VirtError


class HandlerError(VirtError):
    """Something the node agent could not do."""

    reason = "HandlerError"
    fatal: ClassVar[bool] = False


class HypervisorError(HandlerError):
    reason = "HypervisorError"


class HypervisorUnreachable(HypervisorError):
    reason = "HypervisorUnreachable"


class NoSuchGuest(HypervisorError):
    reason = "NoSuchGuest"


class GuestStateError(HypervisorError):
    reason = "GuestState"


class GuestAgentError(HypervisorError):
    reason = "GuestAgent"


class DomainRejected(HypervisorError):
    reason = "DomainRejected"
    fatal = True


class DomainConflict(HandlerError):
    reason = "DomainConflict"


class RenderError(HandlerError):
    reason = "UnsupportedConfiguration"
    fatal = True


class ProcessorsTaken(HandlerError):
    reason = "ProcessorsTaken"


class NotEnoughMemory(HandlerError):
    reason = "NotEnoughMemory"


class ImageError(HandlerError):
    reason = "ErrImagePull"


class ImagePullError(ImageError):
    reason = "ErrImagePull"


class ImageRefused(ImageError):
    reason = "ImageRefused"
    fatal = True


class VolumeError(HandlerError):
    reason = "FailedVolume"


class ClaimNotFound(VolumeError):
    reason = "FailedPvcNotFound"


class ClaimNotFilled(VolumeError):
    reason = "PVCNotReady"


class ObjectNotFound(VolumeError):
    reason = "FailedMount"


class UnsafePath(VolumeError):
    reason = "UnsafePath"
    fatal = True


class UnsupportedVolume(VolumeError):
    reason = "UnsupportedVolume"
    fatal = True


class NetworkError(HandlerError):
    reason = "FailedNetwork"


class AcceleratorError(HandlerError):
    reason = "NoAccelerator"


class BadCall(HandlerError):
    reason = "BadRequest"


class ConsoleError(HandlerError):
    reason = "ConsoleUnavailable"


class StateError(HandlerError):
    reason = "StateError"
