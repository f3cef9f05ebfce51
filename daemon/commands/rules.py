"""`hookline rules`: each rule, where it stands, how often it matched and when last; and those that never did."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import click

from hookline.daemon.actions.dry_run import is_dry_run
from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Since
from hookline.daemon.commands.opening import again, looking, open_settings
from hookline.daemon.commands.output import ago, fail, print_json, print_problems, print_table, stamp
from hookline.daemon.config.settings import Settings
from hookline.daemon.reload.live_rules import check_rules
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.stored import RuleActivity
from hookline.rules import RulesError, RuleSet
from hookline.rules.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What the store knows of rules."""

    #: By name; all fallbacks together are "".
    activity: Mapping[str, RuleActivity]
    #: What `RuleActivity.events` is counted from.
    since: datetime
    #: Since when everything is known: an earlier match may be forgotten.
    known_since: datetime
    #: The version that went live last; None if none did.
    live: str | None


@click.command()
@config_option
@json_option
@click.option("--since", type=Since(), help="Count from then on: 7d, or a date. Else as far back as is known.")
@click.option("--unused", is_flag=True, help="Only rules that matched nothing in that time.")
@click.option("--all", "with_gone", is_flag=True, help="Also rules that matched and are not on disk any more.")
def rules(config_path: Path | None, since: datetime | None, *, as_json: bool, unused: bool, with_gone: bool) -> None:
    """List the rules on disk with how many events each matched, and when last.

    Counted by name: a renamed rule begins anew. Fallbacks, which have none, are counted together.
    """
    settings = open_settings(config_path, offline=True)
    try:
        loaded = anyio.run(_load, settings)
    except RulesError as error:
        print_problems(error.problems, {}, stream=sys.stderr)
        fail(f"The rules on disk are bad: {again('check', config_path)}")
    # Before the first start there are no counts, and the rules are worth a list all the same.
    counted = anyio.run(_count, settings, since)
    found = [rule for rule in (*loaded.rules, *loaded.fallback) if not unused or _is_unused(rule, counted)]
    named = {rule.name for rule in (*loaded.rules, *loaded.fallback)}
    gone = [one for name, one in counted.activity.items() if name not in named] if counted and with_gone else []
    if as_json:
        print_json(_document(found, gone, counted, settings))
        return
    _print(found, gone, counted, settings)
    _print_notes(loaded, found, counted, config_path, unused=unused)


async def _load(settings: Settings) -> RuleSet:
    secrets = Secrets(os.environ, folder=settings.path.parent)
    runner = LocalRunner(settings, secrets, is_offline=True)
    try:
        return (await check_rules(settings, secrets, runner, is_offline=True, is_start=True)).rules
    finally:
        await runner.close()


async def _count(settings: Settings, since: datetime | None) -> _Counted | None:
    async with looking(settings) as reader:
        if reader is None:
            return None
        # Retention removes the counts with the events.
        known_since = max(await reader.rules_counted_since(), datetime.now(UTC) - settings.retention.events)
        start = max(since, known_since) if since else known_since
        return _Counted(
            activity={one.rule: one for one in await reader.rule_activity(since=start)},
            since=start,
            known_since=known_since,
            live=await reader.last_good_rules(),
        )


def _is_unused(rule: Rule, counted: _Counted | None) -> bool:
    known = counted and counted.activity.get(rule.name)
    return not known or not known.events


def _notes(rule: Rule, settings: Settings) -> list[str]:
    dry = [is_dry_run(step, settings.destinations.get(step.destination or "")) for step in rule.steps]
    return [
        note
        for note, is_so in (
            ("off", not rule.is_enabled),
            ("dry run", bool(dry) and all(dry)),
            ("dry run in part", any(dry) and not all(dry)),
            ("aside", rule.is_aside),
            ("stop", rule.is_last),
        )
        if is_so
    ]


def _document(
    found: Sequence[Rule], gone: Sequence[RuleActivity], counted: _Counted | None, settings: Settings
) -> dict[str, Any]:
    def matched(name: str) -> dict[str, Any]:
        known = counted and counted.activity.get(name)
        return {
            "matched": None if counted is None else known.events if known else 0,
            "last_matched_at": known.last_at.isoformat() if known else None,
            "last_event": known.last_event_id if known else None,
        }

    return {
        "since": counted and counted.since.isoformat(),
        "known_since": counted and counted.known_since.isoformat(),
        "rules": [
            {
                "rule": rule.name,
                "file": rule.place.file,
                "line": rule.place.line,
                "owner": rule.owner,
                "description": rule.description,
                "from": list(rule.sources.patterns),
                "on": list(rule.types.patterns),
                "destinations": [step.label for step in rule.steps],
                "enabled": rule.is_enabled,
                "dry_run": [is_dry_run(step, settings.destinations.get(step.destination or "")) for step in rule.steps],
                "aside": rule.is_aside,
                "stop": rule.is_last,
                "fallback": not rule.name,
                **matched(rule.name),
            }
            for rule in found
        ],
        "gone": [{"rule": one.rule, **matched(one.rule)} for one in gone],
    }


def _print(found: Sequence[Rule], gone: Sequence[RuleActivity], counted: _Counted | None, settings: Settings) -> None:
    rows = [
        [
            rule.name or "(fallback)",
            f"{rule.place.file}:{rule.place.line}",
            *_matched(rule.name, counted),
            ", ".join(_notes(rule, settings)),
            rule.owner,
            rule.description,
        ]
        for rule in found
    ]
    rows += [[one.rule or "(fallback)", "not on disk", *_matched(one.rule, counted), "", "", ""] for one in gone]
    if rows:
        print_table(rows, ["rule", "stands in", "matched", "last", "is", "owner", "description"])


def _matched(name: str, counted: _Counted | None) -> tuple[str, str]:
    if counted is None:
        return "", ""
    known = counted.activity.get(name)
    return (f"{known.events:,}", ago(known.last_at)) if known else ("0", "never")


def _print_notes(
    loaded: RuleSet, found: Sequence[Rule], counted: _Counted | None, config_path: Path | None, *, unused: bool
) -> None:
    if counted is None:
        click.echo(f"No counts: the daemon has not run yet. Start it with: {again('run', config_path)}", err=True)
        return
    what = "rule" if len(found) == 1 else "rules"
    told = f"{len(found)} {what}, {'unused' if unused else 'counted'} since {stamp(counted.since)}"
    if counted.since == counted.known_since:
        told += "; what matched before is not known"
    click.echo(f"{told}.", err=True)
    if counted.live is not None and counted.live != loaded.version:
        running = f"rules {counted.live[:6]} went live last, these are {loaded.version[:6]}"
        click.echo(f"{running}. What differs: {again('diff', config_path)}", err=True)
