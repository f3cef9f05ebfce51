"""`hookline cancel`: say no to what waits."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Since
from hookline.daemon.commands.opening import again, open_settings
from hookline.daemon.commands.output import EXIT_FINDINGS, fail, print_json
from hookline.daemon.commands.picking import Filter, ask_many, confirm, print_preview, read_asked
from hookline.daemon.store.changes import State

_WAITING = (State.PENDING, State.COLLECTED)


@click.command()
@click.argument("ids", nargs=-1, metavar="[DLV…]")
@config_option
@json_option
@click.option(
    "--status", type=click.Choice([state.value for state in _WAITING]), help="All in this state; else pending."
)
@click.option("--source", help="All of events from this source.")
@click.option("--destination", help="All to this destination.")
@click.option("--rule", help="All of this rule.")
@click.option("--since", type=Since(), help="All not older: 1h, 7d, or a date.")
@click.option("--until", type=Since(), help="All older than that: 1h, 7d, or a date.")
@click.option("--dry-run", is_flag=True, help="Show what would be cancelled, and cancel nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def cancel(
    ids: tuple[str, ...],
    config_path: Path | None,
    status: str | None,
    source: str | None,
    destination: str | None,
    rule: str | None,
    since: datetime | None,
    until: datetime | None,
    *,
    as_json: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Cancel deliveries that wait: those named, or all that the options pick. They are shown, and can be replayed.

    What runs at this moment is not stopped. Where it is more than one, what would be cancelled is asked about first.
    """
    where = Filter(status=status, source=source, destination=destination, rule=rule, since=since, until=until)
    asked = read_asked(ids, where, prefixes={"dlv": "deliveries"})
    settings = open_settings(config_path, offline=True)
    preview = ask_many(settings, "cancel", {**asked, "dry_run": True}, count=0)
    if dry_run and as_json:
        print_json(preview)
        return
    if not preview["count"]:
        fail("Nothing like that waits.", EXIT_FINDINGS)
    if not as_json:
        print_preview(preview)
    what = f"{preview['count']:,} {'delivery' if preview['count'] == 1 else 'deliveries'}"
    if dry_run:
        click.echo(f"{what} would be cancelled. Nothing was.", err=True)
        return
    if not yes and preview["count"] > 1:
        confirm(f"Cancel {what}?", otherwise="Nothing was cancelled: say --yes.")
    done = ask_many(settings, "cancel", asked, count=preview["count"])
    if as_json:
        print_json(done)
        return
    left = f"; {done['skipped']:,} did not wait any more" if done["skipped"] else ""
    click.echo(f"{done['count']:,} cancelled{left}: {again('deliveries --status cancelled', config_path)}")
