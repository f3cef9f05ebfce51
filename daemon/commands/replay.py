"""`hookline replay`: ask again for what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Since
from hookline.daemon.commands.opening import again, open_settings
from hookline.daemon.commands.output import EXIT_FINDINGS, fail, print_json
from hookline.daemon.commands.picking import Filter, ask_many, confirm, lasts, print_preview, read_asked
from hookline.daemon.store.changes import State

_ENDED = (State.DELIVERED, State.DEAD, State.CANCELLED, State.SUPPRESSED, State.COLLECTED)
_MOST_LISTED = 100


@click.command()
@click.argument("ids", nargs=-1, metavar="[EVT…|DLV…]")
@config_option
@json_option
@click.option("--status", type=click.Choice([state.value for state in _ENDED]), help="All deliveries in this state.")
@click.option("--source", help="All deliveries of events from this source.")
@click.option("--destination", help="All deliveries to this destination.")
@click.option("--rule", help="All deliveries of this rule.")
@click.option("--since", type=Since(), help="All deliveries not older: 1h, 7d, or a date.")
@click.option("--until", type=Since(), help="All deliveries older than that: 1h, 7d, or a date.")
@click.option(
    "--now", "by_now", is_flag=True, help="By the rules that run now, not the ones that ran then (events only)."
)
@click.option("--rate", metavar="RATE", help="How many become due: 50/s, 100/m. Else 20/s, so that live ones go on.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(
    ids: tuple[str, ...],
    config_path: Path | None,
    status: str | None,
    source: str | None,
    destination: str | None,
    rule: str | None,
    since: datetime | None,
    until: datetime | None,
    rate: str | None,
    *,
    as_json: bool,
    by_now: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Make new deliveries: for events, for deliveries, or for all that the options pick.

    What would be sent is shown first, and asked about where it is more than one. What was sent again already is left
    out, unless it is named.
    """
    where = Filter(status=status, source=source, destination=destination, rule=rule, since=since, until=until)
    asked = read_asked(ids, where, prefixes={"evt": "events", "dlv": "deliveries"})
    asked |= {"by": "now" if by_now else "then"} | ({"rate": rate} if rate else {})
    settings = open_settings(config_path, offline=True)
    preview = ask_many(settings, "replay", {**asked, "dry_run": True}, count=0)
    if dry_run and as_json:
        print_json(preview)
        return
    if not preview["count"]:
        fail(f"Nothing like that to send again{_skipped(preview)}.", EXIT_FINDINGS)
    if not as_json:
        print_preview(preview)
    if dry_run:
        click.echo(
            f"{_how_many(preview)} would be sent{lasts(preview)}{_skipped(preview)}. Nothing was sent.", err=True
        )
        return
    if not yes and (preview["count"] > 1 or by_now):
        confirm(_question(preview), otherwise="Nothing was sent: say --yes.")
    made = ask_many(settings, "replay", asked, count=preview["count"])
    if as_json:
        print_json(made)
        return
    limit = max(1, min(made["count"], _MOST_LISTED))
    click.echo(f"{made['count']:,} new{lasts(made)}: {again(f'deliveries --limit {limit}', config_path)}")


def _question(preview: Mapping[str, Any]) -> str:
    if preview["of"] == "events":
        what = f"{_how_many(preview)} against the rules that run now, and send what they ask for"
        return f"Match {what}{lasts(preview)}{_skipped(preview)}?"
    return f"Send {_how_many(preview)} again{lasts(preview)}{_skipped(preview)}?"


def _how_many(preview: Mapping[str, Any]) -> str:
    one, many = ("event", "events") if preview["of"] == "events" else ("delivery", "deliveries")
    return f"{preview['count']:,} {one if preview['count'] == 1 else many}"


def _skipped(preview: Mapping[str, Any]) -> str:
    return f" ({preview['skipped']:,} left out: under way, or gone)" if preview["skipped"] else ""
