"""One delivery as people read it: how it stands, why, what was tried, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from hookline.daemon.actions.dry_run import DRY_RUN_NOTE
from hookline.daemon.api.shapes.deliveries import said_of
from hookline.daemon.commands.opening import again
from hookline.daemon.commands.output import ago, span, stamp, styled
from hookline.daemon.log import printable
from hookline.daemon.store.changes import Attempt, State
from hookline.daemon.store.stored import StoredDelivery, StoredEvent

#: How many of what a delivery acts for are shown.
PARTS_SHOWN = 10
_ANSWER_SHOWN = 300
_STYLES = {State.DELIVERED: "good", State.DEAD: "bad"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A delivery with all that explains how it stands."""

    delivery: StoredDelivery
    attempts: Sequence[Attempt]
    #: What it acts for: the first ones.
    parts: Sequence[StoredDelivery]
    #: Of a digest: its events, the first ones.
    members: Sequence[StoredEvent]
    #: What acts for it; None if nothing does, or it is gone.
    acting: StoredDelivery | None
    #: What it waits behind; None if it does not, or that is far back.
    head: StoredDelivery | None
    #: Why its lane is held; None if it is not.
    held: str | None


def state_of(delivery: StoredDelivery, now: datetime | None = None) -> str:
    """Say how a delivery stands, in a few words."""
    match delivery.state:
        case State.PENDING if delivery.is_behind:
            return "pending, behind another"
        case State.PENDING if delivery.is_digest:
            return f"collects {delivery.stands_for}, due {ago(delivery.due_at, now)}"
        case State.PENDING:
            return f"pending, due {ago(delivery.due_at, now)}"
        case State.COLLECTED if delivery.part_of:
            return f"collected in {delivery.part_of}"
        case _:
            return delivery.state.value


def styled_state(delivery: StoredDelivery) -> str:
    """Color how a delivery stands."""
    return styled(state_of(delivery), _STYLES.get(delivery.state, "warn"))


def why_of(delivery: StoredDelivery) -> str:
    """Say why a delivery stands as it does: what suppressed it, or what its last attempt said."""
    return delivery.why or said_of(delivery.last_attempt)


def print_delivery(whole: Whole, config_path: Path | None) -> None:
    """Print a delivery: how it stands, its attempts in the order of time, and the next step."""
    one = whole.delivery
    click.echo(f"{one.id}  {one.rule or 'fallback'} -> {one.destination}: {styled_state(one)}")
    click.echo(f"  for {printable(one.event_type)} from {one.source}, {one.event_id}, made {stamp(one.created_at)}")
    for line in _about(whole):
        click.echo(f"  {printable(line)}")
    _print_parts(whole)
    for attempt in whole.attempts:
        _print_attempt(attempt)
    if one.crashes:
        times = "once" if one.crashes == 1 else f"{one.crashes} times"
        click.echo(f"  a process ended {times} while it ran")
    for line in _next(whole, config_path):
        click.echo(f"  {line}")


def _about(whole: Whole) -> list[str]:
    one = whole.delivery
    lines = []
    if one.replay_of:
        lines.append(f"replay of {one.replay_of}")
    elif one.is_replay:
        lines.append("asked for again by the rules of now")
    if one.why:
        lines.append(f"because: {one.why}")
    if whole.acting is not None:
        lines.append(f"{whole.acting.id} acts for it: {state_of(whole.acting)}")
    if one.order is not None:
        lines.append(f"in order of {one.order}")
    return lines


def _print_parts(whole: Whole) -> None:
    one = whole.delivery
    if not one.stands_for:
        return
    what = "event" if one.is_digest else "suppressed delivery"
    click.echo(f"  acts for {one.stands_for} {what}{'s' if one.stands_for != 1 else ''}:")
    rows = (
        [f"{stored.event.id}  {stored.event.type}  {stamp(stored.event.received_at)}" for stored in whole.members]
        if one.is_digest
        else [f"{part.id}  {part.event_id}  {part.event_type}  {stamp(part.created_at)}" for part in whole.parts]
    )
    for row in rows[:PARTS_SHOWN]:
        click.echo(f"    {printable(row)}")
    if one.stands_for > len(rows[:PARTS_SHOWN]):
        click.echo(f"    … and {one.stands_for - len(rows[:PARTS_SHOWN])} more")


def _print_attempt(attempt: Attempt) -> None:
    mark = styled(attempt.outcome, "good" if attempt.outcome == "delivered" else "bad")
    said = printable(said_of(attempt))
    click.echo(f"  {attempt.number:>2}  {stamp(attempt.started_at)}  {span(attempt.duration):>7}  {mark}  {said}")
    if attempt.decision:
        click.echo(f"      -> {printable(attempt.decision)}")
    if attempt.note == DRY_RUN_NOTE:
        click.echo(f"      would have sent: {printable(attempt.answer)}")
    elif attempt.answer and attempt.outcome != "delivered":
        click.echo(f"      answer: {printable(attempt.answer[:_ANSWER_SHOWN])}")
    for line in attempt.note.splitlines()[1:]:
        # A traceback.
        click.echo(f"      {printable(line)}")


def _next(whole: Whole, config_path: Path | None) -> list[str]:
    """Say what happens next by itself, or what an operator may do."""
    one = whole.delivery
    lines = []
    if one.state is State.PENDING:
        if one.is_behind:
            head = whole.head
            lines.append(f"waits for {head.id}, which is {state_of(head)}" if head else "waits for an earlier one")
        else:
            lines.append(f"next: {ago(one.due_at)}, {stamp(one.due_at)}")
        if whole.held is not None:
            lines.append(f"{one.lane} is held ({whole.held}): {again(f'release {one.lane}', config_path)}")
        lines.append(f"to take it back: {again(f'cancel {one.id}', config_path)}")
    elif one.state in (State.DEAD, State.CANCELLED):
        lines.append(f"to send it again: {again(f'replay {one.id}', config_path)}")
    return lines
