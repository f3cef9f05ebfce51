"""Our tables in the database: made by the first node that starts, changed by the first one of a newer version."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.rows import unbound
from hookline.daemon.store.rows import length, micros

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection
    from hookline.daemon.store.postgres.server import Server

_SQL = named_statements(__package__, "schema")
_OLDEST_SERVER: Final = 130_000
#: Who was not seen for so long has stopped.
_GONE_AFTER: Final = timedelta(seconds=10)
#: For a node to be gone that was killed just now; one that still runs is named after that.
_PATIENCE: Final = timedelta(seconds=15)
_LOOKS_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A change of the tables."""

    number: int
    #: Programs that know this number, and none after it, still work on what it leaves.
    survived_by: int
    sql: str


def _shipped(number: int, *, survived_by: int) -> Migration:
    text = files(__package__).joinpath(f"schema_{number}.sql").read_text("utf-8")
    return Migration(number=number, survived_by=survived_by, sql=text)


#: In their order. Nodes of the version before go on when one is made that they survive; else they have to be stopped.
MIGRATIONS: Final = (_shipped(1, survived_by=1),)


async def set_up(
    server: Server, *, migrations: Sequence[Migration] = MIGRATIONS, patience: timedelta = _PATIENCE
) -> None:
    """Make what is missing of the tables.

    Raises `StoreError`, of kind `unfit` where they cannot be made or used, or nodes run that would not survive that.
    """
    waits = max(1, round(patience.total_seconds() / _LOOKS_EVERY_S))
    for _ in range(waits):
        running = await server.write(lambda connection: _make(connection, server, migrations))
        if not running:
            return
        await asyncio.sleep(_LOOKS_EVERY_S)
    raise _unfit(
        f"{server.place}: {', '.join(running)} would not survive the change of the tables that Hookline "
        f"{version('hookline')} needs: stop them, and start this one again"
    )


async def check(connection: Connection, *, known: int = MIGRATIONS[-1].number) -> None:
    """Raise `StoreError` if a newer program has changed the tables so that this one may not go on."""
    found = await connection.fetchrow(_SQL["newest"])
    if found is not None and found["survived_by"] > known:
        raise _unfit(
            f"Hookline {found['program']} has changed the tables of this store, and this is {version('hookline')}, "
            f"which does not know how to work with them: install {found['program']} here"
        )


async def _make(connection: Connection, server: Server, migrations: Sequence[Migration]) -> list[str]:
    """Make what is missing; return the nodes that have to stop before."""
    await _check_server(connection, server)
    # Several nodes start at once; one makes the tables, the others find them.
    await connection.execute(_SQL["lock"], server.schema)
    await _make_schema(connection, server)
    await connection.execute(_SQL["create_migrations"])
    await _check_owner(connection, server)
    await check(connection, known=migrations[-1].number)
    done = await connection.fetchval(_SQL["last_number"])
    for migration in migrations:
        if migration.number <= done:
            continue
        if done and migration.survived_by > done and (running := await _running(connection, server)):
            return running
        await connection.execute(migration.sql)
        await connection.execute(
            _SQL["note"],
            migration.number,
            migration.survived_by,
            version("hookline"),
            micros(await server.now(connection)),
        )
    return []


async def _check_server(connection: Connection, server: Server) -> None:
    (found,) = await connection.fetch(_SQL["server"])
    if found["number"] < _OLDEST_SERVER:
        raise _unfit(f"{server.place}: it is PostgreSQL {found['version']}: Hookline needs 13 or newer")
    if found["encoding"] != "UTF8":
        raise _unfit(
            f"{server.place}: the database's encoding is {found['encoding']}, which does not hold every text: make one "
            "with `createdb --encoding=UTF8 --template=template0`"
        )


async def _make_schema(connection: Connection, server: Server) -> None:
    """Make the schema; where it is there already, nothing but the right to use it is needed."""
    (found,) = await connection.fetch(_SQL["rights"], server.schema)
    schema, role = _quoted(server.schema), _quoted(found["role"])
    if found["may_use"] is None:
        if not found["may_create"]:
            raise _unfit(
                f"{server.place}: our role {found['role']} may not make the schema {server.schema}: let an "
                f"administrator run CREATE SCHEMA {schema} AUTHORIZATION {role}; in this database"
            )
        await connection.execute(f"CREATE SCHEMA {schema}")
    elif not found["may_use"]:
        raise _unfit(
            f"{server.place}: our role {found['role']} may not make tables in the schema {server.schema}: let an "
            f"administrator run GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}; in this database"
        )


async def _check_owner(connection: Connection, server: Server) -> None:
    """Each node makes days' tables at times, which only the owner of the tables may."""
    owner = await connection.fetchval(_SQL["other_owner"])
    if owner is not None:
        raise _unfit(
            f"{server.place}: the tables belong to the role {owner}: let `store:` name that role at every node, or an "
            f"administrator run GRANT {_quoted(owner)} TO ours"
        )


async def _running(connection: Connection, server: Server) -> list[str]:
    since = micros(await server.now(connection)) - length(_GONE_AFTER)
    found = await connection.fetch(_SQL["running_nodes"], since)
    return [f"node {unbound(row['name'])} (Hookline {unbound(row['version'])})" for row in found]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _unfit(text: str) -> StoreError:
    return StoreError(text, kind="unfit")
