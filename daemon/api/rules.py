"""The rules that are live, what each matched, and the rule sets that were live before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import anyio.to_thread

from hookline.daemon.actions.dry_run import is_dry_run
from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.paging import limit_of
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.running import Running
from hookline.daemon.api.shapes.rules import (
    RuleDetail,
    RuleSetsShape,
    RuleSetSummary,
    RuleSetVersion,
    RuleShape,
    RulesShape,
)
from hookline.daemon.config.settings import Settings
from hookline.daemon.reload.history import live_history
from hookline.daemon.rule_files import read_rule_texts
from hookline.daemon.store.stored import EventSearch, RuleActivity
from hookline.rules import RulesError, RuleSet
from hookline.rules.rule import Rule
from hookline.rules.ruleset import text_hash
from hookline.rules.suggestion import suggest

RULES = Area("rules", "The rules that are live, and what they matched.")

_MOST_LINES: Final = 400
#: Events among which one is sought that a rule did not match.
_MOST_SEARCHED: Final = 500
_VERSION_LENGTH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesAsked:
    """Which rules to list."""

    q: Annotated[str | None, "Only rules whose name, file, owner or destination contains this."] = None
    unused: Annotated[bool, "Only rules that matched nothing."] = False
    limit: Annotated[int, "How many at most, 1 to 1,000."] = 200
    after: Annotated[int, "`next` of the page above."] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleAsked:
    """One rule. Fallbacks have no name, and are told apart by where they stand."""

    rule: Annotated[str, "Its name; empty for a fallback."] = ""
    file: Annotated[str | None, "The file in which it stands."] = None
    line: Annotated[int | None, "The line at which it begins."] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionAsked:
    """One rule set."""

    version: Annotated[str, "Its version; six characters of one that went live are enough."]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What rules matched."""

    since: datetime
    activity: Mapping[str, RuleActivity]


@RULES.get("/rules")
async def list_rules(call: Call[RulesAsked]) -> RulesShape:
    """List the rules that are live, in the order in which they are tried, with what each matched."""
    daemon, asked = call.daemon, call.asked
    limit = limit_of(asked.limit, most=1_000)
    generation = daemon.live.current
    rules, settings = generation.rules, generation.settings
    counted = await _count(daemon)
    everything = (*rules.rules, *rules.fallback)
    found = await anyio.to_thread.run_sync(_select, everything, asked, counted)
    page = found[max(0, asked.after) :][: limit + 1]
    last = daemon.live.last
    return {
        "version": rules.version,
        "since": counted.since.isoformat(),
        "rules": [_shape(rule, settings, counted) for rule in page[:limit]],
        "next": str(max(0, asked.after) + limit) if len(page) > limit else None,
        "total": len(everything),
        "differs_on_disk": await anyio.to_thread.run_sync(_differs_on_disk, settings, rules),
        "refused": [str(problem) for problem in last.problems] if last is not None else [],
    }


@RULES.get("/rules/one", also={404: "no such rule"})
async def show_rule(call: Call[RuleAsked]) -> RuleDetail:
    """Return one rule of those that are live, with its text."""
    generation, asked = call.daemon.live.current, call.asked
    rules = generation.rules
    rule = next((one for one in (*rules.rules, *rules.fallback) if _is_asked(one, asked)), None)
    if rule is None:
        hint = suggest(asked.rule, [one.name for one in rules.rules], what="rules") if asked.rule else None
        raise ProblemError(404, "Not found", f"no rule {asked.rule[:200]!r} is live; {hint or 'GET /rules lists them'}")
    counted = await _count(call.daemon)
    files: Mapping[str, str] = json.loads(rules.manifest)["files"]
    first, text = rule_text(rules.files[files[rule.place.file]], rule.place.line)
    shape = _shape(rule, generation.settings, counted)
    missed = await _last_missed(call.daemon, rule)
    return {
        **shape,
        "version": rules.version,
        "since": counted.since.isoformat(),
        "first_line": first,
        "text": text,
        "last_missed": missed,
    }


@RULES.get("/rules/versions")
async def list_versions(call: Call[Nothing]) -> RuleSetsShape:
    """List the rule sets that went live, the latest first; at most 200."""
    history = live_history(await call.daemon.reader.facts())
    live = call.daemon.live.current.rules.version
    versions: list[RuleSetSummary] = [
        {
            "version": one.version,
            "live_since": one.at.isoformat(),
            "rules": one.rules,
            # The same may have been live before, too.
            "live": place == 0 and one.version == live,
        }
        for place, one in enumerate(history)
    ]
    return {"versions": versions}


@RULES.get("/rules/versions/{version}", also={404: "no such rule set, or it is not kept any more"})
async def show_version(call: Call[VersionAsked]) -> RuleSetVersion:
    """Return the files of a rule set as it ran. They are kept as long as events that it routed, or it is live."""
    daemon, asked = call.daemon, call.asked
    live = daemon.live.current.rules
    known = [live.version, *(one.version for one in live_history(await daemon.reader.facts()))]
    version = (
        asked.version
        if len(asked.version) == _VERSION_LENGTH
        else next((one for one in known if len(asked.version) >= 6 and one.startswith(asked.version)), asked.version)
    )
    manifest = await daemon.reader.text(version)
    kept = _manifest(manifest)
    if kept is None:
        raise ProblemError(404, "Not kept", f"no rules {asked.version[:40]!r} are kept; GET /rules/versions lists them")
    files = {name: await daemon.reader.text(digest) for name, digest in kept["files"].items()}
    if any(text is None for text in files.values()):
        raise ProblemError(404, "Not kept", f"the rules {version[:6]} are not kept any more")
    return {
        "version": version,
        "hookline": kept["hookline"],
        "files": {name: text or "" for name, text in files.items()},
        "plugins": kept["plugins"],
    }


def rule_text(text: str, line: int) -> tuple[int, str]:
    """Return the lines of the list's item that stands at a line, and the first one's number; at most 400 lines."""
    lines = text.splitlines()
    first = _dash_above(lines, line - 1)
    found = lines[first : first + 1]
    for one in lines[first + 1 : first + _MOST_LINES]:
        if one.strip() and _indent(one) <= _indent(found[0]):
            break
        found.append(one)
    while not found[-1].strip() and len(found) > 1:
        found.pop()
    return first + 1, "\n".join(found)


def _dash_above(lines: Sequence[str], at: int) -> int:
    """Return where the item begins that a line belongs to: its name need not be its first key."""
    if lines[at].lstrip().startswith("- "):
        return at
    for above in range(at - 1, max(-1, at - _MOST_LINES), -1):
        line = lines[above]
        if line.lstrip().startswith("- ") and _indent(line) < _indent(lines[at]):
            return above
    return at


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


async def _count(daemon: Running) -> _Counted:
    kept = daemon.clock() - daemon.live.current.settings.retention.events
    since = max(await daemon.reader.rules_counted_since(), kept)
    return _Counted(since=since, activity={one.rule: one for one in await daemon.reader.rule_activity(since=since)})


async def _last_missed(daemon: Running, rule: Rule) -> str | None:
    if not rule.name or not rule.is_enabled:
        return None
    page = await daemon.reader.event_page(EventSearch(), limit=_MOST_SEARCHED)
    for row in page.rows:
        if rule.admits(row.source, row.type) and rule.name not in row.matched and not row.is_unrouted:
            return row.id
    return None


def _select(rules: Sequence[Rule], asked: RulesAsked, counted: _Counted) -> list[Rule]:
    word = (asked.q or "").casefold()
    return [
        rule
        for rule in rules
        if (not word or any(word in text.casefold() for text in _texts(rule)))
        and (not asked.unused or not _matched(rule, counted))
    ]


def _texts(rule: Rule) -> list[str]:
    return [rule.name, rule.place.file, rule.owner, *(step.label for step in rule.steps)]


def _matched(rule: Rule, counted: _Counted) -> int:
    known = counted.activity.get(rule.name)
    return known.events if known else 0


def _shape(rule: Rule, settings: Settings, counted: _Counted) -> RuleShape:
    known = counted.activity.get(rule.name)
    return {
        "rule": rule.name,
        "file": rule.place.file,
        "line": rule.place.line,
        "owner": rule.owner,
        "description": rule.description,
        "sources": list(rule.sources.patterns),
        "types": list(rule.types.patterns),
        "destinations": [step.label for step in rule.steps],
        "enabled": rule.is_enabled,
        "dry_run": [is_dry_run(step, settings.destinations.get(step.destination or "")) for step in rule.steps],
        "aside": rule.is_aside,
        "stop": rule.is_last,
        "fallback": not rule.name,
        "matched": known.events if known else 0,
        "last_matched_at": known.last_at.isoformat() if known else None,
        "last_event": known.last_event_id if known else None,
    }


def _is_asked(rule: Rule, asked: RuleAsked) -> bool:
    return rule.name == asked.rule and asked.file in (None, rule.place.file) and asked.line in (None, rule.place.line)


def _differs_on_disk(settings: Settings, rules: RuleSet) -> bool | None:
    files: Mapping[str, str] = json.loads(rules.manifest)["files"]
    try:
        texts = read_rule_texts(settings.rules, relative_to=settings.path.parent)
    except RulesError:
        return None
    return files != {name: text_hash(text) for name, text in texts.items()}


def _manifest(text: str | None) -> Mapping[str, Any] | None:
    """Return a manifest; None for another text that is kept, such as a file or a step."""
    try:
        kept = json.loads(text or "null")
    except ValueError:
        return None
    is_one = isinstance(kept, dict) and kept.keys() >= {"hookline", "files", "plugins"}
    return kept if is_one else None
