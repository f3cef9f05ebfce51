"""`hookline send`: a correctly signed sample, so that a rule can be tried without waiting for the sender."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, open_settings
from hookline.daemon.commands.output import EXIT_FINDINGS, EXIT_USAGE, fail, print_json, styled
from hookline.daemon.config.settings import Settings
from hookline.daemon.sources.samples import Sample, forge, make_sample, sample_types


@click.command()
@click.argument("source")
@click.argument("event_type", metavar="[TYPE]", required=False)
@config_option
@json_option
@click.option("--file", "file", type=click.File("rb"), help="Send this body instead of a sample; - for stdin.")
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Change the body: --set data.total=5000")
@click.option("--duplicate", is_flag=True, help="Send it twice.")
@click.option("--forge", "forged", is_flag=True, help="Send it with a wrong signature.")
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
) -> None:
    """Send a signed sample of SOURCE to the running daemon: one of TYPE, or the first there is."""
    settings = open_settings(config_path)
    if source not in settings.sources:
        fail(f"No source {source!r}; there are: {', '.join(settings.sources) or 'none'}.", EXIT_USAGE)
    body = file.read() if file else None
    try:
        sample = make_sample(settings.sources[source], event_type, now=datetime.now(UTC), body=body)
        if changes:
            changed = apply_changes(sample.body, changes)
            sample = make_sample(settings.sources[source], event_type, now=datetime.now(UTC), body=changed)
    except ValueError as error:
        types = ", ".join(sample_types(settings.sources[source].type))
        fail(f"{error}. Samples of {source}: {types or 'none; give a body with --file'}", EXIT_USAGE)
    if forged:
        sample = forge(sample)
    for _ in range(2 if duplicate else 1):
        status, answer = post(settings, sample)
        if as_json:
            print_json({"status": status, "answer": answer})
        else:
            click.echo(
                f"{styled(str(status), 'good' if status < 300 else 'bad')} {json.dumps(answer, ensure_ascii=False)}"
            )
    if status >= 300:
        raise SystemExit(EXIT_FINDINGS)
    for event_id in answer.get("ids", []) if isinstance(answer, dict) else []:
        click.echo(f"What the rules did with it: {again(f'explain {event_id}', config_path)}", err=True)


def apply_changes(body: bytes, changes: tuple[str, ...]) -> bytes:
    """Set values in a JSON body: `data.total=5000`; a value that is JSON is taken as such, any other as text.

    Raises `ValueError` naming the change that cannot be made.
    """
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ValueError(f"--set needs a JSON body ({error})") from error
    for change in changes:
        path, separator, text = change.partition("=")
        if not separator:
            raise ValueError(f"--set {change}: write PATH=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *steps, last = path.removeprefix("$.").split(".")
        at = document
        for step in steps:
            at = _child(at, step, change)
        if isinstance(at, list) and last.isdigit() and int(last) < len(at):
            at[int(last)] = value
        elif isinstance(at, dict):
            at[last] = value
        else:
            raise ValueError(f"--set {change}: there is no object at {'.'.join(steps) or '$'}")
    return json.dumps(document, ensure_ascii=False).encode()


def _child(at: Any, step: str, change: str) -> Any:
    if isinstance(at, dict):
        return at.setdefault(step, {})
    if isinstance(at, list) and step.isdigit() and int(step) < len(at):
        return at[int(step)]
    raise ValueError(f"--set {change}: nothing at {step!r}")


def post(settings: Settings, sample: Sample) -> tuple[int, Any]:
    """Post a sample to the daemon's public listener; return status and answer."""
    address = next((one for one in settings.listen if one.port), None)
    if address is None:
        fail("The daemon listens on a Unix socket only; send needs a port.")
    host = "127.0.0.1" if address.host in {"0.0.0.0", "::"} else address.host  # noqa: S104 - it is compared
    where = f"http://{f'[{host}]' if host and ':' in host else host}:{address.port}{sample.path}"
    request = urllib.request.Request(where, data=sample.body, headers=dict(sample.headers), method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as reply:
            return reply.status, _read(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, _read(error.read())
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        fail(f"The daemon does not answer at {address} ({reason}). Is it running? hookline run -c {settings.path}")


def _read(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError:
        return body.decode("utf-8", "replace")
