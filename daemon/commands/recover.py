"""`hookline recover`: what can be saved of a damaged store."""

from __future__ import annotations

from pathlib import Path

import click

from hookline.daemon.backup.recovering import Recovered
from hookline.daemon.backup.salvage import Stretch
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, open_settings
from hookline.daemon.commands.output import fail, print_json, print_table, stamp
from hookline.daemon.commands.stages import Stages
from hookline.daemon.commands.store_file import store_file
from hookline.daemon.ids import encode, made_at
from hookline.daemon.store.port import StoreError

_MOST_LISTED = 10

#: What was done to make it whole, for people.
_MENDED = {
    "add_requests": "events have lost their bodies",
    "harm_bodies": "events have a damaged body",
    "add_events_of_deliveries": "events are known by their deliveries alone (source `lost`)",
    "add_events_of_requests": "events are known by their bodies alone (source `lost`)",
    "end_harmed": "waiting deliveries of those are dead letters now, with the reason",
    "drop_attempts": "attempts belong to no delivery any more and were left out",
    "part_digests": "deliveries have lost their digest and are sent for themselves",
    "free_unordered": "deliveries have lost their place in an order and are sent without it",
    "drop_key": "keys of lost events are forgotten: what their senders repeat is taken in again",
    "drop_forgotten_keys": "keys of damaged events are forgotten: what their senders repeat is taken in again",
    "add_key": "keys were made anew from their events",
    "add_lanes": "destinations have lost their names, and wait as `lost-…`",
}


@click.command()
@config_option
@json_option
@click.option("--to", "target", type=click.Path(path_type=Path), help="The new file; else beside the store.")
@click.option("--replace", "is_replacing", is_flag=True, help="Put it in the store's place, and that one aside.")
def recover(config_path: Path | None, target: Path | None, *, as_json: bool, is_replacing: bool) -> None:
    """Save all that can be read of a damaged store into a new file. The damaged one is never written to.

    The daemon must not run. Says what was saved and what was not. A backup, where there is one, may be better: compare.
    """
    from hookline.daemon.backup.offline import InUseError, locked
    from hookline.daemon.backup.ownership import operator, own_like
    from hookline.daemon.backup.recovering import recover as save
    from hookline.daemon.backup.replacing import put_in_place

    settings = open_settings(config_path, offline=True)
    store = store_file(settings, instead="pg_amcheck finds damage, and a base backup with its WAL is restored")
    if not store.exists():
        fail(f"No store at {store}: to put a backup there: {again('restore FILE', config_path)}")
    made = target.absolute() if target else store.with_name(f"{store.name}.recovered")
    stages = Stages()
    aside = None
    try:
        with locked(store):
            found = save(store, made, who=operator(), stage=stages)
            stages.clear()
            own_like(made, store)
            if is_replacing:
                aside = put_in_place(made, store, why="recover")
    except InUseError as error:
        fail(f"{error}. Under systemd: systemctl stop hookline. Nothing was changed.")
    except StoreError as error:
        stages.clear()
        fail(f"Nothing was changed: {error}.")
    except OSError as error:
        fail(f"{made} was made, and cannot be put in place: {error.filename}: {error.strerror}.")
    if as_json:
        print_json(found.to_json() | {"aside": aside and str(aside), "path": str(store if is_replacing else made)})
        return
    _tell(found)
    if aside is not None:
        click.echo(f"{store} is the new one; the damaged one: {aside}. Remove it when you are sure.")
        click.echo(f"Start the daemon: {again('run', config_path)}, or systemctl start hookline", err=True)
    else:
        click.echo(f"{made} holds what was saved; {store} is as it was.")
        click.echo(f"To put it in place: remove it, then {again('recover --replace', config_path)}", err=True)


def _tell(found: Recovered) -> None:
    salvage = found.salvage
    if not salvage.is_damaged and not found.damaged_bodies and not found.damaged_texts:
        click.echo("No damage was found: everything was saved.")
    rows = [
        [name, f"{count:,}", f"{salvage.lost[name]:,}" if salvage.lost[name] else ""]
        for name, count in found.saved.items()
    ]
    print_table(rows, ["table", "saved", "seen and unreadable"])
    if not salvage.has_header:
        click.echo("The file's head was damaged.")
    if salvage.damaged_pages:
        click.echo(f"{len(salvage.damaged_pages):,} of {salvage.pages:,} pages are damaged.")
    if salvage.damaged_frames:
        click.echo(f"{salvage.damaged_frames:,} pages in the -wal file are damaged.")
    for name, count in found.missing.items():
        click.echo(f"{count:,} {name} that the store counted are not there any more.")
    events = [one for one in salvage.stretches if one.table == "events"]
    for one in events[:_MOST_LISTED]:
        click.echo(f"Events may be missing {_between(one)}.")
    if len(events) > _MOST_LISTED:
        click.echo(f"… and in {len(events) - _MOST_LISTED:,} more stretches: --json lists them all.")
    if found.damaged_texts:
        click.echo(
            f"{found.damaged_texts:,} kept rules or steps are damaged: replay what needs them by the rules of now."
        )
    if found.without_deliveries:
        shown = " ".join(found.without_deliveries[:_MOST_LISTED])
        click.echo(
            f"{len(found.without_deliveries):,} events have lost their deliveries, and whether those were made is not "
            f"known; to make them by the rules of now: hookline replay --now {shown}"
            + (" … (--json lists them all)" if len(found.without_deliveries) > _MOST_LISTED else "")
        )
    for name, count in found.mended.items():
        if name in _MENDED:
            click.echo(f"{count:,} {_MENDED[name]}.")


def _between(one: Stretch) -> str:
    since = f"after {encode('evt', one.after)} ({stamp(made_at(one.after))})" if one.after else "from the first one"
    until = f" up to {encode('evt', one.up_to)} ({stamp(made_at(one.up_to))})" if one.up_to is not None else " on"
    return since + until
