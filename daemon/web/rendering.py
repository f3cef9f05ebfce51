"""The pages' templates: always escaped, a missing value an error, whatever came from outside made visible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hookline.daemon.web import charts, icons, texts
from hookline.daemon.web.static_files import StaticFiles
from hookline.rules.name_filter import HOOKLINE

#: A start has better things to do, and the one who makes it looks a little later.
_WARM_AFTER_S = 5.0
_WARM_PAUSE_S = 0.1


class Templates:
    """Makes HTML of a template and its values."""

    def __init__(self, static: StaticFiles) -> None:
        """Compile nothing yet: each template is compiled when it is first shown, or by `warm`."""
        made = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=texts.shown,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        made.filters |= {
            "absolute": texts.absolute,
            "cut": texts.cut,
            "duration": texts.duration,
            "exactly": texts.Exact,
            "flow": texts.flow,
            "machine_time": texts.machine_time,
            "milliseconds": texts.milliseconds,
            "number": texts.number,
            "segment": texts.segment,
            "size": texts.size,
        }
        made.globals |= {
            "ago": texts.ago,
            "bars": charts.bars,
            "icon_of": icons.icon_of,
            "link": texts.link,
            "own_source": HOOKLINE,
            "percent": texts.percent,
            "sparkline": charts.sparkline,
            "static": static.url,
        }
        self._environment = made

    async def warm(self) -> None:
        """Compile all templates, one at a time with pauses: the first look at a page is then as fast as the next."""
        await anyio.sleep(_WARM_AFTER_S)
        for name in self._environment.list_templates(extensions=["html"]):
            await anyio.to_thread.run_sync(self._environment.get_template, name)
            # The compiler holds the interpreter, and senders come first.
            await anyio.sleep(_WARM_PAUSE_S)

    async def render(self, template: str, **values: Any) -> bytes:
        """Return the page as UTF-8. Works in a thread: a long table is more than the event loop should do at once."""
        return await anyio.to_thread.run_sync(self._render, template, values)

    def _render(self, template: str, values: dict[str, Any]) -> bytes:
        text = self._environment.get_template(template).render(values)
        # Half a surrogate pair can stand in JSON, but in no UTF-8.
        return text.encode("utf-8", "backslashreplace")
