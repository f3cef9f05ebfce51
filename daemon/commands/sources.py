"""`hookline sources`: what to paste where, what came last, and what was refused and why."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import anyio
import click

from hookline.daemon.api.shapes.sources import refusal_shape, source_shape, type_json
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, ask_daemon, hear_daemon, looking, open_settings
from hookline.daemon.commands.output import EXIT_USAGE, ago, fail, print_json, print_table, span, stamp, styled
from hookline.daemon.commands.source_detail import kept_text, print_source, print_type
from hookline.daemon.commands.source_names import no_source
from hookline.daemon.config.load import ConfigError, find_config, load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.daemon.sources.proof_text import proof_text
from hookline.daemon.sources.refusals import Refusal, refusals
from hookline.daemon.sources.report import LATELY, SourceReport, Told, source_reports
from hookline.daemon.sources.source_type import SourceType
from hookline.daemon.sources.types import BUILT_IN, SourceTypes
from hookline.rules.suggestion import did_you_mean

#: Requests to paths of no source are counted under no name.
_NOBODY = ""


@click.command()
@click.argument("name", required=False)
@config_option
@json_option
@click.option("--types", "lists_types", is_flag=True, help="List all source types; with NAME, all about one.")
@click.option("--await", "awaits", is_flag=True, help="Let NAME take another secret of its sender's, for ten minutes.")
@click.option("--forget", "forgets", is_flag=True, help="Forget the secrets that NAME's sender brought.")
@click.option("--pause", "pauses", is_flag=True, help="Keep what NAME sends, and match none of it until --resume.")
@click.option("--resume", "resumes", is_flag=True, help="Route what NAME sent while it was paused, then go on.")
@click.option("--reason", default="", help="With --pause: why, for whoever looks at it.")
def sources(
    name: str | None,
    config_path: Path | None,
    *,
    as_json: bool,
    lists_types: bool,
    awaits: bool,
    forgets: bool,
    pauses: bool,
    resumes: bool,
    reason: str,
) -> None:
    """Show all sources, or one with everything: its whole URL, what was refused and why, and how to set it up.

    What a paused source sends is verified, stored and answered as always; none of it is lost, and its order is kept.
    """
    if lists_types + awaits + forgets + pauses + resumes > 1:
        fail("--types, --await, --forget, --pause and --resume: one at a time.", EXIT_USAGE)
    if reason and not pauses:
        fail("--reason goes with --pause.", EXIT_USAGE)
    if lists_types:
        _list_types(_known_types(config_path), name, as_json=as_json)
        return
    # Secrets may be missing: some senders show theirs only once they have been given the URL.
    settings = open_settings(config_path, offline=True)
    if pauses or resumes:
        if name is None:
            fail(f"Name a source: hookline sources NAME --{'pause' if pauses else 'resume'}", EXIT_USAGE)
        _set_paused(settings, name, config_path, as_json=as_json, reason=reason if pauses else None)
        return
    if name is not None and name not in settings.sources:
        fail(no_source(settings, name), EXIT_USAGE)
    if awaits or forgets:
        if name is None:
            fail("Name a source: hookline sources NAME --await", EXIT_USAGE)
        _ask_about_secrets(settings, name, config_path, as_json=as_json, awaits=awaits)
    elif name is None:
        anyio.run(_list, settings, config_path, as_json)
    else:
        anyio.run(_show, settings, name, config_path, as_json)


def _ask_about_secrets(settings: Settings, name: str, config_path: Path | None, *, as_json: bool, awaits: bool) -> None:
    said = ask_daemon(settings, f"sources/{quote(name, safe='')}/{'await' if awaits else 'forget'}", {})
    if as_json:
        print_json(said)
    elif awaits:
        click.echo(f"{name} takes one more secret within ten minutes: make the webhook at its sender now.")
    else:
        count = said["forgotten"]
        what = f"{count} {'secret' if count == 1 else 'secrets'}"
        click.echo(f"{name} has forgotten {what}, and takes the next that comes.")
        click.echo(f"Make its webhooks anew; then: {again(f'sources {name}', config_path)}", err=True)


def _set_paused(settings: Settings, name: str, config_path: Path | None, *, as_json: bool, reason: str | None) -> None:
    """Pause a source for a reason, or let it go on (None). One that is paused may not be configured any more."""
    verb, body = ("resume", {}) if reason is None else ("pause", {"reason": reason or "paused by hand"})
    said = ask_daemon(settings, f"sources/{quote(name, safe='')}/{verb}", body)
    if as_json:
        print_json(said)
    elif reason is not None:
        click.echo(
            f"{name} is paused: what it sends is kept. To go on: {again(f'sources {name} --resume', config_path)}"
        )
    elif said["paused"] is None:
        click.echo(f"{name} is not paused.")
    else:
        click.echo(f"{name} goes on: what was kept is routed first, oldest first: {again('sources', config_path)}")


def _told_by_daemon(settings: Settings) -> Told | None:
    """Return what a running daemon says of its sources; None if none answers."""
    said = hear_daemon(settings, "sources")
    if said is None:
        return None
    rows = said.get("sources", ()) if isinstance(said, dict) else ()
    return {row["name"]: row for row in rows if isinstance(row, dict) and "name" in row}


async def _list(settings: Settings, config_path: Path | None, as_json: bool) -> None:  # noqa: FBT001
    now = datetime.now(UTC)
    async with looking(settings) as reader:
        told = _told_by_daemon(settings)
        reports = await source_reports(settings, reader, tuple(settings.sources), now, told or {})
        unknown = await refusals(reader, _NOBODY, since=now - LATELY) if reader else ()
        gone = sorted({*await reader.paused()} - settings.sources.keys()) if reader else []
    if as_json:
        print_json(
            {
                "sources": [source_shape(report, now) for report in reports],
                "unknown": [refusal_shape(refusal, _NOBODY) for refusal in unknown],
            }
        )
        return
    if not reports:
        click.echo(f"No sources in {settings.path}. What there is: {again('sources --types', config_path)}", err=True)
        return
    print_table([_row(report) for report in reports], ["source", "type", "URL to paste", "last event", "24 h"])
    lines = [line for report in reports for line in _findings(report, now)]
    for name in gone:
        resume = again(f"sources {name} --resume", config_path)
        told_so = styled(f"{name}: paused, and not configured any more", "warn")
        lines.append(f"{told_so}: what it sent is kept: {resume}")
    lines += _unset(reports)
    lines += [_unknown(refusal) for refusal in unknown if refusal.reason == "path" and refusal.count_lately]
    if lines:
        click.echo("")
    for line in lines:
        click.echo(line)
    if not all(report.is_public for report in reports):
        click.echo("public_url is not set: these URLs are where the daemon listens.", err=True)
    elif any(report.url.startswith("http:") for report in reports):
        click.echo("A URL above begins with http: most senders call https alone.", err=True)
    if told is None:
        _tell_of_silence(settings)
    shown = next((report for report in reports if any(one.count_lately for one in report.refusals)), reports[0])
    click.echo(f"Causes, what to do, and how to set up: {again(f'sources {shown.name}', config_path)}", err=True)


def _tell_of_silence(settings: Settings) -> None:
    click.echo(
        f"The daemon does not answer at {settings.admin.listen}: it is not running, or this user cannot read its "
        f"token. Start it: hookline run -c {settings.path}",
        err=True,
    )


def _row(report: SourceReport) -> list[str]:
    last = report.activity
    seen = "never" if last is None else f"{ago(last.last_at)}  {last.last_type}"
    return [report.name, report.type, report.masked_url, seen, str(last.events if last else 0)]


def _findings(report: SourceReport, now: datetime) -> list[str]:
    """Say what should be looked at, each with its next step."""
    name = report.name
    found = []
    if report.pause is not None:
        since = (
            f"{name}: {'resuming, was paused' if report.is_resuming else 'paused'} since {stamp(report.pause.since)}"
        )
        found.append(f"{styled(since, 'warn')}: {kept_text(report)}, {printable(report.pause.reason)}".rstrip(", "))
    if report.is_waiting:
        found.append(styled(f"{name}: waits for its sender's secret", "warn") + ": make the webhook there")
    if report.activity and report.expect_every and report.is_silent(now):
        since, every = stamp(report.activity.last_at), span(report.expect_every)
        found.append(styled(f"{name}: silent since {since}", "warn") + f", expected every {every}")
    for refusal in report.refusals:
        if refusal.count_lately:
            when = ago(refusal.last_at, now) + (f" from {printable(refusal.client_ip)}" if refusal.client_ip else "")
            told = styled(f"{name}: {refusal.count_lately} refused in 24 h ({refusal.reason})", "bad")
            found.append(f"{told}, the last {when}: {refusal.what}")
    return found


def _unset(reports: list[SourceReport]) -> list[str]:
    missing = [f"{', '.join(report.unset)} ({report.name})" for report in reports if report.unset]
    if not missing:
        return []
    # The daemon may well have them: systemd gives them to it alone.
    return [styled(f"not set here: {', '.join(missing)}", "warn") + "; the daemon does not start without them"]


def _unknown(refusal: Refusal) -> str:
    place = f" from {printable(refusal.client_ip)}" if refusal.client_ip else ""
    told = f"unknown paths: {refusal.count_lately} in 24 h, the last {ago(refusal.last_at)}{place}"
    return f"{told}: if a sender is silent, compare its URL with those above"


async def _show(settings: Settings, name: str, config_path: Path | None, as_json: bool) -> None:  # noqa: FBT001
    now = datetime.now(UTC)
    async with looking(settings) as reader:
        told = _told_by_daemon(settings)
        (report,) = await source_reports(settings, reader, (name,), now, told or {})
    kind = settings.source_types.get(report.type)
    if as_json:
        print_json({**source_shape(report, now, with_token=True), **type_json(kind)})
        return
    print_source(report, kind, settings, config_path, now)
    if told is None:
        _tell_of_silence(settings)


def _known_types(config_path: Path | None) -> SourceTypes:
    """Return a configuration's own types as well, if there is one."""
    if config_path is not None:
        return open_settings(config_path, offline=True).source_types
    try:
        return load_settings(find_config(None, os.environ), environ=os.environ, offline=True).source_types
    except ConfigError:
        return BUILT_IN


def _list_types(types: SourceTypes, only: str | None, *, as_json: bool) -> None:
    if only is not None and only not in types:
        near = did_you_mean(only, types.names) or f"there are: {', '.join(types.names)}."
        fail(f"No source type {only!r}; {near}", EXIT_USAGE)
    found = [types.get(name) for name in types.names if only in (None, name)]
    if as_json:
        print_json([type_json(kind) for kind in found])
        return
    if only is not None:
        print_type(found[0])
        return
    rows = [[kind.name, kind.title, proof_text(kind), _options(kind)] for kind in found]
    print_table(rows, ["type", "system", "what proves the sender", "options (* required)"])
    click.echo("One with everything: hookline sources --types TYPE", err=True)


def _options(kind: SourceType) -> str:
    return ", ".join(f"{name}*" if slot.is_required else name for name, slot in kind.options.items())
