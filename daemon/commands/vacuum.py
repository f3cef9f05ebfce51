"""`hookline vacuum`: the store's file written anew."""

from __future__ import annotations

from pathlib import Path

import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, open_settings
from hookline.daemon.commands.output import fail, print_json
from hookline.daemon.commands.store_file import store_file
from hookline.daemon.store.port import StoreError


@click.command()
@config_option
@json_option
def vacuum(config_path: Path | None, *, as_json: bool) -> None:
    """Write the store's file anew, while the daemon does not run: no byte stays in it of what was removed.

    Retention keeps the file small by itself. This is for after `events delete`, where no trace may be left, and for
    a file that an older Hookline made. Needs as much room again beside the store.
    """
    from hookline.daemon.backup.offline import InUseError
    from hookline.daemon.backup.pages import in_words
    from hookline.daemon.deleting.rewriting import rewrite

    store = store_file(open_settings(config_path, offline=True), instead="VACUUM FULL, while no node runs")
    if not store.exists():
        fail(f"No store at {store}.")
    try:
        before, after = rewrite(store)
    except InUseError as error:
        fail(f"{error}. Under systemd: systemctl stop hookline. Nothing was changed.")
    except StoreError as error:
        fail(f"Nothing was changed: {error}.")
    except OSError as error:
        fail(f"Nothing was changed: {error.filename}: {error.strerror}.")
    if as_json:
        print_json({"store": str(store), "before_bytes": before, "after_bytes": after})
        return
    click.echo(f"{store}: {in_words(before)} before, {in_words(after)} now.")
    click.echo(f"Start the daemon: {again('run', config_path)}, or systemctl start hookline", err=True)
