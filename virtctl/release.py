"""Which release this is."""

from __future__ import annotations


def version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("virtctl")
    except PackageNotFoundError:
        return "0.0.0"  # run from a checkout that is not installed
