"""The recorded facts of ../shared/data, for tests that compare with the real programs."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[4] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded data; tests that need it skip where it doesn't exist."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("no recorded data here: ../shared/data is missing")
    return folder


@pytest.fixture(scope="session")
def shared_seeds() -> Path:
    """The user's documents."""
    folder = SHARED / "seeds"
    if not folder.is_dir():
        pytest.skip("no user documents here: ../shared/seeds is missing")
    return folder
