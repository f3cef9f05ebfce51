"""`hookline deliveries`: what was sent where, and how it went."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Id, Since
from hookline.daemon.commands.opening import again, open_settings, reading
from hookline.daemon.commands.output import ago, fail, print_json, print_table, span, stamp, styled
from hookline.daemon.config.settings import Settings
from hookline.daemon.delivery.dry_run import DRY_RUN_NOTE
from hookline.daemon.log import printable
from hookline.daemon.store.changes import Attempt, DeliveryId, State
from hookline.daemon.store.port import DeliveryFilter, StoredDelivery
from hookline.rules import EventId


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.option("--event", "event_id", type=Id("evt"), help="Only of this event.")
@click.option("--destination", help="Only to this destination.")
@click.option("--rule", help="Only of this rule.")
@click.option("--status", type=click.Choice([state.value for state in State]), help="Only in this state.")
@click.option("--since", type=Since(), help="Not older: 1h, 7d, or a date.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=25, show_default=True)
@click.pass_context
def deliveries(
    ctx: click.Context,
    config_path: Path | None,
    event_id: str | None,
    destination: str | None,
    rule: str | None,
    status: str | None,
    since: datetime | None,
    *,
    as_json: bool,
    limit: int,
) -> None:
    """List deliveries, newest first."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = config_path
        return
    where = DeliveryFilter(
        event_id=EventId(event_id) if event_id else None,
        destination=destination,
        rule=rule,
        state=State(status) if status else None,
        since=since,
    )
    anyio.run(_list, config_path, where, limit, as_json)


@deliveries.command()
@click.argument("delivery_id", type=Id("dlv"))
@config_option
@json_option
@click.pass_obj
def show(outer: Path | None, delivery_id: str, config_path: Path | None, *, as_json: bool) -> None:
    """Show one delivery with every attempt."""
    anyio.run(_show, open_settings(config_path or outer), DeliveryId(delivery_id), as_json)


def delivery_json(delivery: StoredDelivery) -> dict[str, Any]:
    """Return a delivery as programs read it."""
    return {
        "id": delivery.id,
        "event": delivery.event_id,
        "source": delivery.source,
        "type": delivery.event_type,
        "rule": delivery.rule,
        "destination": delivery.destination,
        "state": delivery.state,
        "created_at": delivery.created_at.isoformat(),
        "due_at": delivery.due_at.isoformat(),
        "attempts": delivery.attempts,
        "crashes": delivery.crashes,
        "replay_of": delivery.replay_of,
        "last_attempt": delivery.last_attempt and attempt_json(delivery.last_attempt),
    }


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as programs read it."""
    return {
        "number": attempt.number,
        "started_at": attempt.started_at.isoformat(),
        "milliseconds": round(attempt.duration.total_seconds() * 1000, 1),
        "outcome": attempt.outcome,
        "status": attempt.status,
        "note": attempt.note,
        "answer": attempt.answer,
    }


async def _list(config_path: Path | None, where: DeliveryFilter, limit: int, as_json: bool) -> None:  # noqa: FBT001
    async with reading(open_settings(config_path)) as reader:
        found = await reader.deliveries(where, limit=limit)
        held = [lane for lane in await reader.lanes() if lane.is_held]
    if as_json:
        print_json([delivery_json(delivery) for delivery in found])
        return
    for lane in held:
        click.echo(f"{lane.lane} is held, {lane.pending} wait ({lane.reason}): hookline release {lane.lane}", err=True)
    if not found:
        click.echo("No deliveries." if where == DeliveryFilter() else "No deliveries like that.", err=True)
        return
    rows = [
        [
            delivery.id,
            ago(delivery.created_at),
            delivery.event_type,
            delivery.rule or "fallback",
            delivery.destination,
            _state(delivery),
            str(delivery.attempts),
            _said(delivery.last_attempt),
        ]
        for delivery in found
    ]
    print_table(rows, ["id", "created", "event", "rule", "destination", "state", "tried", "last answer"])
    if any(delivery.state is State.DEAD for delivery in found):
        click.echo(f"Dead ones can be sent again: {again('replay --status dead', config_path)}", err=True)


def _state(delivery: StoredDelivery) -> str:
    return f"pending, due {ago(delivery.due_at)}" if delivery.state is State.PENDING else delivery.state.value


def _said(attempt: Attempt | None) -> str:
    if attempt is None:
        return ""
    return f"{attempt.status or ''} {attempt.note}".strip()


async def _show(settings: Settings, delivery_id: DeliveryId, as_json: bool) -> None:  # noqa: FBT001
    async with reading(settings) as reader:
        delivery = await reader.delivery(delivery_id)
        if delivery is None:
            fail(f"No delivery {delivery_id} in {settings.store}.")
        attempts = await reader.attempts(delivery_id)
    if as_json:
        print_json(delivery_json(delivery) | {"attempts": [attempt_json(attempt) for attempt in attempts]})
        return
    click.echo(f"{delivery.id}  {delivery.rule or 'fallback'} -> {delivery.destination}: {_state(delivery)}")
    click.echo(f"  for {printable(delivery.event_type)} from {delivery.source}, {delivery.event_id}")
    if delivery.replay_of:
        click.echo(f"  replay of {delivery.replay_of}")
    for attempt in attempts:
        mark = styled(attempt.outcome, "good" if attempt.outcome == "delivered" else "bad")
        said = printable(_said(attempt))
        click.echo(f"  {attempt.number:>2}  {stamp(attempt.started_at)}  {span(attempt.duration):>7}  {mark}  {said}")
        if attempt.note == DRY_RUN_NOTE:
            click.echo(f"      would have sent: {printable(attempt.answer)}")
        elif attempt.answer and attempt.outcome != "delivered":
            click.echo(f"      answer: {printable(attempt.answer[:300])}")
