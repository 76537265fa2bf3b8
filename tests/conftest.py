"""What all tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

HYPERVISOR = ("tests/node/", "tests/e2e/")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several workers share the tests (`-n`), one of them has all that use this machine's hypervisor."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if item.nodeid.startswith(HYPERVISOR):
                item.add_marker(pytest.mark.xdist_group("hypervisor"))


@pytest.fixture(scope="session", autouse=True)
def _main_loop() -> Iterator[None]:
    """The loop pytest-asyncio finds and puts back around each test; left to itself it makes one and never closes it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
