"""Rules as they are live: what each matched, its text, the rule sets before, and what those on disk would change."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import anyio.to_thread
from quart import Response

from hookline.daemon.api.comparing import DiffAsked, diff_rules
from hookline.daemon.api.endpoint import Nothing
from hookline.daemon.api.events import EventsAsked, list_events
from hookline.daemon.api.explaining import ExplainAsked, explain_event
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.rules import (
    RuleAsked,
    RulesAsked,
    VersionAsked,
    list_rules,
    list_versions,
    show_rule,
    show_version,
)
from hookline.daemon.api.shapes.rules import DiffShape, ExplanationShape, RuleDetail, RuleSetVersion
from hookline.daemon.web.site import Site
from hookline.daemon.web.texts import link
from hookline.daemon.web.view import View

#: Rules on a page, events that one matched, and events compared with what is on disk.
_PAGE: Final = 50
_LATEST: Final = 10
_COMPARED: Final = 200
#: Longer files are not compared line by line, and of what differs no more is shown.
_MOST_LINES: Final = 5_000
_MOST_CHANGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a comparison."""

    #: `add`, `del`, `at` or "".
    kind: str
    text: str


def add_pages(site: Site) -> None:
    """Add the pages."""
    site.page("/rules")(_rules)
    site.page("/rule")(_rule)
    site.page("/rules/history")(_history)
    site.page("/rules/changes")(_changes)


async def _rules(view: View) -> Response:
    asked = RulesAsked(
        q=view.query.get("q") or None,
        unused=view.query.get("unused") == "true",
        limit=_PAGE,
        after=_number(view.query.get("after")),
    )
    shown = await list_rules(view.call(asked))
    here = link("/rules", q=asked.q, unused="true" if asked.unused else None, after=asked.after or None)
    return await view.render("rules.html", api=here, asked=asked, shown=shown)


async def _rule(view: View) -> Response:
    asked = RuleAsked(
        rule=view.query.get("name", ""),
        file=view.query.get("file") or None,
        line=_number(view.query.get("line")) or None,
    )
    rule = await show_rule(view.call(asked))
    latest = await list_events(view.call(EventsAsked(rule=asked.rule, limit=_LATEST)))
    return await view.render(
        "rule.html",
        api=link("/rules/one", rule=asked.rule, file=asked.file, line=asked.line),
        rule=rule,
        notes=_notes(rule),
        lines=list(enumerate(rule["text"].splitlines(), rule["first_line"])),
        latest=latest,
        missed=await _missed(view, rule["last_missed"], asked.rule),
    )


def _notes(rule: RuleDetail) -> list[str]:
    """Say what is special about a rule."""
    return [
        note
        for note, is_so in (
            ("off", not rule["enabled"]),
            ("dry run: nothing is sent", bool(rule["dry_run"]) and all(rule["dry_run"])),
            ("dry run in part", any(rule["dry_run"]) and not all(rule["dry_run"])),
            ("aside: it does not keep the fallback from acting", rule["aside"]),
            ("stop: rules below are not tried for what it matches", rule["stop"]),
            ("asked when no rule matched", rule["fallback"]),
        )
        if is_so
    ]


async def _missed(view: View, event: str | None, rule: str) -> ExplanationShape | None:
    """Return why the rule did not match an event; None if it cannot be told any more."""
    if event is None:
        return None
    try:
        return await explain_event(view.call(ExplainAsked(event=event, rules="now", rule=rule)))
    except ProblemError:
        return None


async def _history(view: View) -> Response:
    shown = await list_versions(view.call(Nothing()))
    before, after = view.query.get("from"), view.query.get("to")
    changes: list[Line] | None = None
    problem = ""
    if before and after:
        try:
            old = await show_version(view.call(VersionAsked(version=before)))
            new = await show_version(view.call(VersionAsked(version=after)))
        except ProblemError as error:
            problem = error.detail
        else:
            changes = await anyio.to_thread.run_sync(changed_lines, old, new)
    return await view.render(
        "rules_history.html",
        api="/rules/versions",
        versions=shown["versions"],
        before=before,
        after=after,
        changes=changes,
        problem=problem,
    )


async def _changes(view: View) -> Response:
    found: DiffShape | None = None
    problem = ""
    try:
        found = await diff_rules(view.call(DiffAsked(limit=_COMPARED)))
    except ProblemError as error:
        problem = error.detail
    api = link("/diff", limit=_COMPARED)
    return await view.render("rules_changes.html", api=api, found=found, problem=problem)


def changed_lines(old: RuleSetVersion, new: RuleSetVersion) -> list[Line]:
    """Compare the files of two rule sets line by line. Takes a thread."""
    lines = list(_lines(old, new))
    if len(lines) <= _MOST_CHANGES:
        return lines
    return [*lines[:_MOST_CHANGES], Line("at", f"… and {len(lines) - _MOST_CHANGES:,} more lines")]


def _lines(old: RuleSetVersion, new: RuleSetVersion) -> Iterator[Line]:
    for name in sorted({*old["files"], *new["files"]}):
        then, now = (each["files"].get(name, "").splitlines() for each in (old, new))
        if then == now:
            continue
        if max(len(then), len(now)) > _MOST_LINES:
            yield Line("at", f"{name}: {len(then):,} lines then, {len(now):,} now: too long to be compared here")
            continue
        for text in difflib.unified_diff(then, now, f"{name} then", f"{name} now", lineterm=""):
            yield Line(_kind(text), text)
    for kind, then_plugins, now_plugins in (("del", old, new), ("add", new, old)):
        for name, digest in then_plugins["plugins"].items():
            if now_plugins["plugins"].get(name) != digest:
                yield Line(kind, f"{'-' if kind == 'del' else '+'} action {name} {digest[:6]}")


def _kind(text: str) -> str:
    if text.startswith(("@@", "---", "+++")):
        return "at"
    return {"+": "add", "-": "del"}.get(text[:1], "")


def _number(text: str | None) -> int:
    """Return a number from the URL; 0 for what is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0
