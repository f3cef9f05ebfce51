"""`hookline events delete`: remove events for good."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from hookline.daemon.commands.opening import again, ask_daemon, hear_daemon
from hookline.daemon.commands.output import EXIT_FINDINGS, EXIT_USAGE, fail, print_json
from hookline.daemon.commands.picking import confirm
from hookline.daemon.config.settings import Settings

_LOOK_EVERY_S: Final = 0.3
#: A daemon that is restarted meanwhile goes on with it.
_AWAY_S: Final = 30.0
_ELSEWHERE: Final = "Backups, fixtures that were saved and what destinations received still hold what they held."


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """Which events, as they were typed."""

    events: tuple[str, ...]
    tenant: str | None = None
    source: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    forgets_key: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as the admin API reads it; ends with a word about it if nothing, or too much, is said."""
        said = {
            "tenant": self.tenant,
            "source": self.source,
            "type": self.type,
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
        }
        where = {name: value for name, value in said.items() if value}
        if bool(self.events) == bool(where):
            fail("Name events, or pick them by --tenant or --source.", EXIT_USAGE)
        if where and not (self.tenant or self.source):
            fail("Say --tenant or --source, too: all events of all senders are never meant.", EXIT_USAGE)
        which: dict[str, Any] = {"filter": where} if where else {"events": list(self.events)}
        return which | ({"forget_key": True} if self.forgets_key else {})


def delete_events(
    settings: Settings, meant: Meant, *, reason: str, yes: bool, as_json: bool, path: Path | None
) -> None:
    """Show what would go, ask, have it removed, and say how far it is until it is over."""
    asked = meant.to_json()
    preview = ask_daemon(settings, "events/delete", asked | {"dry_run": True}, timeout=120)
    count = preview["events"]
    if not count:
        fail("No events like that.", EXIT_FINDINGS)
    if not as_json:
        _print_preview(preview, missing=max(0, len(set(meant.events)) - count))
    if not yes:
        confirm(f"Remove {_events(count)} for good?", otherwise="Nothing was removed: say --yes.")
    began = ask_daemon(settings, "events/delete", asked | {"reason": reason})
    done = _wait(settings, began, count, path)
    if as_json:
        print_json(done)
        return
    click.echo(f"{_events(done['events'])} removed: {again('audit', path)}")
    click.echo(_ELSEWHERE, err=True)
    click.echo(
        f"Short traces may stand in unused parts of the file until, with the daemon stopped: {again('vacuum', path)}",
        err=True,
    )


def _print_preview(preview: Mapping[str, Any], *, missing: int) -> None:
    first, last = preview["first"], preview["last"]
    click.echo(f"{_events(preview['events'])}, received from {first['at'][:19]}Z to {last['at'][:19]}Z", err=True)
    if missing:
        click.echo(f"{missing:,} of those named {'is' if missing == 1 else 'are'} not there.", err=True)
    for state, count in preview["deliveries"].items():
        follows = {"pending": ", which are cancelled", "running": ", which are waited for"}.get(state, "")
        click.echo(f"  {count:,} deliveries {state}{follows}", err=True)


def _wait(settings: Settings, progress: dict[str, Any], count: int, path: Path | None) -> dict[str, Any]:
    """Follow a deletion to its end."""
    number = progress["deletion"]
    shown = ""
    last_heard = time.monotonic()
    try:
        while not progress["over"]:
            shown = _show(progress, count, shown)
            time.sleep(_LOOK_EVERY_S)
            heard = hear_daemon(settings, f"deletions/{number}")
            if heard is not None:
                progress, last_heard = heard, time.monotonic()
            elif time.monotonic() - last_heard > _AWAY_S:
                fail(f"The daemon is gone. It goes on with deletion {number} when it starts: {again('audit', path)}")
    except KeyboardInterrupt:
        fail(f"\nThe daemon goes on with deletion {number}: {again('audit', path)}")
    return progress


def _show(progress: Mapping[str, Any], count: int, shown: str) -> str:
    """Say on a terminal how far it is; elsewhere only what it waits for, once."""
    waits = progress["waits_for"]
    said = f"; waits for {' '.join(waits[:3])}{' …' if len(waits) > 3 else ''}, which run" if waits else ""
    if sys.stderr.isatty():
        said = f"{progress['events']:,} of {count:,} removed{said}"
        click.echo(f"\r\x1b[K{said}", err=True, nl=False)
    elif said and said != shown:
        click.echo(f"{progress['events']:,} of {count:,} removed{said}", err=True)
    return said


def _events(count: int) -> str:
    return f"{count:,} {'event' if count == 1 else 'events'}"
