"""`hookline hold` and `hookline release`: tell a destination to wait, or to go on."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from hookline.daemon.commands import config_option
from hookline.daemon.commands.opening import again, ask_daemon, open_settings


@click.command()
@click.argument("destination")
@click.option("--reason", default="", help="Why, for whoever looks at it.")
@config_option
def hold(destination: str, reason: str, config_path: Path | None) -> None:
    """Let a destination's deliveries wait. None is lost, and waiting spends no attempt."""
    ask_daemon(
        open_settings(config_path),
        f"destinations/{quote(destination, safe='')}/hold",
        {"reason": reason or "held by hand"},
    )
    click.echo(f"{destination} is held. To go on: {again(f'release {destination}', config_path)}")


@click.command()
@click.argument("destination")
@config_option
def release(destination: str, config_path: Path | None) -> None:
    """Let a held destination's deliveries go on."""
    ask_daemon(open_settings(config_path), f"destinations/{quote(destination, safe='')}/release", {})
    click.echo(f"{destination} goes on: {again(f'deliveries --destination {destination}', config_path)}")
