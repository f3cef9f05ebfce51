"""`hookline restore`: a backup in the store's place, or in a folder to look at."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from hookline.daemon.backup.inspection import Contents
from hookline.daemon.backup.restoring import Restored, Unpacked
from hookline.daemon.commands import config_option
from hookline.daemon.commands.opening import again, open_settings
from hookline.daemon.commands.output import ago, fail, print_table, stamp
from hookline.daemon.commands.picking import confirm
from hookline.daemon.commands.store_file import store_file
from hookline.daemon.store.port import StoreError

# A backup of a SQLite file is looked at in a folder, wherever the store is.
_INSTEAD = (
    "pg_restore, or a base backup and its WAL; a backup of a SQLite file is put into a folder by --to, and moved from "
    "there by `hookline migrate-store`"
)


@click.command()
@click.argument("backup", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@config_option
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Into this folder instead: to practise, to look.")
@click.option("--hold", is_flag=True, help="Let every destination wait until you release it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore(backup: Path, config_path: Path | None, folder: Path | None, *, hold: bool, yes: bool) -> None:
    """Put a backup in the store's place. The daemon must not run; what is there is put aside, never removed.

    BACKUP is verified whole before anything is touched.
    """
    from hookline.daemon.backup.archive import ArchiveError, read_manifest
    from hookline.daemon.backup.offline import InUseError, locked
    from hookline.daemon.backup.ownership import operator
    from hookline.daemon.backup.replacing import contents_there
    from hookline.daemon.backup.restoring import restore as put_back
    from hookline.daemon.backup.restoring import unpack_config, unpacked

    try:
        if folder is None:
            store = store_file(open_settings(config_path, offline=True), instead=_INSTEAD)
        else:
            store = folder.absolute() / Path(read_manifest(backup).store).name
        if folder is None or not folder.exists():
            store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(store):
            click.echo(f"Reading {backup} …", err=True)
            with unpacked(backup, store) as found:
                there = contents_there(store)
                _show(store, there, found)
                if store.exists() and not yes:
                    confirm(_question(store, there, found), otherwise="Nothing was changed: say --yes.")
                done = put_back(found, store, backup=backup.absolute(), who=operator(), hold=hold)
                files = unpack_config(found, store.parent) if folder is not None else ()
    except InUseError as error:
        fail(f"{error}. Under systemd: systemctl stop hookline. Nothing was changed.")
    except (StoreError, ArchiveError) as error:
        fail(f"Nothing was restored: {error}.")
    except OSError as error:
        fail(f"Nothing was restored: {error.filename}: {error.strerror}.")
    _tell(store, found, done, files)
    _say_what_follows(found, done, config_path, is_practice=folder is not None)


def _show(store: Path, there: Contents | None, found: Unpacked) -> None:
    rows = [["in the backup", *_row(found.contents), stamp(found.manifest.made_at)]]
    if there is not None:
        rows.insert(0, ["there now", *_row(there), ""])
    elif store.exists():
        rows.insert(0, ["there now", "cannot be read", "", "", ""])
    print_table(rows, ["", "events", "waiting", "newest event", "made"])


def _row(contents: Contents) -> list[str]:
    return [f"{contents.events:,}", f"{contents.waiting:,}", _when(contents.newest)]


def _when(newest: datetime | None) -> str:
    return "none" if newest is None else f"{stamp(newest)} ({ago(newest)})"


def _question(store: Path, there: Contents | None, found: Unpacked) -> str:
    question = f"Put the backup in the place of {store}, and that one aside?"
    newest = found.contents.newest
    if there is not None and there.newest is not None and (newest is None or there.newest > newest):
        question = f"What came since {stamp(newest) if newest else 'ever'} will not be there. {question}"
    return question


def _tell(store: Path, found: Unpacked, done: Restored, files: tuple[Path, ...]) -> None:
    click.echo(f"{store}: the backup of {stamp(found.manifest.made_at)} from {found.manifest.host}.")
    if done.aside is not None:
        click.echo(f"What was there: {done.aside}. Remove it when you are sure.")
    for path in (*done.brought_back, *files):
        click.echo(f"Also brought back: {path}.")
    for path in done.left:
        click.echo(f"Left as it is, because it is newer: {path}.")


def _say_what_follows(found: Unpacked, done: Restored, config_path: Path | None, *, is_practice: bool) -> None:
    newest = found.contents.newest
    since = f"since {stamp(newest)}" if newest else "before"
    click.echo(
        f"{found.contents.waiting:,} deliveries waited when the backup was made. They are sent when the daemon starts, "
        f"although they may have been sent since. What was received {since} is not known any more: what its senders "
        "repeat is acted on again.",
        err=True,
    )
    if done.held:
        click.echo(
            f"{', '.join(done.held)} wait. Look at what would be sent: "
            f"{again('deliveries --status pending', config_path)}; cancel what must not be: "
            f"{again('cancel ID', config_path)}; then release each: {again(f'release {done.held[0]}', config_path)}",
            err=True,
        )
    elif not is_practice and found.contents.waiting:
        click.echo("To look first, restore it again with --hold: every destination waits then.", err=True)
    if not is_practice:
        click.echo(
            f"Tokens are those of then: one dropped since is good again: {again('token', config_path)}", err=True
        )
        click.echo(f"Start the daemon: {again('run', config_path)}, or systemctl start hookline", err=True)
