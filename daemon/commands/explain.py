"""`hookline explain`: of each rule, whether it matches, and if not, the condition that decided and what it saw."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import click

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
from hookline.daemon.delivery.local_runner import LocalRunner
from hookline.daemon.live_rules import check_rules, stored_rules
from hookline.daemon.log import printable
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.body import read_body
from hookline.daemon.store.port import DeliveryFilter
from hookline.rules import Event, EventId, RulesError, RuleSet
from hookline.rules.explain_text import explanation_lines


@click.command()
@click.argument("event_id", type=Id("evt"), required=False)
@config_option
@json_option
@click.option("--file", "file", type=click.File("rb"), help="Explain this payload instead; - for stdin.")
@click.option("--from", "source", help="With --file: the source it would come from.")
@click.option("--type", "event_type", default="", help="With --file: its event type.")
@click.option("--now", "by_now", is_flag=True, help="By the rules on disk, not the ones that ran then.")
@click.option("--rule", help="Only this rule.")
@click.option("--expect", help="Exit 1 unless this rule matches.")
def explain(
    event_id: str | None,
    config_path: Path | None,
    file: Any,
    source: str | None,
    event_type: str,
    rule: str | None,
    expect: str | None,
    *,
    as_json: bool,
    by_now: bool,
) -> None:
    """Say of an event which rules match, and for each that does not, the condition that decided."""
    if bool(event_id) == bool(file):
        fail("Name an event, or give a payload: hookline explain --file F --from SOURCE --type TYPE", EXIT_USAGE)
    if file and not source:
        fail("Say where the payload would come from: --from SOURCE", EXIT_USAGE)
    settings = open_settings(config_path)
    try:
        if event_id:
            event, rules, sent = anyio.run(_stored, settings, EventId(event_id), by_now)
            next_step = "" if by_now else f"By the rules on disk now: {again(f'explain {event_id} --now', config_path)}"
        else:
            event = _from_file(file.read(), source or "", event_type)
            rules, sent, next_step = anyio.run(_rules_now, settings), [], ""
    except RulesError as error:
        print_problems(error.problems, {}, stream=sys.stderr)
        fail("The rules on disk are bad: hookline check", EXIT_FINDINGS)
    explanation = rules.explain(event)
    matched = {one.rule for one in explanation.matched}
    if rule is not None:
        explanation = replace(explanation, rules=tuple(one for one in explanation.rules if one.rule == rule))
        if not explanation.rules:
            fail(f"No rule {rule!r} in these rules.", EXIT_USAGE)
    if as_json:
        print_json(explanation.to_json())
    else:
        _print(explanation_lines(explanation, width=terminal_width()), sent)
        if next_step:
            click.echo(next_step, err=True)
    if expect is not None and expect not in matched:
        fail(f"{expect!r} does not match.", EXIT_FINDINGS)


async def _stored(settings: Settings, event_id: EventId, by_now: bool) -> tuple[Event, RuleSet, list[str]]:  # noqa: FBT001
    secrets = Secrets(os.environ, folder=settings.path.parent)
    async with reading(settings) as reader:
        stored = await reader.event(event_id)
        if stored is None:
            fail(f"No event {event_id} in {settings.store}.")
        deliveries = await reader.deliveries(DeliveryFilter(event_id=event_id), limit=100)
        if by_now:
            rules = await _rules_now(settings)
        else:
            try:
                rules = await stored_rules(reader, stored.rules_version, secrets.with_variables(settings.vars))
            except LookupError as error:
                fail(f"{error}: hookline explain {event_id} --now")
    sent = []
    for one in reversed(deliveries):
        last = one.last_attempt
        how = f", {last.status or last.note} in {last.duration.total_seconds() * 1000:.0f} ms" if last else ""
        times = "once" if one.attempts == 1 else f"{one.attempts} times"
        sent.append(f"{one.rule or 'fallback'} -> {one.destination}   {one.state}, tried {times}{how}   {one.id}")
    return stored.event, rules, sent


async def _rules_now(settings: Settings) -> RuleSet:
    secrets = Secrets(os.environ, folder=settings.path.parent)
    runner = LocalRunner(settings, secrets)
    try:
        return (await check_rules(settings, secrets, runner)).rules
    finally:
        await runner.close()


def _from_file(body: bytes, source: str, event_type: str) -> Event:
    try:
        payload = read_body(body, "application/json")
    except ValueError as error:
        fail(f"The payload cannot be read: {error}.")
    return Event(
        id=EventId("evt_file"),
        source=source,
        type=event_type,
        sender_id=None,
        key="",
        tenant=None,
        occurred_at=None,
        received_at=datetime.now(UTC),
        headers={},
        query={},
        client_ip="",
        payload=payload,
        envelope=None,
    )


def _print(lines: list[str], sent: list[str]) -> None:
    for line in lines:
        style = {"yes": "good", "no": "bad"}.get(line[:5].strip())
        click.echo(line.replace(line[:5], styled(line[:5], style), 1) if style else line)
    for told in sent:
        click.echo(f"  {printable(told)}")
