"""What commands print: tables, JSON, colors where they help, and errors that name the next step."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TextIO

import click

from hookline.daemon.log import printable
from hookline.rules import Problem
from hookline.rules.problem import with_excerpt

EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78

_STYLES = {"good": "green", "bad": "red", "warn": "yellow", "faint": "bright_black", "step": "cyan"}


def has_color(stream: TextIO) -> bool:
    """Say whether `stream` is a terminal that wants color (see no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Color `text` if the stream shows color; the words are the same without."""
    return click.style(text, fg=_STYLES[style]) if has_color(stream or sys.stdout) else text


def fail(message: str, code: int = EXIT_FINDINGS) -> NoReturn:
    """Say on stderr what went wrong and what to do, and end."""
    click.echo(message, err=True)
    sys.exit(code)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    # A lone surrogate, which senders may write, has no UTF-8; as an escape it is JSON again.
    click.echo(text.encode("utf-8", "backslashreplace").decode())


def print_problems(problems: Sequence[Problem], texts: Mapping[str, str], *, stream: TextIO) -> None:
    """Print each problem, on a terminal with its line and a caret."""
    for problem in problems:
        text = with_excerpt(problem, texts) if stream.isatty() else str(problem)
        head, _, rest = text.partition("\n")
        style = {"error": "bad", "warning": "warn"}.get(problem.severity, "faint")
        click.echo(styled(printable(head), style, stream) + (f"\n{rest}" if rest else ""), file=stream)


def print_table(rows: Iterable[Sequence[str]], headers: Sequence[str]) -> None:
    """Print rows under headers, columns as wide as they need; a terminal's last column is cut to fit."""
    lines = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(headers, *lines, strict=True)]
    room = terminal_width()
    for number, line in enumerate([list(headers), *lines]):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        text = text if len(text) <= room else f"{text[: room - 1]}…"
        click.echo(styled(text, "faint") if number == 0 else text)


def terminal_width() -> int:
    """Return how wide lines may be; in a pipe nothing is cut or wrapped."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def ago(moment: datetime, now: datetime | None = None) -> str:
    """Say how long ago, or in how long, in one unit."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    text = span(timedelta(seconds=abs(seconds)))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def span(duration: timedelta) -> str:
    """Say how long in the largest unit that leaves a number of at least 1."""
    seconds = duration.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def stamp(moment: datetime) -> str:
    """Write a time as people compare it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
