"""`hookline token`: who may ask the admin listener, besides the holder of the configured token."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import click

from hookline.daemon.api.caller import SCOPES
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, ask_daemon, open_settings, reading
from hookline.daemon.commands.output import ago, print_json, print_table, stamp
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.daemon.store.stored import StoredToken


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def token(ctx: click.Context, config_path: Path | None, *, as_json: bool) -> None:
    """List the tokens of the admin API that were made; what they are is kept nowhere.

    The configured token is not among them: it is `admin`, and ends when the configuration changes.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = config_path
        return
    found = anyio.run(_kept, open_settings(config_path, offline=True))
    if as_json:
        print_json([_json(one) for one in found])
        return
    if not found:
        click.echo(f"No tokens were made. Make one: {again('token add NAME --scope read', config_path)}", err=True)
        return
    rows = [
        [
            printable(one.name),
            one.scope,
            stamp(one.created_at),
            _end(one),
            ago(one.last_used_at) if one.last_used_at else "never",
        ]
        for one in found
    ]
    print_table(rows, ["token", "scope", "made", "lasts until", "last used"])


@token.command("add")
@click.argument("name")
@config_option
@json_option
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    required=True,
    help="read: look at everything; operate: also replay, cancel, hold, pause, reload; admin: also delete, and tokens.",
)
@click.option("--expires", metavar="DURATION", help="How long it lasts: 12h, 90d; else until it is dropped.")
@click.pass_obj
def add(
    outer: Path | None, name: str, config_path: Path | None, scope: str, expires: str | None, *, as_json: bool
) -> None:
    """Make a token, and print it: this once. NAME says what it is for, such as `ci`."""
    path = config_path or outer
    asked = {"name": name, "scope": scope} | ({"expires_in": expires} if expires else {})
    made = ask_daemon(open_settings(path, offline=True), "tokens", asked)
    if as_json:
        print_json(made)
        return
    click.echo(made["token"])
    until = f" until {stamp(datetime.fromisoformat(made['expires_at']))}" if made["expires_at"] else ""
    click.echo(
        f"{name} has {scope}{until}. This was shown once: keep it where you keep secrets. "
        f"To end it: {again(f'token drop {name}', path)}",
        err=True,
    )


@token.command("drop")
@click.argument("name")
@config_option
@json_option
@click.pass_obj
def drop(outer: Path | None, name: str, config_path: Path | None, *, as_json: bool) -> None:
    """Drop a token: whoever holds it is shut out at once."""
    path = config_path or outer
    settings = open_settings(path, offline=True)
    dropped = ask_daemon(settings, f"tokens/{quote(name, safe='')}", None, verb="DELETE")
    if as_json:
        print_json(dropped)
        return
    click.echo(f"{name} is good no more: {again('token', path)}")


async def _kept(settings: Settings) -> list[StoredToken]:
    async with reading(settings) as reader:
        return await reader.tokens()


def _end(one: StoredToken) -> str:
    if one.expires_at is None:
        return "dropped"
    return f"{stamp(one.expires_at)}{' (over)' if one.expires_at <= datetime.now(UTC) else ''}"


def _json(one: StoredToken) -> dict[str, Any]:
    """Return it as the API does."""
    from hookline.daemon.api.tokens import token_shape

    return dict(token_shape(one))
