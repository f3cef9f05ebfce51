"""What every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Files from other projects and vendors, beside the checkout; tests that read them skip where they are absent.
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def anyio_backend() -> str:
    """Run every async test on asyncio: Hypercorn's, aiosqlite's and aiohttp's only loop."""
    return "asyncio"


@pytest.fixture
def shared() -> Path:
    """Return the folder of vendors' payloads and vectors, or skip the test."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not beside this checkout: vendors' payloads and vectors are not committed")
    return SHARED
