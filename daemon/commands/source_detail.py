"""Prints one source with everything: what came, what was refused and what to do about it, and how to set it up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from textwrap import wrap

import click

from hookline.daemon.commands.opening import again
from hookline.daemon.commands.output import ago, span, stamp, styled, terminal_width
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.daemon.sources.fragment import fragment
from hookline.daemon.sources.proof_text import proof_text
from hookline.daemon.sources.refusals import Refusal
from hookline.daemon.sources.report import MOST_KEPT, SourceReport
from hookline.daemon.sources.sample_files import sample_names
from hookline.daemon.sources.source_type import SourceType
from hookline.rules.units import format_duration

_WIDEST = 110


def print_source(
    report: SourceReport, kind: SourceType, settings: Settings, config_path: Path | None, now: datetime
) -> None:
    """Print it on stdout, the answer first."""
    click.echo(f"{report.name}  {report.type}: {report.title}, proved by {proof_text(kind)}")
    for label, text in _facts(report, settings, now):
        click.echo(f"  {label:12} {text}")
    for refusal in report.refusals:
        _print_refusal(refusal, report, now)
    if report.learned is not None:
        _print_secrets(report, config_path)
    if kind.setup:
        click.echo(f"\nSet up {kind.title}")
        for number, step in enumerate(kind.steps(report.name, report.url), 1):
            _print_wrapped(step, f"  {number}. ")
    if kind.about:
        click.echo("")
        _print_wrapped(kind.about, "  ")
    samples = sample_names(kind)
    if samples:
        click.echo("")
        _print_wrapped(f"Samples: {', '.join(samples)}. Send one: {again(f'send {report.name}', config_path)}", "  ")


def print_type(kind: SourceType) -> None:
    """Print all about a source type: what to write, where to paste what, its options, what it sends."""
    click.echo(f"{kind.name}: {kind.title}, proved by {proof_text(kind)}\n")
    _print_wrapped(kind.about, "  ")
    if kind.code is None:
        click.echo("\nIn hookline.yaml:")
        for line in fragment(kind, name=kind.name, public_url="https://hooks.example.com").splitlines():
            click.echo(f"  {line}")
    click.echo(f"\nSet up {kind.title}")
    for number, step in enumerate(kind.steps(kind.name, f"https://hooks.example.com/hooks/{kind.name}"), 1):
        _print_wrapped(step, f"  {number}. ")
    for title, lines in (("Options", _options(kind)), ("Events", _events(kind))):
        if lines:
            click.echo(f"\n{title}")
        for line in lines:
            _print_wrapped(line, "  ")


def _options(kind: SourceType) -> list[str]:
    lines = []
    for name, slot in kind.options.items():
        needed = " (required)" if slot.is_required else " (one of these)" if name in kind.one_of else ""
        values = f": {', '.join(slot.values)}" if slot.values and not slot.about.startswith("true:") else ""
        lines.append(f"{name}{needed}: {slot.about}{values}")
    return lines


def _events(kind: SourceType) -> list[str]:
    types = [f"types: {', '.join(kind.event_types)}"] if kind.event_types else []
    samples = sample_names(kind)
    return [*types, f"samples: {', '.join(samples)}"] if samples else types


def _facts(report: SourceReport, settings: Settings, now: datetime) -> Iterator[tuple[str, str]]:
    hint = "" if report.is_public else f"   (where the daemon listens: public_url is not in {settings.path})"
    yield "URL", f"{printable(report.url)}{hint}"
    if report.unset:
        yield "secrets", styled(f"not set here: {', '.join(report.unset)}", "warn")
    last = report.activity
    if last is None:
        yield "last event", "never"
    else:
        yield "last event", f"{ago(last.last_at, now)}, {printable(last.last_type)}  {last.last_event_id}"
        yield "last 24 h", f"{last.events} {'event' if last.events == 1 else 'events'}"
    if report.pause is not None:
        how = "was told to go on" if report.is_resuming else f"since {stamp(report.pause.since)}"
        why = f": {printable(report.pause.reason)}" if report.pause.reason else ""
        yield "paused", f"{styled(how, 'warn')}, {kept_text(report)}{why}"
    if report.expect_every is not None:
        text = f"every {format_duration(report.expect_every)}"
        if last is not None and report.is_silent(now):
            text += ": " + styled(f"silent since {stamp(last.last_at)}, {span(now - last.last_at)}", "warn")
        yield "expected", text
    if not report.refusals:
        yield "refused", "nothing"


def kept_text(report: SourceReport) -> str:
    """Say how many events wait for the end of its pause."""
    more = " or more" if report.kept >= MOST_KEPT else ""
    return f"{report.kept:,}{more} {'event' if report.kept == 1 and not more else 'events'} kept"


def _print_refusal(refusal: Refusal, report: SourceReport, now: datetime) -> None:
    times = f"first {stamp(refusal.first_at)}, last {ago(refusal.last_at, now)}"
    if refusal.count == 1:
        times = ago(refusal.last_at, now)
    place = f", from {printable(refusal.client_ip)}" if refusal.client_ip else ""
    click.echo(f"  refused      {styled(f'{refusal.count}x {refusal.reason}', 'bad')}, {times}{place}")
    _print_wrapped(refusal.what, " " * 15)
    _print_wrapped(f"-> {refusal.next_step(report.name, signs_url=report.signs_url)}", " " * 15)


def _print_secrets(report: SourceReport, config_path: Path | None) -> None:
    told = f"  learned      {report.learned} {'secret' if report.learned == 1 else 'secrets'} from its sender"
    if report.is_waiting:
        click.echo(f"{told}; " + styled("takes the next one that comes", "warn"))
    else:
        click.echo(f"{told}. To take another: {again(f'sources {report.name} --await', config_path)}")


def _print_wrapped(text: str, lead: str) -> None:
    # A URL stays in one piece: it is there to be copied.
    width = min(terminal_width(), _WIDEST)
    lines = wrap(
        printable(" ".join(text.split())),
        width,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines:
        click.echo(line)
