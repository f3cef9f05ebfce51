"""`hookline explain`: of each rule, whether it matches, and if not, the condition that decided and what it saw."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import click

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Id
from hookline.daemon.commands.opening import again, open_settings, reading
from hookline.daemon.commands.output import (
    EXIT_FINDINGS,
    EXIT_USAGE,
    fail,
    print_json,
    print_problems,
    styled,
    terminal_width,
)
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.daemon.rehearsal.explaining import Made, outcome_text, with_sends
from hookline.daemon.rehearsal.preview import Previewer
from hookline.daemon.rehearsal.sample_events import Given, SampleReader
from hookline.daemon.reload.live_rules import check_rules, stored_rules
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.stored import DAMAGED, DeliveryFilter
from hookline.rules import EventId, RulesError, RuleSet
from hookline.rules.explain_text import explanation_lines
from hookline.rules.explained_event import Explanation
from hookline.rules.suggestion import suggest

_MOST_DELIVERIES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """One event's explanation, and what is said around it."""

    explanation: Explanation
    #: What to call the event; None for its id.
    title: str | None = None
    #: Which rules these are.
    rules_note: str
    #: Deliveries that none of these rules asked for.
    others: tuple[str, ...] = ()


class _Means:
    """What rules are read and steps are rendered with. Offline: where it is asked, secrets need not be."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.secrets = Secrets(os.environ, folder=settings.path.parent)
        self.runner = LocalRunner(settings, self.secrets, is_offline=True)
        self.previewer = Previewer(settings, self.secrets, self.runner)

    async def rules_on_disk(self) -> RuleSet:
        return (await check_rules(self.settings, self.secrets, self.runner, is_offline=True)).rules


def _header(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    """Read `NAME: VALUE`, as curl does."""
    pairs = [value.partition(":") for value in values]
    for name, colon, _value in pairs:
        if not colon or not name.strip():
            raise click.BadParameter("write NAME: VALUE")
    return [(name.strip(), value.strip()) for name, _colon, value in pairs]


@click.command()
@click.argument("event_id", type=Id("evt"), required=False)
@config_option
@json_option
@click.option("--file", "file", type=click.File("rb"), help="Explain this payload instead; - for stdin.")
@click.option("--from", "source", help="With --file: the source it would come from.")
@click.option("--type", "event_type", help="With --file: its event type, in place of what the source reads.")
@click.option("--header", "headers", multiple=True, callback=_header, help="With --file: a header, NAME: VALUE.")
@click.option("--now", "by_now", is_flag=True, help="By the rules on disk, not the ones that ran then.")
@click.option("--rule", help="Only this rule.")
@click.option("--all", "shows_all", is_flag=True, help="Each rule, however many are for other events.")
@click.option("--expect", multiple=True, help="Exit 1 unless this rule matches the event, or one of a batch.")
def explain(
    event_id: str | None,
    config_path: Path | None,
    file: Any,
    source: str | None,
    event_type: str | None,
    headers: list[tuple[str, str]],
    rule: str | None,
    expect: tuple[str, ...],
    *,
    as_json: bool,
    by_now: bool,
    shows_all: bool,
) -> None:
    """Say of an event which rules match and what they send, and for each that does not, the condition that decided.

    A stored event is explained by the rules that ran then, with what became of its deliveries; what would be sent is
    rendered with the destinations' settings of now. Sends nothing.
    """
    if bool(event_id) == bool(file):
        fail("Name an event, or give a payload: hookline explain --file F --from SOURCE", EXIT_USAGE)
    if file and not source:
        fail("Say where the payload would come from: --from SOURCE", EXIT_USAGE)
    means = _Means(open_settings(config_path, offline=True))
    try:
        if event_id:
            told = [anyio.run(_stored, means, EventId(event_id), by_now, config_path)]
        else:
            given = Given(received_at=datetime.now(UTC), type=event_type or None, headers=headers)
            told = anyio.run(_of_file, means, file, source or "", given)
    except RulesError as error:
        print_problems(error.problems, {}, stream=sys.stderr)
        fail(f"The rules on disk are bad: {again('check', config_path)}", EXIT_FINDINGS)
    known = {one.rule for each in told for one in each.explanation.rules if one.rule}
    if rule is not None and rule not in known:
        fail(_unknown(rule, known), EXIT_USAGE)
    _print(told, rule, as_json=as_json, shows_all=shows_all)
    if event_id and not by_now and not as_json:
        click.echo(f"By the rules on disk now: {again(f'explain {event_id} --now', config_path)}", err=True)
    matched = {one.rule for each in told for one in each.explanation.matched}
    missing = [name for name in expect if name not in matched]
    for name in missing:
        click.echo(f"{name!r} does not match." if name in known else _unknown(name, known), err=True)
    if missing:
        sys.exit(EXIT_FINDINGS)


async def _stored(means: _Means, event_id: EventId, by_now: bool, config_path: Path | None) -> _Told:  # noqa: FBT001
    lookup = means.secrets.with_variables(means.settings.vars)
    async with reading(means.settings) as reader:
        stored = await reader.event(event_id)
        if stored is None:
            fail(f"No event {event_id} in {means.settings.store}.")
        if stored.is_damaged:
            fail(f"{event_id}: {DAMAGED}.")
        deliveries = await reader.deliveries(DeliveryFilter(event_id=event_id), limit=_MOST_DELIVERIES)
        live = await reader.last_good_rules()
        if not by_now:
            try:
                rules = await stored_rules(reader, stored.rules_version, lookup)
            except LookupError as error:
                fail(f"{error}: {again(f'explain {event_id} --now', config_path)}")
    try:
        if by_now:
            rules = await means.rules_on_disk()
            explanation = await with_sends(rules.explain(stored.event), rules, means.previewer.preview)
            return _Told(explanation=explanation, rules_note="on disk")
        made = Made.of(deliveries)
        explanation = await with_sends(rules.explain(stored.event), rules, means.previewer.preview, made)
    finally:
        await means.runner.close()
    others = [f"{one.rule or 'fallback'} -> {one.destination}  {outcome_text(one)}" for one in made.rest]
    note = "live now: the same" if live == rules.version else f"live now: {live[:6]}" if live else ""
    return _Told(explanation=explanation, rules_note=note, others=tuple(others))


async def _of_file(means: _Means, file: Any, source: str, given: Given) -> list[_Told]:
    try:
        events = SampleReader(means.settings).read(source, file.read(), given)
    except ValueError as error:
        fail(f"{error}.", EXIT_USAGE)
    for one in events:
        if one.why_unreadable is not None:
            click.echo(f'It would be kept as "unreadable": {printable(one.why_unreadable)}.', err=True)
    try:
        rules = await means.rules_on_disk()
        name = str(getattr(file, "name", "-"))
        name = "stdin" if name in {"-", "<stdin>"} else name
        told = []
        for number, one in enumerate(events, 1):
            explanation = await with_sends(rules.explain(one.event), rules, means.previewer.preview)
            title = name if len(events) == 1 else f"{name}, event {number} of {len(events)}"
            told.append(_Told(explanation=explanation, title=title, rules_note="on disk"))
    finally:
        await means.runner.close()
    return told


def _unknown(name: str, known: Collection[str]) -> str:
    hint = suggest(name, known, what="there are") or f"there are {len(known)}, hookline rules lists them"
    return f"No rule {name!r} in these rules; {hint}"


def _print(told: Sequence[_Told], only: str | None, *, as_json: bool, shows_all: bool) -> None:
    if as_json:
        documents = [_only(each.explanation, only).to_json() for each in told]
        print_json(documents[0] if len(documents) == 1 else documents)
        return
    for number, each in enumerate(told):
        if number:
            click.echo()
        lines = explanation_lines(
            each.explanation,
            terminal_width(),
            title=each.title,
            rules_note=each.rules_note,
            only=only,
            shows_all=shows_all,
        )
        for line in lines:
            style = {"yes": "good", "no": "bad"}.get(line[:5].strip())
            click.echo(line.replace(line[:5], styled(line[:5], style), 1) if style else line)
        if each.others:
            click.echo("Deliveries that other rules asked for:")
        for other in each.others:
            click.echo(f"  {printable(other)}")


def _only(explanation: Explanation, rule: str | None) -> Explanation:
    if rule is None:
        return explanation
    return replace(explanation, rules=tuple(one for one in explanation.rules if one.rule == rule))
