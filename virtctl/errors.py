"""Why a command ends with exit code 1.

    VirtError
    ├── KubeconfigError        (virt_kube.kubeconfig)
    └── CommandError
        ├── UsageError         the words on the command line make no sense together
        ├── InputError         a file, a manifest or a local program can't be used
        ├── ApiRefusal         the API answered, with a Status or an HTTP code that says no
        ├── Unreachable        nothing answered: refused, timed out, TLS, proxy
        ├── StreamBroken       a console or VNC stream ended for a reason other than its end
        └── WaitFailed         --wait did not see what it waited for

`virtctl.__main__` has the one `except`: it prints `message`, then `hint`.
"""

from __future__ import annotations

from typing import Any

from virt_types.errors import VirtError


class CommandError(VirtError):
    """A command could not do what it was asked to."""


class UsageError(CommandError):
    reason = "Usage"


class InputError(CommandError):
    reason = "BadInput"


class ApiRefusal(CommandError):
    """`code` is the HTTP code, `status` the Status object (empty when the body was none)."""

    def __init__(self, message: str, code: int, status: dict[str, Any] | None = None, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status or {}

    def prefixed(self, text: str) -> ApiRefusal:
        """The same refusal, beginning with what the command was doing."""
        return ApiRefusal(text + self.message, self.code, self.status, hint=self.hint)


class Unreachable(CommandError):
    reason = "Unreachable"


class StreamBroken(CommandError):
    """`code` is the websocket's close code; 1006 is a connection that broke without one."""

    def __init__(self, message: str, code: int = 1006, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class WaitFailed(CommandError):
    reason = "WaitFailed"
