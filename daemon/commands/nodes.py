"""`hookline nodes`: the daemons that share the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, hear_daemon, no_store, open_settings
from hookline.daemon.commands.output import ago, fail, print_json, print_table, styled
from hookline.daemon.config.settings import Settings
from hookline.daemon.store.places import PostgresDatabase, UnsetStore
from hookline.daemon.store.port import StoreError

_SHOWN_OF_HASH = 12


@click.command()
@config_option
@json_option
def nodes(config_path: Path | None, *, as_json: bool) -> None:
    """List the daemons that share the store: version, rules, since when, when each was seen last, and which one leads.

    A node that was not seen for ten seconds does not count until it comes back; after a day it is not listed any more.

    Exit code 1 if versions or rules differ, or if nobody leads.
    """
    settings = open_settings(config_path, offline=True)
    said = hear_daemon(settings, "nodes")
    found: Sequence[Mapping[str, Any]] = (
        said["nodes"] if isinstance(said, dict) and "nodes" in said else _read(settings)
    )
    trouble = trouble_of(found)
    if as_json:
        print_json({"nodes": found, "trouble": trouble})
    elif found:
        print_nodes(found)
    else:
        click.echo(f"No node was seen within a day. Start one: {again('run', config_path)}", err=True)
    for text in trouble:
        click.echo(styled(text, "warn"), err=True)
    if trouble:
        raise SystemExit(1)


def print_nodes(found: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each; which of them answered is marked."""
    rows = [
        [
            f"{one['name']}{' *' * bool(one['is_this'])}",
            _standing(one),
            one["version"],
            one["rules"][:_SHOWN_OF_HASH],
            ago(datetime.fromisoformat(one["started_at"])),
            ago(datetime.fromisoformat(one["seen_at"])),
            one["address"],
        ]
        for one in found
    ]
    print_table(rows, ["node", "", "version", "rules", "started", "seen", "address"])


def trouble_of(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in what the nodes that run differ, and whether nobody leads."""
    members = [one for one in found if one["is_member"]]
    said = []
    if len({one["version"] for one in members}) > 1:
        said.append("They are of different versions: bring all to the newest.")
    if len({one["rules"] for one in members}) > 1:
        said.append("They have different rules: bring the same configuration to all, then reload each.")
    if members and not any(one["is_leader"] for one in members):
        said.append("None of them leads: retention and alarms wait. It settles within seconds, or their logs say why.")
    return said


def _standing(one: Mapping[str, Any]) -> str:
    if not one["is_member"]:
        return "gone"
    return "leads" if one["is_leader"] else "runs"


def _read(settings: Settings) -> list[dict[str, Any]]:
    """Read them from the database, where no daemon answers here."""
    if isinstance(settings.store, UnsetStore):
        fail(no_store(settings))
    if not isinstance(settings.store, PostgresDatabase):
        fail(f"No daemon answers at {settings.admin.listen}, and the store is a file, which has one node at most.")
    try:
        return anyio.run(_ask, settings.store)
    except StoreError as error:
        fail(str(error))


async def _ask(place: PostgresDatabase) -> list[dict[str, Any]]:
    # Not needed, and not there, where the store is a file.
    from hookline.daemon.store.postgres.visiting import nodes_of

    return [
        {
            "name": node.name,
            "id": f"{node.id:016x}",
            "version": node.version,
            "rules": node.rules,
            "address": node.address,
            "started_at": node.started_at.isoformat(),
            "seen_at": node.seen_at.isoformat(),
            "is_member": node.is_member,
            "is_leader": node.is_leader and node.is_member,
            "is_this": False,
        }
        for node in await nodes_of(place)
    ]
