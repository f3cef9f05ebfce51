"""`hookline config show`: the effective configuration, secrets masked."""

from __future__ import annotations

from pathlib import Path

import click

from hookline.daemon.commands import config_option
from hookline.daemon.commands.opening import open_settings


@click.group()
def config() -> None:
    """Show the effective configuration."""


@config.command()
@config_option
def show(config_path: Path | None) -> None:
    """Print every setting with where it comes from; secrets are masked."""
    from hookline.daemon.config.show import show_settings

    click.echo(show_settings(open_settings(config_path)), nl=False)
