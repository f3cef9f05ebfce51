"""Destinations as people read them: a line each, or one with its limits and what waits and failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from hookline.daemon.api.shapes.deliveries import said_of
from hookline.daemon.api.shapes.destinations import limits_of
from hookline.daemon.commands.delivery_text import state_of
from hookline.daemon.commands.opening import again
from hookline.daemon.commands.output import ago, print_table, span, stamp, styled
from hookline.daemon.config.settings import Destination, Settings
from hookline.daemon.destinations.limits import limit_text
from hookline.daemon.log import printable
from hookline.daemon.store.stored import StoredDelivery

_HEADERS = ["destination", "action", "state", "waiting", "oldest", "running", "24 h", "last delivered"]
_GOOD = {"ok", "ramping", "limited"}
_HOUR = timedelta(hours=1)
_ANSWER_SHOWN = 200


def print_destinations(states: Sequence[Mapping[str, Any]], settings: Settings, config_path: Path | None) -> None:
    """Print a line each, then what should be looked at with its next step."""
    if not states:
        click.echo(f"No destinations in {settings.path}, and nothing waits for an action in place.", err=True)
        return
    now = datetime.now(UTC)
    print_table([_row(state, now) for state in states], _HEADERS)
    for state in states:
        for step in _steps(state, config_path):
            click.echo(step, err=True)


def print_destination(
    state: Mapping[str, Any],
    settings: Settings,
    waiting: Sequence[StoredDelivery],
    failed: Sequence[StoredDelivery],
    config_path: Path | None,
) -> None:
    """Print one with its limits, what is due next, and what failed last."""
    now = datetime.now(UTC)
    place = f", in place in {state['rule'] or 'fallback'}" if state["rule"] is not None else ""
    told = styled(_told(state, now), "good" if state["state"] in _GOOD else "bad")
    click.echo(f"{state['destination']}  {state['action']}{place}: {told}")
    for name, value in _facts(state, settings.destinations.get(state["destination"]), now):
        click.echo(f"  {name:14} {printable(value)}")
    if waiting:
        click.echo("  next:")
    for one in waiting:
        again_after = f", after {said_of(one.last_attempt)}" if one.last_attempt else ""
        click.echo(f"    {one.id}  {printable(one.event_type)}  {state_of(one, now)}{printable(again_after)}")
    if failed:
        click.echo("  last failures:")
    for one in failed:
        attempt = one.last_attempt
        assert attempt is not None  # noqa: S101 - it failed
        line = f"{one.id}  {stamp(attempt.started_at)}  {attempt.outcome}  {said_of(attempt)}"
        click.echo(f"    {printable(line)}")
        if attempt.answer:
            click.echo(f"      answer: {printable(attempt.answer[:_ANSWER_SHOWN])}")
    for step in _steps(state, config_path):
        click.echo(step, err=True)


def _row(state: Mapping[str, Any], now: datetime) -> list[str]:
    oldest = _moment(state["oldest_due_at"])
    name = state["destination"] + ("" if state["rule"] is None else f" ({state['rule'] or 'fallback'})")
    return [
        name,
        state["action"] or "?",
        _told(state, now),
        str(state["waiting"]),
        span(now - oldest) if oldest is not None and oldest < now else "",
        str(state["running"]),
        _share(state),
        _last(state, now),
    ]


def _told(state: Mapping[str, Any], now: datetime) -> str:  # noqa: PLR0911 - a table
    """Say how it stands."""
    live = state["live"] or {}
    since = _moment(state["failing_since"])
    failing = f", failing since {stamp(since)}" if since else ""
    match state["state"]:
        case "held":
            return f"held: {state['reason'] or 'by hand'}"
        case "maintenance":
            return f"maintenance until {_shown(live['maintenance_until'])}"
        case "open":
            return f"down, tries again {_when(live['tries_at'], now)}{failing}"
        case "probing":
            return f"down, tries again now{failing}"
        case "failing":
            return failing.removeprefix(", ")
        case "ramping":
            return f"ok, coming back: {live['limit']} of {live['concurrency']} at one time"
        case "limited":
            return f"ok, its rate lets the next go {_when(live['rate_until'], now)}"
        case _:
            return "ok" if state["configured"] else "not in the configuration"


def _facts(state: Mapping[str, Any], destination: Destination | None, now: datetime) -> Iterator[tuple[str, str]]:
    oldest = _moment(state["oldest_due_at"])
    since = f", the oldest due {ago(oldest, now)}" if oldest else ""
    yield "waiting", f"{state['waiting']}{since}"
    yield "running", str(state["running"])
    yield "last 24 h", f"{state['delivered_24h']} attempts delivered, {state['failed_24h']} failed"
    yield "last delivered", _last(state, now)
    for name, value in limits_of(destination).items():
        yield name, limit_text(value)


def _steps(state: Mapping[str, Any], config_path: Path | None) -> Iterator[str]:
    """Yield what to type where something is wrong."""
    name = state["destination"]
    if state["state"] == "held":
        yield f"{name}: {again('release ' + state['lane'], config_path)}"
    elif state["state"] in {"open", "probing", "failing"}:
        yield f"{name}: {again(f'destinations {name}', config_path)} shows the last answers"


def _share(state: Mapping[str, Any]) -> str:
    delivered, failed = state["delivered_24h"], state["failed_24h"]
    if not delivered + failed:
        return ""
    # 99.97 % is not all of it.
    share = int(1000 * delivered / (delivered + failed)) / 10
    return f"{share:g}% of {delivered + failed}"


def _last(state: Mapping[str, Any], now: datetime) -> str:
    hour = _moment(state["last_delivered_hour"])
    if hour is None:
        return "never"
    return "this hour" if now - hour < _HOUR else ago(hour, now)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _shown(text: str) -> str:
    return stamp(datetime.fromisoformat(text))


def _when(text: str, now: datetime) -> str:
    moment = datetime.fromisoformat(text)
    return ago(moment, now) if moment > now else "now"
