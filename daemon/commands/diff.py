"""`hookline diff`: what the rules on disk would do differently to stored events than the ones that ran."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import anyio
import click

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.api.shapes.rules import diff_shape
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Since
from hookline.daemon.commands.opening import again, open_settings, reading
from hookline.daemon.commands.output import (
    EXIT_FINDINGS,
    EXIT_USAGE,
    fail,
    print_json,
    print_problems,
    stamp,
    styled,
)
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.daemon.rehearsal.preview import Previewer
from hookline.daemon.rehearsal.rehearsals import PastRules
from hookline.daemon.rehearsal.rule_diff import (
    ActionChange,
    Count,
    RuleDifference,
    RulesComparison,
    RulesDiff,
    compare_stored,
    stored_events,
)
from hookline.daemon.rehearsal.step_diff import Difference
from hookline.daemon.reload.live_rules import check_rules, stored_rules
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import EventFilter
from hookline.rules import RulesError, RuleSet
from hookline.rules.suggestion import suggest

_FALLBACK = "fallback"
#: As many characters of a version as are shown everywhere, and the fewest that name one.
_SHORT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the command line asks for."""

    where: EventFilter
    limit: int
    rule: str | None
    against: str | None


@click.command()
@config_option
@json_option
@click.option("--since", type=Since(), default="7d", show_default=True, help="Not older: 1h, 7d, or a date.")
@click.option("--until", type=Since(), help="Not newer.")
@click.option("--source", help="Only events of this source.")
@click.option("--type", "type_", help="Only events of this type.")
@click.option("--rule", help="Only this rule, by its old or new name.")
@click.option("--against", metavar="VERSION", help="Compare with these rules, not with those that routed each event.")
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="The newest of them.")
def diff(
    config_path: Path | None,
    since: datetime,
    until: datetime | None,
    source: str | None,
    type_: str | None,
    rule: str | None,
    against: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Say what the rules on disk would do differently to stored events. Changes nothing, sends nothing.

    Each event is asked of the rules that routed it and of those on disk. The destinations' settings are those of now
    on both sides. Exit code 0 if there is no difference, 1 if there is one.
    """
    settings = open_settings(config_path, offline=True)
    where = EventFilter(source=source, type=type_, since=since, until=until)
    asked = _Asked(where=where, limit=limit, rule=rule, against=against)
    try:
        found = anyio.run(_compare, settings, asked)
    except RulesError as error:
        print_problems(error.problems, {}, stream=sys.stderr)
        fail("The rules on disk are bad: hookline check", EXIT_FINDINGS)
    if rule is not None and rule not in found.names:
        hint = suggest(rule, found.names, what="rules")
        fail(f'No rule "{rule}" then or now' + (f"; {hint}" if hint else "."), EXIT_USAGE)
    if as_json:
        print_json(diff_shape(found))
    else:
        _print(found, where, config_path)
    click.echo("Nothing was sent.", err=True)
    if found.differs:
        sys.exit(EXIT_FINDINGS)


async def _compare(settings: Settings, asked: _Asked) -> RulesDiff:
    secrets = Secrets(os.environ, folder=settings.path.parent)
    lookup = secrets.with_variables(settings.vars)
    runner = LocalRunner(settings, secrets, is_offline=True)
    try:
        # The daemon's secrets need not be at hand where rules are looked at.
        checked = await check_rules(settings, secrets, runner, is_offline=True, is_start=True)
        comparison = RulesComparison(checked.rules, Previewer(settings, secrets, runner), only=asked.rule)
        async with reading(settings) as reader:
            against = None
            if asked.against is not None:
                version = await _version(reader, asked.against, asked.where, checked.rules)
                against = await _rules_of(reader, version, lookup)
            return await compare_stored(
                reader,
                comparison,
                where=asked.where,
                limit=asked.limit,
                past=PastRules(reader, lambda: lookup),
                against=against,
            )
    finally:
        await runner.close()


async def _version(reader: Reader, written: str, where: EventFilter, now: RuleSet) -> str:
    """Return the whole version that begins with what was written."""
    if len(written) < _SHORT:
        fail(f"{written!r} is too short for a version: {_SHORT} characters at least.", EXIT_USAGE)
    if await reader.text(written) is not None:
        return written
    for known in (now.version, await reader.last_good_rules()):
        if known is not None and known.startswith(written):
            return known
    async for stored in stored_events(reader, where):
        if stored.rules_version.startswith(written):
            return stored.rules_version
    return fail(f"No event of that time was routed by rules {written}: hookline events show EVT names its rules.")


async def _rules_of(reader: Reader, version: str, lookup: Secrets) -> RuleSet:
    try:
        return await stored_rules(reader, version, lookup)
    except (LookupError, TypeError, ValueError):
        return fail(f"The store has no rules {version[:_SHORT]} (any more).")
    except RulesError as error:
        return fail(f"This Hookline cannot read the rules {version[:_SHORT]}: {error.problems[0]}")


def _print(found: RulesDiff, where: EventFilter, config_path: Path | None) -> None:
    told = _events(found.events) if found.events else "No stored event"
    click.echo(
        f"{told} since {stamp(where.since)}, {_versions(found)}" if where.since else f"{told}, {_versions(found)}"
    )
    for old, new in found.renamed.items():
        click.echo(f"  {printable(new)}   renamed, was {printable(old)}")
    for rule in found.rules.values():
        where_it_is = f"   {rule.place.file}:{rule.place.line}" if rule.place else ""
        gone = "" if rule.place or not rule.rule else "   gone"
        click.echo(f"  {printable(rule.rule or _FALLBACK)}{where_it_is}{gone}")
        for line in _rule_lines(rule, config_path):
            click.echo(f"    {line}")
    if found.events and not found.differs:
        click.echo("No difference: every one would be routed and rendered the same.")
    _tell_of_the_rest(found)


def _versions(found: RulesDiff) -> str:
    now = f"on disk ({found.now[:_SHORT]})"
    others = [version[:_SHORT] for version in found.versions if version != found.now]
    if not others:
        return f"rules {now}" + (", the same" if found.versions else "")
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return f"rules {', '.join(others[:3])}{more} -> {now}"


def _rule_lines(rule: RuleDifference, config_path: Path | None) -> list[str]:
    lines = []
    for sign, count, what, style in (
        ("+", rule.newly, "newly match", "good"),
        ("-", rule.no_longer, "no longer match", "bad"),
    ):
        if count.events:
            told = f"{sign}{count.events:,} {what}"
            lines.append(f"{styled(told, style)}   {_look(count, config_path)}")
    for change in rule.changes.values():
        lines.append(f"{_change(change)}   {_look(change.count, config_path)}")
        for one in change.differences:
            lines += _difference_lines(one)
        if change.more:
            lines.append(f"    … and {change.more} more")
    return lines


def _change(change: ActionChange) -> str:
    count = change.count.events
    deliveries = f"{count:,} {'delivery' if count == 1 else 'deliveries'}"
    if change.kind == "added":
        return styled(f"+ {printable(change.destination)}: {deliveries} more", "good")
    if change.kind == "removed":
        return styled(f"- {printable(change.destination)}: {deliveries} fewer", "bad")
    named = ", ".join(dict.fromkeys(one.path for one in change.differences))
    verb = "changes" if len(change.differences) == 1 else "change"
    return f"{printable(change.destination)}: {printable(named)} {verb} in {deliveries}"


def _difference_lines(one: Difference) -> list[str]:
    lines = []
    for sign, text, style in (("-", one.then, "bad"), ("+", one.now, "good")):
        if text is not None:
            lines.append("    " + styled(f'{sign} {printable(one.path)}: "{printable(text)}"', style))
    return lines


def _look(count: Count, config_path: Path | None) -> str:
    return f"e.g. {again(f'explain {count.example} --now', config_path)}"


def _tell_of_the_rest(found: RulesDiff) -> None:
    """Say on stderr what was not compared, and why."""
    if found.has_more:
        click.echo("Older ones were left out: --limit takes more.", err=True)
    if found.unrouted.events:
        count = _events(found.unrouted.events)
        click.echo(f"{count} not routed yet, so not compared: hookline events --unrouted", err=True)
    for one in found.uncompared.values():
        count = _events(one.count.events)
        click.echo(f"{count} not compared, routed by rules {one.version[:_SHORT]}: {printable(one.reason)}", err=True)


def _events(count: int) -> str:
    return f"{count:,} stored event" if count == 1 else f"{count:,} stored events"
