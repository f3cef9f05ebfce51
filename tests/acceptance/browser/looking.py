"""A visitor with a real browser: sees what goes wrong on a page, and takes pictures of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect, sync_playwright

#: Where pictures go; nowhere if it is not set.
SCREENSHOTS = os.environ.get("HOOKLINE_SCREENSHOTS")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
_ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_SERIOUS = {"serious", "critical"}
_axe = Axe()
#: Pages look anew, come back and say what is new every five seconds, which is also how long one waits by default.
_PATIENCE_MS = 15_000
expect.set_options(timeout=_PATIENCE_MS)


@contextmanager
def browsing() -> Iterator[Browser]:
    """Start the machine's browser; skip where there is none, but fail where one is asked for."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        if os.environ.get("HOOKLINE_NEEDS_BROWSER"):
            pytest.fail("HOOKLINE_NEEDS_BROWSER is set, and there is no chromium: apt-get install chromium")
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visitor:
    """One page in a browser of its own, and all that was wrong on it."""

    page: Page
    #: The site's address without a path.
    home: str
    #: Errors of scripts, refusals of the content security policy, dialogs, requests that led elsewhere.
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"script: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)

    def goto(self, path: str) -> int:
        """Go to a page; return its status."""
        answer = self.page.goto(self.home + path)
        assert answer is not None
        return answer.status

    def login(self, token: str, path: str = "/") -> None:
        """Log in, and go to a page."""
        self.goto(path)
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(self.home + path)

    def findings(self, *rules: str) -> list[str]:
        """Return what axe calls serious or critical on this page: by these rules, or by all."""
        options: dict[str, Any] = {"resultTypes": ["violations"]}
        if rules:
            options["runOnly"] = [*rules]
        found: list[Any] = _axe.run(self.page, options=options).response["violations"]
        return [
            f"{one['id']}: {node['html'][:300]}: {node.get('failureSummary', '')[:300]}"
            for one in found
            if one["impact"] in _SERIOUS
            for node in one["nodes"]
        ]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def widest(self) -> list[str]:
        """Return which elements stick out on the right, for a message."""
        script = """() => [...document.querySelectorAll("main *")]
            .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, pre"))
            .slice(0, 5).map((one) => one.outerHTML.slice(0, 160))"""
        return [str(one) for one in self.page.evaluate(script)]

    def photograph(self, name: str) -> None:
        """Take a picture of the whole page, if pictures are wanted."""
        if SCREENSHOTS:
            folder = Path(SCREENSHOTS)
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{name}.png", full_page=True, animations="disabled")

    def _console(self, said: ConsoleMessage) -> None:
        # A page that says 403 or 404 is noted as an error of loading by the browser; that one was asked for.
        if said.type in {"error", "warning"} and not re.match(r"Failed to load resource: .* 4\d\d", said.text):
            self.troubles.append(f"console: {said.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        if not request.url.startswith(self.home + "/"):
            self.troubles.append(f"leads elsewhere: {request.url}")


@contextmanager
def visiting(browser: Browser, home: str, **context: Any) -> Iterator[Visitor]:
    """Open a window of its own: `viewport`, `color_scheme`, `java_script_enabled` and the like as playwright has them."""
    opened = browser.new_context(**{"viewport": DESK, **context})
    opened.set_default_timeout(_PATIENCE_MS)
    try:
        yield Visitor(opened.new_page(), home)
    finally:
        opened.close()
