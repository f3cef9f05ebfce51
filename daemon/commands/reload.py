"""`hookline reload`: let what is on disk go live now."""

from __future__ import annotations

from pathlib import Path

import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import ask_daemon, open_settings
from hookline.daemon.commands.output import print_json

# Every plug-in is loaded, and every rule is checked against it.
_LONGEST_S = 120


@click.command()
@config_option
@json_option
def reload(config_path: Path | None, *, as_json: bool) -> None:
    """Have the running daemon read configuration, rules and plug-ins anew. If anything is wrong, nothing changes.

    Needed where the configuration says `reload: signal`; else a change goes live by itself.
    """
    said = ask_daemon(open_settings(config_path, offline=True), "reload", {}, timeout=_LONGEST_S)
    if as_json:
        print_json(said)
    else:
        click.echo(f"Live: rules {said['version'][:6]}.")
