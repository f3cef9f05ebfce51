"""`hookline migrate-store`: everything out of a SQLite file into a PostgreSQL database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hookline.daemon.commands import json_option
from hookline.daemon.commands.output import EXIT_CONFIG, EXIT_USAGE, fail, print_json, print_table
from hookline.daemon.commands.stages import Stages
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import NEEDS_A_PERSON, StoreError

if TYPE_CHECKING:
    from hookline.daemon.migrating.moving import Moved

_MIB = 1 << 20


@click.command("migrate-store")
@click.argument("file", metavar="sqlite:PATH")
@click.argument("database", metavar="postgresql://…")
@json_option
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and whether it can be; write nothing.")
@click.option("--anew", is_flag=True, help="Remove what an earlier, unfinished move has brought, and begin again.")
def migrate_store(file: str, database: str, *, as_json: bool, dry_run: bool, anew: bool) -> None:
    """Move everything from a SQLite store into a PostgreSQL database, and check every row of it.

    Both are written as `store:` has them. No daemon may use the file, which stays as it is, and the database's schema
    must be empty. If it is interrupted, the same command goes on where it was; a daemon that is started on the
    database before all is there refuses. A password is best given by PGPASSWORD or a password file.
    """
    path, place = _file(file), _database(database)
    stages = Stages()
    try:
        if dry_run:
            _dry_run(path, place, as_json=as_json)
            return
        moved = _move(path, place, stages, anew=anew)
    except StoreError as error:
        stages.clear()
        fail(f"Not moved: {error}.", EXIT_CONFIG if error.kind in NEEDS_A_PERSON else 1)
    stages.clear()
    if moved is None:
        _say_moved_already(path, place, as_json=as_json)
    elif as_json:
        print_json({"from": str(path), "to": str(place), **moved.to_json()})
    else:
        _tell(moved, path, place)


def _move(path: Path, place: PostgresDatabase, stages: Stages, *, anew: bool) -> Moved | None:
    """Return None if all was there already."""
    from hookline.daemon.backup.offline import InUseError
    from hookline.daemon.migrating.checking import UnequalError
    from hookline.daemon.migrating.moving import move
    from hookline.daemon.migrating.source import opened
    from hookline.daemon.migrating.target import AlreadyMovedError

    try:
        with opened(path) as source:
            return asyncio.run(move(source, place, stage=stages, anew=anew))
    except AlreadyMovedError:
        return None
    except InUseError as error:
        stages.clear()
        fail(f"{error}. Under systemd: systemctl stop hookline. Nothing was moved.")
    except UnequalError as error:
        stages.clear()
        fail(
            f"What came is not what was there: {error}. No daemon begins on the database as it is. --anew begins "
            "again; should it happen twice, please report it."
        )
    except KeyboardInterrupt:
        stages.clear()
        fail("Interrupted: the same command goes on from here.", 130)


def _dry_run(path: Path, place: PostgresDatabase, *, as_json: bool) -> None:
    from hookline.daemon.backup.offline import InUseError
    from hookline.daemon.migrating.moving import plan
    from hookline.daemon.migrating.source import opened
    from hookline.daemon.migrating.target import AlreadyMovedError

    try:
        with opened(path) as source:
            counts, there = asyncio.run(plan(source, place))
            size = source.size()
    except AlreadyMovedError:
        _say_moved_already(path, place, as_json=as_json)
        return
    except InUseError as error:
        fail(f"{error}. Under systemd: systemctl stop hookline.")
    if as_json:
        print_json({"from": str(path), "to": str(place), "rows": counts, "moved": dict(there), "bytes": size})
        return
    _print_rows(counts, there)
    click.echo(f"About {size / _MIB:,.0f} MiB would go from {path} to {place}. Nothing was written.", err=True)


def _say_moved_already(path: Path, place: PostgresDatabase, *, as_json: bool) -> None:
    if as_json:
        print_json({"from": str(path), "to": str(place), "already_moved": True})
    click.echo(f"All of {path} is in {place} already.", err=True)


def _tell(moved: Moved, path: Path, place: PostgresDatabase) -> None:
    _print_rows(moved.rows, {})
    rows = sum(moved.rows.values())
    copied = rows - moved.found_rows
    seconds = max(moved.copy_seconds, 0.001)
    click.echo(
        f"{copied:,} rows copied in {moved.copy_seconds:.1f} s ({copied / seconds:,.0f} a second)"
        + (f", {moved.found_rows:,} by an earlier run" if moved.found_rows else "")
        + f"; all {rows:,} read back from both sides in {moved.check_seconds:.1f} s and the same; "
        f"{moved.looked_at:,} events and deliveries looked at as the daemon does.",
        err=True,
    )
    if moved.secrets:
        click.echo(f"Secrets that stood in files beside the store: {moved.secrets:,}.", err=True)
    click.echo(f"Next: write `store: {place}` into hookline.yaml, and start the daemon.", err=True)
    click.echo(
        f"{path} is as it was. Start no daemon on it again: it would deliver what waits a second time.", err=True
    )


def _print_rows(counts: Mapping[str, int], there: Mapping[str, int]) -> None:
    rows = [[name, f"{count:,}", f"{there[name]:,}" if there.get(name) else ""] for name, count in counts.items()]
    print_table([row for row in rows if row[1] != "0"], ["table", "rows", "moved by an earlier run" if there else ""])


def _file(text: str) -> Path:
    if not text.startswith("sqlite:") or not text.removeprefix("sqlite:"):
        fail("Name the file as `store:` does: sqlite:PATH.", EXIT_USAGE)
    return Path(text.removeprefix("sqlite:"))


def _database(text: str) -> PostgresDatabase:
    import importlib.util

    from hookline.daemon.config.database import parse_database
    from hookline.daemon.config.store import INSTALL_DRIVER

    try:
        place = parse_database(text)
    except ValueError as error:
        fail(f"{error}.", EXIT_USAGE)
    if importlib.util.find_spec("asyncpg") is None:
        fail(f"PostgreSQL needs the Python package asyncpg: {INSTALL_DRIVER}", EXIT_CONFIG)
    return place
