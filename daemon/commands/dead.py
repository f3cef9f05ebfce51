"""`hookline dead`: what will not be tried again, why, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import anyio
import click

from hookline.daemon.api.shapes.deliveries import delivery_summary, reason_of
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Since
from hookline.daemon.commands.opening import again, open_settings, reading
from hookline.daemon.commands.output import ago, print_json, print_table
from hookline.daemon.config.settings import Settings
from hookline.daemon.store.changes import State
from hookline.daemon.store.stored import DeliveryFilter, StoredDelivery


@click.command()
@config_option
@json_option
@click.option("--source", help="Only of events from this source.")
@click.option("--destination", help="Only to this destination.")
@click.option("--rule", help="Only of this rule.")
@click.option("--since", type=Since(), help="Not older: 1h, 7d, or a date.")
@click.option("--until", type=Since(), help="Older than that: 1h, 7d, or a date.")
@click.option("--all", "with_replayed", is_flag=True, help="Also those that were sent again.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=25, show_default=True)
def dead(
    config_path: Path | None,
    source: str | None,
    destination: str | None,
    rule: str | None,
    since: datetime | None,
    until: datetime | None,
    *,
    as_json: bool,
    with_replayed: bool,
    limit: int,
) -> None:
    """List dead letters, newest first: why each is dead, and how to send it again."""
    where = DeliveryFilter(
        source=source,
        destination=destination,
        rule=rule,
        state=State.DEAD,
        since=since,
        until=until,
        not_replayed=not with_replayed,
    )
    found = anyio.run(_find, open_settings(config_path), where, limit)
    if as_json:
        print_json([{**delivery_summary(one), "reason": reason_of(one.last_attempt)} for one in found])
        return
    if not found:
        click.echo("No dead letters.", err=True)
        return
    rows = [
        [
            one.id,
            ago(one.last_attempt.started_at if one.last_attempt else one.created_at),
            one.event_type,
            one.rule or "fallback",
            one.destination,
            str(one.attempts),
            reason_of(one.last_attempt),
        ]
        for one in found
    ]
    print_table(rows, ["id", "died", "event", "rule", "destination", "tried", "why"])
    _print_steps(found, config_path)


async def _find(settings: Settings, where: DeliveryFilter, limit: int) -> list[StoredDelivery]:
    async with reading(settings) as reader:
        return await reader.deliveries(where, limit=limit)


def _print_steps(found: Sequence[StoredDelivery], config_path: Path | None) -> None:
    """Name the next step: look closer, mend, then send all of one destination again."""
    click.echo(f"Every attempt of one: {again(f'deliveries {found[0].id}', config_path)}", err=True)
    for name, count in Counter(one.destination for one in found).most_common():
        asked = f"replay {found[0].id}" if len(found) == 1 else f"replay --status dead --destination {name}"
        click.echo(f"{count} to {name}; once what the reason names is mended: {again(asked, config_path)}", err=True)
