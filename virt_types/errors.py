"""The root of every room's error tree.

    VirtError
    ├── InvalidObject      (virt_types)       an object breaks the schema or a rule; carries every Cause
    ├── QuantityError      (virt_types)       a resource quantity can't be read
    ├── ApiError           (virt_kube)        a Kubernetes API said no; see virt_kube/api.py
    ├── HandlerError       (virt_handler)     see virt_handler/errors.py
    ├── LocalError         (virt_local)       see virt_local/errors.py
    └── CommandError       (virtctl)          see virtctl/errors.py

Whoever shows an error to a person shows `message`, then `hint`; a program ends with `exit_code`.
"""

from __future__ import annotations

from typing import NamedTuple


class VirtError(Exception):
    """Something a person can act on.

    `message` says what failed, with the field and the value; `hint` says the way out; `reason` is a CamelCase word
    that programs and conditions use; `exit_code` is the process status it means.
    """

    reason = "Error"
    exit_code = 1

    def __init__(self, message: str, *, reason: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if reason is not None:
            self.reason = reason


class Cause(NamedTuple):
    """One entry of a Status' details.causes: `field` is a path such as `spec.template.spec.domain.cpu.cores`."""

    reason: str
    message: str
    field: str


class InvalidObject(VirtError):
    """An object breaks its schema or a validation rule; all causes, in document order."""

    reason = "Invalid"

    def __init__(self, message: str, causes: tuple[Cause, ...] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.causes = causes
