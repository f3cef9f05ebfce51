"""`hookline deliveries`: what was sent where, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import anyio
import click

from hookline.daemon.api.shapes.deliveries import attempt_shape, delivery_summary
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.delivery_text import PARTS_SHOWN, Whole, print_delivery, state_of, why_of
from hookline.daemon.commands.events import Id, Since
from hookline.daemon.commands.group import ListOrShow
from hookline.daemon.commands.opening import again, open_settings, reading
from hookline.daemon.commands.output import ago, fail, print_json, print_table
from hookline.daemon.config.settings import Settings
from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.orders import head_of_order, why_held
from hookline.daemon.store.stored import DeliveryFilter, StoredDelivery
from hookline.rules import EventId


@click.group(cls=ListOrShow, prefix="dlv_", invoke_without_command=True)
@config_option
@json_option
@click.option("--event", "event_id", type=Id("evt"), help="Only of this event.")
@click.option("--source", help="Only of events from this source.")
@click.option("--destination", help="Only to this destination.")
@click.option("--rule", help="Only of this rule.")
@click.option("--status", type=click.Choice([state.value for state in State]), help="Only in this state.")
@click.option("--since", type=Since(), help="Not older: 1h, 7d, or a date.")
@click.option("--until", type=Since(), help="Older than that: 1h, 7d, or a date.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=25, show_default=True)
@click.pass_context
def deliveries(
    ctx: click.Context,
    config_path: Path | None,
    event_id: str | None,
    source: str | None,
    destination: str | None,
    rule: str | None,
    status: str | None,
    since: datetime | None,
    until: datetime | None,
    *,
    as_json: bool,
    limit: int,
) -> None:
    """List deliveries, newest first. `hookline deliveries DLV` shows one."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = config_path
        return
    where = DeliveryFilter(
        event_id=EventId(event_id) if event_id else None,
        source=source,
        destination=destination,
        rule=rule,
        state=State(status) if status else None,
        since=since,
        until=until,
    )
    anyio.run(_list, config_path, where, limit, as_json)


@deliveries.command()
@click.argument("delivery_id", metavar="DLV", type=Id("dlv"))
@config_option
@json_option
@click.pass_obj
def show(outer: Path | None, delivery_id: str, config_path: Path | None, *, as_json: bool) -> None:
    """Show one delivery: every attempt and what was decided on it, what it acts for, and what comes next."""
    path = config_path or outer
    whole = anyio.run(_fetch, open_settings(path), DeliveryId(delivery_id))
    if as_json:
        print_json(
            {
                **delivery_summary(whole.delivery),
                "attempts": list(map(attempt_shape, whole.attempts)),
                "parts": [{"delivery": part.id, "event": part.event_id} for part in whole.parts],
                "behind": whole.head and whole.head.id,
                "held": whole.held,
            }
        )
    else:
        print_delivery(whole, path)


async def _list(config_path: Path | None, where: DeliveryFilter, limit: int, as_json: bool) -> None:  # noqa: FBT001
    async with reading(open_settings(config_path)) as reader:
        found = await reader.deliveries(where, limit=limit)
        held = [lane for lane in await reader.lanes() if lane.is_held]
    if as_json:
        print_json(list(map(delivery_summary, found)))
        return
    for lane in held:
        click.echo(f"{lane.lane} is held, {lane.pending} wait ({lane.reason}): hookline release {lane.lane}", err=True)
    if not found:
        click.echo("No deliveries." if where == DeliveryFilter() else "No deliveries like that.", err=True)
        return
    _print_list(found)
    if any(delivery.state is State.DEAD for delivery in found):
        click.echo(f"Dead ones, and how to send them again: {again('dead', config_path)}", err=True)


def _print_list(found: Sequence[StoredDelivery]) -> None:
    rows = [
        [
            delivery.id,
            ago(delivery.created_at),
            delivery.event_type,
            delivery.rule or "fallback",
            delivery.destination,
            state_of(delivery),
            str(delivery.attempts),
            why_of(delivery),
        ]
        for delivery in found
    ]
    print_table(rows, ["id", "created", "event", "rule", "destination", "state", "tried", "last answer, or why"])


async def _fetch(settings: Settings, delivery_id: DeliveryId) -> Whole:
    async with reading(settings) as reader:
        delivery = await reader.delivery(delivery_id)
        if delivery is None:
            fail(f"No delivery {delivery_id} in {settings.store}.")
        is_digest = delivery.is_digest
        return Whole(
            delivery=delivery,
            attempts=await reader.attempts(delivery_id),
            parts=await reader.parts(delivery_id, limit=PARTS_SHOWN),
            members=await reader.members(delivery_id, limit=PARTS_SHOWN) if is_digest else (),
            acting=await reader.delivery(delivery.part_of) if delivery.part_of else None,
            head=await head_of_order(reader, delivery) if delivery.is_behind else None,
            held=await why_held(reader, delivery),
        )
