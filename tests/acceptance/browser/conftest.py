"""One browser for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.acceptance.browser.looking import browsing


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the session: playwright's loop runs in this thread, and other tests want their own.
    with browsing() as started:
        yield started
