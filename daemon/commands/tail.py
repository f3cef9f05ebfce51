"""`hookline tail`: what happens now, a line for each thing."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from hookline.daemon.api.client import ApiClient, ApiError, NoAnswerError
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.events import Since
from hookline.daemon.commands.opening import calling, no_answer, open_settings
from hookline.daemon.commands.output import fail
from hookline.daemon.commands.tail_text import line_of
from hookline.daemon.config.settings import Settings
from hookline.daemon.streaming.sse import read

#: Three pings of the daemon's: who is silent for longer is gone.
_SILENT_S: Final = 45.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 5.0


@click.command()
@config_option
@json_option
@click.option("--source", help="Only of this source.")
@click.option("--type", "type_", help="Only of this event type; a * in it stands for anything.")
@click.option("--tenant", help="Only of this tenant.")
@click.option("--destination", help="Only attempts at this destination, and what becomes of it.")
@click.option("--rule", help="Only events that this rule matched, and its attempts.")
@click.option("--trouble", is_flag=True, help="Only what went wrong: refused, unmatched, failed, dead, held.")
@click.option("--since", type=Since(), help="Begin with stored events: 5m, 1h, or a date; at most 500.")
def tail(
    config_path: Path | None,
    source: str | None,
    type_: str | None,
    tenant: str | None,
    destination: str | None,
    rule: str | None,
    since: datetime | None,
    *,
    trouble: bool,
    as_json: bool,
) -> None:
    """Follow what happens in the running daemon, until Ctrl-C.

    Events as they are accepted, every attempt with what came of it, what is refused, held, released, paused and
    reloaded. When the daemon restarts it goes on by itself, where it was.
    """
    settings = open_settings(config_path)
    said = {
        "source": source,
        "type": type_,
        "tenant": tenant,
        "destination": destination,
        "rule": rule,
        "trouble": "true" if trouble else None,
        "since": None if since is None else since.isoformat(),
    }
    asked = {name: value for name, value in said.items() if value is not None}
    client = calling(settings, timeout=_SILENT_S)
    try:
        for told in _followed(client, settings, asked):
            click.echo(json.dumps(told) if as_json else line_of(told, now=datetime.now(UTC)))
    except KeyboardInterrupt:
        # That is how one ends it.
        return
    finally:
        client.close()


def _followed(client: ApiClient, settings: Settings, asked: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Return what is told, across restarts of the daemon."""
    last: str | None = None
    was_there, is_gone, wait_s = False, False, _FIRST_WAIT_S
    while True:
        try:
            reply = client.follow(f"stream?{urlencode(asked)}", {} if last is None else {"Last-Event-ID": last})
        except ApiError as error:
            if not was_there or error.status != http.client.SERVICE_UNAVAILABLE:
                fail(str(error))
        except NoAnswerError as error:
            if not was_there:
                fail(no_answer(settings, error))
        else:
            if is_gone:
                click.echo("The daemon is back.", err=True)
            was_there, is_gone, wait_s = True, False, _FIRST_WAIT_S
            # Where to go on if it breaks off before the first event; after one, its id goes before this.
            asked.setdefault("since", datetime.now(UTC).isoformat())
            for event_id, told in _until_broken(reply):
                last = event_id or last
                yield told
        if not is_gone:
            click.echo(f"The daemon at {settings.admin.listen} is gone; waiting for it.", err=True)
        is_gone = True
        time.sleep(wait_s)
        wait_s = min(wait_s * 2, _LONGEST_WAIT_S)


def _until_broken(reply: http.client.HTTPResponse) -> Iterator[tuple[str | None, dict[str, Any]]]:
    try:
        yield from read(iter(reply.readline, b""))
    except (OSError, http.client.HTTPException):
        # It ended in the middle: as if it had ended.
        return
    except ValueError as error:
        fail(str(error))
