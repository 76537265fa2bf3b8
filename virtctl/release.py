"""Which release this is, and by which name it was called."""

from __future__ import annotations


def program_name(argv0: str) -> str:
    """`kubectl virt` when run as `kubectl-virt`, as a kubectl plugin is."""
    name = argv0.replace("\\", "/").rpartition("/")[2]
    return f"{name[:-5]} virt" if name.endswith("-virt") and len(name) > 5 else "virtctl"


def version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("virtctl")
    except PackageNotFoundError:
        return "0.0.0"  # run from a checkout that is not installed
