"""What `replay` and `cancel` share: which deliveries are meant, what would happen, and whether it may."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click

from hookline.daemon.commands.opening import ask_daemon
from hookline.daemon.commands.output import EXIT_USAGE, fail, print_table, span
from hookline.daemon.config.settings import Settings
from hookline.daemon.ids import decode
from hookline.daemon.replaying.request import MAX_IDS

#: Beside what it takes to answer at all: so many deliveries are made in a second at the least.
_A_SECOND = 200
_LEAST_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which deliveries are meant, where they are not named; every field narrows."""

    status: str | None = None
    source: str | None = None
    destination: str | None = None
    rule: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def to_json(self) -> dict[str, str]:
        """Return what was said, as the admin API reads it."""
        said = {
            "state": self.status,
            "source": self.source,
            "destination": self.destination,
            "rule": self.rule,
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
        }
        return {name: value for name, value in said.items() if value}


def read_asked(ids: tuple[str, ...], where: Filter, *, prefixes: Mapping[str, str]) -> dict[str, Any]:
    """Return the ids, or the filter, as the admin API reads them; `prefixes`: the key that ids of a kind stand under.

    Ends with a word about it if neither or both are given.
    """
    picked = where.to_json()
    if bool(ids) == bool(picked):
        fail("Name them, or pick them: --status dead, --destination NAME, --since 1h.", EXIT_USAGE)
    if picked:
        return {"filter": picked}
    if len(ids) > MAX_IDS:
        fail(f"These are {len(ids):,} ids; at most {MAX_IDS:,} can be named: pick them by --since and --destination.")
    asked: dict[str, Any] = {key: [] for key in prefixes.values()}
    for one in ids:
        prefix = one.partition("_")[0]
        if prefix not in prefixes:
            fail(f"{one!r} is none of {', '.join(f'{known}_…' for known in prefixes)}.", EXIT_USAGE)
        try:
            decode(prefix, one)
        except ValueError as error:
            fail(f"{error}.", EXIT_USAGE)
        asked[prefixes[prefix]].append(one)
    return {key: named for key, named in asked.items() if named}


def ask_many(settings: Settings, path: str, asked: Mapping[str, Any], *, count: int) -> Any:
    """Have the daemon do it, however long so many take."""
    return ask_daemon(settings, path, asked, timeout=_LEAST_S + count / _A_SECOND)


def print_preview(preview: Mapping[str, Any]) -> None:
    """Print what would be done: the first ones, and how many more."""
    rows = [
        [
            one["delivery"] or one["event"],
            one["source"],
            one["event_type"],
            one["rule"] or "fallback",
            one["destination"],
            one["state"] or "new",
        ]
        for one in preview["sample"]
    ]
    if rows:
        print_table(rows, ["event" if preview["of"] == "events" else "delivery", "source", "type", "rule",
                           "destination", "state"])  # fmt: skip
    if preview["of"] == "deliveries" and preview["count"] > len(rows):
        click.echo(f"… and {preview['count'] - len(rows):,} more")


def lasts(answer: Mapping[str, Any]) -> str:
    """Say how long it takes until the last is due, if that is worth a word."""
    took = timedelta(seconds=answer["lasts_s"])
    return f" over {span(took)}" if took >= timedelta(seconds=1) else ""


def confirm(question: str, *, otherwise: str) -> None:
    """Ask on a terminal; elsewhere say what to add, and end."""
    if not sys.stdin.isatty():
        fail(f"{question} {otherwise}", EXIT_USAGE)
    click.confirm(question, abort=True, err=True)
