"""`hookline audit`: what was done by hand and by retention."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Since
from hookline.daemon.commands.opening import open_settings, reading
from hookline.daemon.commands.output import print_json, print_table, stamp
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.daemon.store.stored import StoredAudit


@click.command()
@config_option
@json_option
@click.option("--since", type=Since(), help="Not older: 7d, or a date.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
def audit(config_path: Path | None, since: datetime | None, *, as_json: bool, limit: int) -> None:
    """List what was done by hand, newest first, and day by day what retention removed. Kept for a year."""
    anyio.run(_list, open_settings(config_path, offline=True), since, limit, as_json)


async def _list(settings: Settings, since: datetime | None, limit: int, as_json: bool) -> None:  # noqa: FBT001
    async with reading(settings) as reader:
        found = await reader.audit(limit=limit, since=since)
        under_way = await reader.deletions()
    if as_json:
        print_json([_json(row) | {"under_way": row.id in under_way} for row in found])
        return
    if not found:
        click.echo("Nothing was done by hand, and retention removed nothing.", err=True)
        return
    rows = [
        [
            stamp(row.at),
            printable(row.who),
            row.what,
            printable(row.subject),
            _counted(row) + (", under way" if row.id in under_way else ""),
            printable(row.reason),
        ]
        for row in found
    ]
    print_table(rows, ["at", "who", "what", "to", "how many", "why"])


def _counted(row: StoredAudit) -> str:
    if row.counts:
        return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in row.counts.items())
    return f"{row.count:,}" if row.count else ""


def _json(row: StoredAudit) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": row.at.isoformat(),
        "who": row.who,
        "what": row.what,
        "subject": row.subject,
        "count": row.count,
        "counts": dict(row.counts),
        "reason": row.reason,
    }
