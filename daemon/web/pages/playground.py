"""The playground: rules that are typed, asked about an event. Nothing is executed, and nothing is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quart import Response

from hookline.daemon.api.endpoint import Nothing
from hookline.daemon.api.events import EventsAsked, list_events
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.rules import ProblemShape, TryShape
from hookline.daemon.api.trying import MAX_RULES_BYTES, PLAYGROUND, try_rules
from hookline.daemon.asked import AskedError
from hookline.daemon.web.site import Site
from hookline.daemon.web.view import View
from hookline.rules import RuleSet

_STARTER: Final = """\
rules:
  - name: my first rule
    when: {$.total: {gte: 100}}
    do: [log: {}]
"""
#: Of events to choose from; of problems that are shown.
_LATEST: Final = 30
_MOST_PROBLEMS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What stands in the form."""

    file: str
    rules: str
    event: str
    source: str
    type: str
    body: str

    def to_json(self) -> dict[str, Any]:
        """Return it as `POST /try` takes it."""
        said: dict[str, Any] = {"file": self.file, "rules": self.rules}
        if self.event:
            return said | {"event": self.event}
        return said | {"source": self.source, "type": self.type, "body": self.body}


def add_pages(site: Site) -> None:
    """Add the page, and the form that asks."""
    site.page("/playground")(_blank)
    # Whoever may read may try: it is a question, and only too long for a URL.
    site.form("/playground", scope="read")(_tried)


async def _blank(view: View) -> Response:
    """Show the form: with a live file, and the newest event unless another is named."""
    rules = view.daemon.live.current.rules
    texts = live_texts(rules)
    file = view.query.get("file") or next(iter(texts), PLAYGROUND)
    text = texts.get(file, _STARTER)
    note = ""
    if len(text.encode()) > MAX_RULES_BYTES:
        note = f"{file} is too long to be tried whole: type the rules that matter. They are asked beside it."
        file, text = PLAYGROUND, _STARTER
    event = view.query.get("event", "")
    sheet = Sheet(file=file, rules=text, event=event, source="", type="", body="")
    return await _shown(view, sheet, None, note=note)


async def _tried(view: View) -> Response:
    form = view.form
    # Browsers end lines of a text area with both characters.
    rules, body = (form.get(name, "").replace("\r\n", "\n") for name in ("rules", "body"))
    sheet = Sheet(
        file=form.get("file") or PLAYGROUND,
        rules=rules,
        event=form.get("event", "").strip(),
        source=form.get("source", ""),
        type=form.get("type", "").strip(),
        body=body,
    )
    try:
        return await _shown(view, sheet, await try_rules(view.call(Nothing(), body=sheet.to_json())))
    except (AskedError, ProblemError) as error:
        # Said beside the form, so that nothing that was typed is lost.
        return await _shown(view, sheet, None, problem=str(error))


async def _shown(view: View, sheet: Sheet, answer: TryShape | None, *, note: str = "", problem: str = "") -> Response:
    live = view.daemon.live.current
    latest = await list_events(view.call(EventsAsked(limit=_LATEST)))
    if not sheet.event and not sheet.body and answer is None and not problem and latest["events"]:
        sheet = Sheet(**{**_fields(sheet), "event": latest["events"][0]["id"]})
    files = [name for name, text in live_texts(live.rules).items() if len(text) <= MAX_RULES_BYTES]
    return await view.render(
        "playground.html",
        sheet=sheet,
        files=[*files, *([sheet.file] if sheet.file not in files else [])],
        live_files=files,
        sources=sorted(live.settings.sources),
        latest=latest["events"],
        answer=answer,
        problems=[] if answer is None else excerpts(answer["problems"], sheet),
        note=note,
        problem=problem,
    )


def _fields(sheet: Sheet) -> dict[str, str]:
    return {name: getattr(sheet, name) for name in Sheet.__slots__}


def live_texts(rules: RuleSet) -> Mapping[str, str]:
    """Return the text of each live file by its name."""
    files: Mapping[str, str] = json.loads(rules.manifest)["files"]
    return {name: rules.files[digest] for name, digest in files.items()}


def excerpts(problems: Sequence[ProblemShape], sheet: Sheet) -> list[dict[str, Any]]:
    """Return problems, each with its line of what was typed and a caret under the mistake."""
    lines = sheet.rules.splitlines()
    return [
        {**one, "excerpt": _excerpt(one, lines) if one["file"] == sheet.file else ""}
        for one in problems[:_MOST_PROBLEMS]
    ]


def _excerpt(problem: ProblemShape, lines: Sequence[str]) -> str:
    if not 1 <= problem["line"] <= len(lines):
        return ""
    line = lines[problem["line"] - 1]
    start = max(0, problem["column"] - 1)
    # Of a very long line, what stands around the mistake.
    cut = max(0, start - 60)
    shown = line[cut : cut + 160].replace("\t", " ")
    caret = "^" * max(1, min(problem["length"], len(shown) - (start - cut)))
    margin = f"{problem['line']:>5} | "
    return f"{margin}{shown}\n{' ' * (len(margin) - 2)}| {' ' * (start - cut)}{caret}"
