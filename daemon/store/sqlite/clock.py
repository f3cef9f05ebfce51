"""What the store does because clocks jump. Runs on the writing connection's thread."""

from __future__ import annotations

from datetime import datetime, timedelta

from hookline.daemon.ids import made_at
from hookline.daemon.store.rows import length, micros
from hookline.daemon.store.sqlite.statements import statements
from hookline.daemon.store.sqlite.writer import SqliteWriter

_SQL = statements("clock")


def latest(writer: SqliteWriter) -> datetime | None:
    """Return when the newest row was made, None if there is none."""
    (number,) = writer.connection.execute(_SQL["latest"]).fetchone()
    return made_at(number) if number else None


def put_off(writer: SqliteWriter, by: timedelta, *, after: datetime) -> int:
    """Let all that is due after `after` be due later; return how many deliveries that are."""
    connection, more, since = writer.connection, length(by), micros(after)
    with writer.transaction():
        lanes = connection.execute(_SQL["waiting_lanes"]).fetchall()
        moved = sum(connection.execute(_SQL["put_off_waiting"], (more, lane, since)).rowcount for (lane,) in lanes)
        moved += connection.execute(_SQL["put_off_behind"], (more, since)).rowcount
        connection.execute(_SQL["put_off_windows"], (more, since))
    return moved


def pull_in(writer: SqliteWriter, to: datetime) -> int:
    """Let all that is due after `to` be due then; return how many deliveries that were."""
    connection, at = writer.connection, micros(to)
    with writer.transaction():
        lanes = connection.execute(_SQL["waiting_lanes"]).fetchall()
        return sum(connection.execute(_SQL["pull_in"], (at, lane, at)).rowcount for (lane,) in lanes)
