"""`hookline replay`: ask again for what was asked for."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Since
from hookline.daemon.commands.opening import again, ask_daemon, open_settings, reading
from hookline.daemon.commands.output import EXIT_USAGE, fail, print_json, print_table
from hookline.daemon.config.settings import Settings
from hookline.daemon.ids import decode
from hookline.daemon.replay import MAX_REPLAYS
from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.port import DeliveryFilter, StoredDelivery
from hookline.rules import EventId

_PREVIEW = 10


@click.command()
@click.argument("ids", nargs=-1, metavar="[EVT…|DLV…]")
@config_option
@json_option
@click.option("--status", type=click.Choice([state.value for state in State]), help="All deliveries in this state.")
@click.option("--destination", help="All deliveries to this destination.")
@click.option("--rule", help="All deliveries of this rule.")
@click.option("--since", type=Since(), help="All deliveries not older: 1h, 7d, or a date.")
@click.option(
    "--now", "by_now", is_flag=True, help="By the rules that run now, not the ones that ran then (events only)."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(
    ids: tuple[str, ...],
    config_path: Path | None,
    status: str | None,
    destination: str | None,
    rule: str | None,
    since: datetime | None,
    *,
    as_json: bool,
    by_now: bool,
    yes: bool,
) -> None:
    """Make new deliveries: for events, for deliveries, or for all that the options pick.

    What would be sent is shown first.
    """
    where = DeliveryFilter(destination=destination, rule=rule, state=State(status) if status else None, since=since)
    if bool(ids) == (where != DeliveryFilter()):
        fail("Name events or deliveries, or pick them: --status dead, --destination NAME, --since 1h.", EXIT_USAGE)
    asked = _read_ids(ids)
    settings = open_settings(config_path)
    if by_now:
        asked["by"] = "now"
        question = f"Match {len(asked['events'])} events against the rules that run now, and send what they ask for?"
    else:
        found = anyio.run(_find, settings, asked, where)
        if not found:
            fail("No deliveries like that.")
        if not as_json:
            _preview(found)
        asked = {"deliveries": [delivery.id for delivery in found]}
        question = f"Send {len(found)} {'delivery' if len(found) == 1 else 'deliveries'} again?"
    if not yes:
        if not sys.stdin.isatty():
            fail(f"{question} Nothing was sent: say --yes.", EXIT_USAGE)
        click.confirm(question, abort=True, err=True)
    made = ask_daemon(settings, "replay", asked)["deliveries"]
    if as_json:
        print_json(made)
    else:
        click.echo(f"{len(made)} new: {again(f'deliveries --limit {max(1, min(len(made), 100))}', config_path)}")


def _read_ids(ids: tuple[str, ...]) -> dict[str, Any]:
    asked: dict[str, Any] = {"events": [], "deliveries": []}
    for one in ids:
        prefix = one.partition("_")[0]
        if prefix not in {"evt", "dlv"}:
            fail(f"{one!r} is neither an event (evt_…) nor a delivery (dlv_…).", EXIT_USAGE)
        try:
            decode(prefix, one)
        except ValueError as error:
            fail(f"{error}.", EXIT_USAGE)
        asked["events" if prefix == "evt" else "deliveries"].append(one)
    return asked


async def _find(settings: Settings, asked: dict[str, Any], where: DeliveryFilter) -> list[StoredDelivery]:
    found: list[StoredDelivery] = []
    async with reading(settings) as reader:
        for event_id in asked["events"]:
            kept = await reader.deliveries(DeliveryFilter(event_id=EventId(event_id)), limit=MAX_REPLAYS)
            # A replay of a replay would double each time.
            found += [delivery for delivery in reversed(kept) if delivery.replay_of is None]
        for delivery_id in asked["deliveries"]:
            delivery = await reader.delivery(DeliveryId(delivery_id))
            if delivery is None:
                fail(f"No delivery {delivery_id} in {settings.store}.")
            found.append(delivery)
        if where != DeliveryFilter():
            found += reversed(await reader.deliveries(where, limit=MAX_REPLAYS))
    return found


def _preview(found: list[StoredDelivery]) -> None:
    rows = [
        [one.id, one.event_type, one.rule or "fallback", one.destination, one.state.value] for one in found[:_PREVIEW]
    ]
    print_table(rows, ["delivery", "event", "rule", "destination", "state"])
    if len(found) > _PREVIEW:
        click.echo(f"… and {len(found) - _PREVIEW} more")
