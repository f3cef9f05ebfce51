"""`hookline send`: a correctly signed sample, so that a rule can be tried without waiting for the sender."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, open_settings
from hookline.daemon.commands.output import EXIT_FINDINGS, EXIT_USAGE, fail, print_json, styled
from hookline.daemon.commands.source_names import no_source
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.daemon.sources.learned import FileLearnedSecrets, learned_secrets_folder
from hookline.daemon.sources.port import RequestRejected
from hookline.daemon.sources.samples import Sample, forge, make_sample, sample_types
from hookline.daemon.sources.shared_secrets import LEARNED, secrets_of
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError

#: What a forged sample is answered if all is well: not proven, not allowed, or no such path.
_REFUSED = frozenset({401, 403, 404})


@click.command()
@click.argument("source")
@click.argument("event_type", metavar="[TYPE]", required=False)
@config_option
@json_option
@click.option("--file", "file", type=click.File("rb"), help="Send this body instead of a sample; - for stdin.")
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Change the body: --set data.total=5000")
@click.option("--duplicate", is_flag=True, help="Send it twice.")
@click.option("--forge", "forged", is_flag=True, help="Send it with a wrong signature; exit 0 if it is refused.")
@click.option("--types", "lists_types", is_flag=True, help="List the types of SOURCE's samples, and send nothing.")
def send(
    source: str,
    event_type: str | None,
    config_path: Path | None,
    file: Any,
    changes: tuple[str, ...],
    *,
    as_json: bool,
    duplicate: bool,
    forged: bool,
    lists_types: bool,
) -> None:
    """Send a signed sample of SOURCE to the running daemon: one of TYPE, or the first there is."""
    settings = open_settings(config_path)
    if source not in settings.sources:
        fail(no_source(settings, source), EXIT_USAGE)
    if lists_types:
        _list_types(settings, source, as_json=as_json)
        return
    if duplicate and forged:
        fail("--duplicate and --forge: what is refused has no duplicate. Take one of the two away.", EXIT_USAGE)
    sample = _make(settings, source, event_type, file.read() if file else None, changes)
    if forged:
        _send_forged(settings, source, sample, as_json=as_json)
        return
    status, answer = 0, None
    for _ in range(2 if duplicate else 1):
        status, answer = post(settings, sample)
        _show(status, answer, as_json=as_json)
    if status >= 300:
        raise SystemExit(EXIT_FINDINGS)
    if not (isinstance(answer, dict) and "ids" in answer):
        # What this sender is answered says nothing about its events.
        click.echo(f"What became of it: {again(f'events --source {source}', config_path)}", err=True)
        return
    if duplicate:
        click.echo(_said_of_second(answer), err=True)
    for event_id in answer["ids"]:
        click.echo(f"What the rules did with it: {again(f'explain {event_id}', config_path)}", err=True)


class _KeptSecrets:
    """What senders brought themselves, read when a sample has to be signed with it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def known(self, source: str) -> tuple[str, ...]:
        """Return the secrets that a source has learned. Raises `StoreError` if they cannot be read."""
        store = self._settings.store
        if isinstance(store, PostgresDatabase):
            return anyio.run(_ask_for_secrets, store, source)
        kept = FileLearnedSecrets(learned_secrets_folder(self._settings.state))
        kept.load()
        return kept.known(source)

    def is_waiting(self, source: str) -> bool:
        """Say whether a source has no secret yet. Raises `StoreError` if that cannot be read."""
        return not self.known(source)

    async def refresh(self, *, at_once: bool = False) -> None:
        """Do nothing: they are read each time."""

    async def learn(self, source: str, secret: str) -> None:
        """Refuse it: only the daemon learns."""
        raise RequestRejected("handshake", 403, "only the daemon learns")


async def _ask_for_secrets(place: PostgresDatabase, source: str) -> tuple[str, ...]:
    # Not needed, and not there, where the store is a file.
    from hookline.daemon.store.postgres.secrets import kept
    from hookline.daemon.store.postgres.visiting import visited

    async with visited(place) as server:
        return () if server is None else secrets_of((await kept(server, LEARNED))[1], source)


def _make(
    settings: Settings, source: str, event_type: str | None, body: bytes | None, changes: tuple[str, ...]
) -> Sample:
    try:
        return make_sample(
            settings.sources[source],
            event_type,
            now=datetime.now(UTC),
            body=body,
            changes=changes,
            public_url=settings.public_url,
            types=settings.source_types,
            learned=_KeptSecrets(settings),
        )
    except (ValueError, StoreError) as error:
        said = str(error)
        fail(said if said.endswith("?") else f"{said}.", EXIT_USAGE)


def _list_types(settings: Settings, source: str, *, as_json: bool) -> None:
    kind = settings.sources[source].type
    types = sample_types(kind, settings.source_types)
    if as_json:
        print_json(types)
        return
    click.echo("\n".join(types) or f"No samples of type {kind}: any TYPE is put where the source reads it.")


def _send_forged(settings: Settings, source: str, sample: Sample, *, as_json: bool) -> None:
    if not sample.is_proved:
        fail(
            f"Nothing to forge: anybody may send to {source}, which says `verify: none` and has no path_token.",
            EXIT_USAGE,
        )
    status, answer = post(settings, forge(sample))
    _show(status, answer, as_json=as_json)
    if status not in _REFUSED:
        click.echo(f"NOT refused as a forgery ({status}): does the daemon run with this configuration?", err=True)
        raise SystemExit(EXIT_FINDINGS)
    click.echo("Refused, as a forgery should be: nothing was stored.", err=True)


def _show(status: int, answer: Any, *, as_json: bool) -> None:
    if as_json:
        print_json({"status": status, "answer": answer})
        return
    said = printable(answer) if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    click.echo(f"{styled(str(status), 'good' if status < 300 else 'bad')} {said}".rstrip())


def _said_of_second(answer: dict[str, Any]) -> str:
    events, duplicates = len(answer["ids"]), int(answer.get("duplicates", 0))
    if duplicates == events:
        return "The second is a duplicate of the first: the rules ran once." if events else "It holds no events."
    return f"NOT a duplicate: {events - duplicates} of {events} events are new, so their keys differ."


def post(settings: Settings, sample: Sample) -> tuple[int, Any]:
    """Send a sample to the daemon's public listener; return status and answer: JSON as it is, all else as text."""
    address = next((one for one in settings.listen if one.port), None)
    if address is None:
        fail("The daemon listens on a Unix socket only; send needs a port.")
    host = "127.0.0.1" if address.host in {"0.0.0.0", "::"} else address.host  # noqa: S104 - it is compared
    where = f"http://{f'[{host}]' if host and ':' in host else host}:{address.port}{sample.path}"
    data = sample.body or None if sample.method in {"GET", "HEAD"} else sample.body
    request = urllib.request.Request(where, data=data, headers=dict(sample.headers), method=sample.method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(request, timeout=30) as reply:
            return reply.status, _read(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, _read(error.read())
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        fail(f"The daemon does not answer at {address} ({reason}). Is it running? hookline run -c {settings.path}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A source may be declared to answer 3xx by mistake: what was signed is sent nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _read(body: bytes) -> Any:
    try:
        return json.loads(body) if body else ""
    except ValueError:
        return body.decode("utf-8", "replace")
