"""`hookline backup`: a copy of the store that is verified, whether the daemon runs or not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, open_settings, tell_daemon
from hookline.daemon.commands.output import fail, print_json
from hookline.daemon.commands.stages import Stages
from hookline.daemon.commands.store_file import store_file
from hookline.daemon.config.settings import Settings
from hookline.daemon.rule_files import rule_files, rule_test_files
from hookline.daemon.store.port import StoreError


@click.command()
@click.argument("target", type=click.Path(path_type=Path), required=False)
@config_option
@json_option
@click.option("--with-config", is_flag=True, help="Also the configuration and the rules; never credentials.")
def backup(target: Path | None, config_path: Path | None, *, as_json: bool, with_config: bool) -> None:
    """Make a backup: a .tar.gz of the store, of secrets that senders brought, and of the admin token.

    TARGET is a file, or a folder; else `backup.to` of the configuration, else `backups` beside the store. It is
    checked, and read again, before it gets its name, and nobody else may read it. A daemon that runs is not held up.
    """
    from hookline.daemon.backup.archive import ArchiveError
    from hookline.daemon.backup.making import Wanted, make_backup
    from hookline.daemon.backup.pages import in_words
    from hookline.daemon.backup.quiet import give_way

    settings = open_settings(config_path, offline=True)
    store = store_file(settings, instead="pg_dump, or base backups and WAL archiving; see docs/postgresql.md")
    if not store.exists():
        fail(f"No store at {store}: has the daemon run yet? Start it with: hookline run -c {settings.path}")
    folder, name = _place(settings, target)
    stages = Stages()
    give_way()
    try:
        made = make_backup(
            Wanted(
                store=store,
                folder=folder,
                name=name,
                keep_free=settings.limits.free_space_bytes,
                config=_configuration(settings) if with_config else {},
            ),
            stage=stages,
        )
    except (StoreError, ArchiveError) as error:
        stages.clear()
        fail(f"No backup was made: {error}.")
    stages.clear()
    _note(settings, store, made.to_json())
    if as_json:
        print_json(made.to_json())
        return
    also = f", {len(made.others)} other {'file' if len(made.others) == 1 else 'files'}" if made.others else ""
    click.echo(made.path)
    click.echo(
        f"{made.contents.events:,} events, {made.contents.waiting:,} deliveries waiting{also}; {in_words(made.size)} "
        f"({in_words(made.store_size)} unpacked) in {made.seconds:.1f} s, read again and whole.",
        err=True,
    )
    for warning in made.warnings:
        click.echo(f"Odd: {warning}.", err=True)
    click.echo(f"To see that it can be put back: {again(f'restore {made.path} --to FOLDER', config_path)}", err=True)


def _place(settings: Settings, target: Path | None) -> tuple[Path, str | None]:
    """Return the folder, and the name if one was given."""
    if target is None:
        return (settings.backup.to if settings.backup else settings.state / "backups"), None
    target = target.absolute()
    return (target, None) if target.is_dir() else (target.parent, target.name)


def _configuration(settings: Settings) -> dict[str, Path]:
    """Return the files of configuration and rules, by what they are called in the backup."""
    rules = list(settings.rules)
    files = [settings.path, *rule_files([path for path in rules if path.exists()]), *rule_test_files(rules)]
    base = settings.path.parent
    return {
        str(path.relative_to(base) if path.is_relative_to(base) else path.relative_to("/")): path
        for path in files
        if path.is_file()
    }


def _note(settings: Settings, file: Path, made: dict[str, object]) -> None:
    """Let the store know when the last backup was made, for `doctor`."""
    from hookline.daemon.backup.offline import InUseError, locked, note, writing
    from hookline.daemon.backup.schedule import LAST_BACKUP, NOTED

    said = {name: made[name] for name in NOTED if name in made} | {"by": "cli"}
    try:
        with locked(file), writing(file) as store:
            note(store, LAST_BACKUP, said)
    except InUseError:
        if not tell_daemon(settings, "backups", said):
            click.echo("The daemon could not be told of it: `hookline doctor` will not know of this backup.", err=True)
    except (StoreError, sqlite3.Error) as error:
        click.echo(f"`hookline doctor` will not know of this backup: {error}", err=True)
