"""Recording how attempts ended: all of a batch with few statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hookline.daemon.store.changes import Accept, Answer, LaneResult, Outcome, Record, State, Token
from hookline.daemon.store.named_sql import Row, named_statements
from hookline.daemon.store.postgres import breakers
from hookline.daemon.store.postgres.accept import accept
from hookline.daemon.store.postgres.orders import promote
from hookline.daemon.store.postgres.rows import attempt_columns, columns
from hookline.daemon.store.rows import HOUR, NUMBER_OF_STATE, length, number_or_none
from hookline.daemon.store.sharing import DUE

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Batch

_SQL = named_statements(__package__, "write")


class _Running(NamedTuple):
    token: int
    #: Of its next attempt.
    position: int
    lane_id: int
    event: int
    #: The queue of its order, if it has one.
    queue: int | None


@dataclass(slots=True)
class _Rows:
    """The rows of a batch, by table."""

    results: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    #: By lane: attempts that delivered, and that did not.
    tried: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: Orders whose heads have ended.
    left: set[int] = field(default_factory=set)


async def record(batch: Batch, records: Sequence[Record]) -> list[Answer]:
    """Make the changes, in order, and answer them. Raises `ValueError` for one that leaves its delivery running."""
    numbers = [number_or_none("dlv", change.delivery_id) for change in records]
    running = await _running(batch, [number for number in numbers if number is not None])
    rows = _Rows()
    own: list[Accept] = []
    results: list[tuple[LaneResult, Token]] = []
    answers: list[Answer] = []
    for change, number in zip(records, numbers, strict=True):
        if change.state is State.RUNNING:
            raise ValueError("a result cannot leave its delivery running")
        found = None if number is None else running.get(number)
        if number is None or found is None or found.token != change.token:
            answers.append(False)
            continue
        # Taken out: a second result with the same token comes too late.
        del running[number]
        _end(batch, rows, change, number, found)
        if change.own is not None:
            own.append(change.own)
        if change.result is not None:
            results.append((change.result, change.token))
        answers.append(True)
    await _write(batch, rows)
    await accept(batch, own)
    if results:
        await breakers.noted(batch, results)
    return answers


async def _running(batch: Batch, numbers: Sequence[int]) -> dict[int, _Running]:
    """Return those that run, and keep others from changing them."""
    if not numbers:
        return {}
    found = await batch.connection.fetch(_SQL["running"], numbers)
    return {number: _Running(*rest) for number, *rest in found}


def _end(batch: Batch, rows: _Rows, change: Record, number: int, running: _Running) -> None:
    tried = crashes = 0
    if change.attempt is not None:
        crashes = int(change.attempt.outcome is Outcome.CRASHED)
        tried = 1 - crashes
        rows.attempts.append((running.event, number, running.position, *attempt_columns(change.attempt)))
        delivered, failed = rows.tried.get(running.lane_id, (0, 0))
        has_delivered = change.attempt.outcome is Outcome.DELIVERED
        rows.tried[running.lane_id] = (delivered + has_delivered, failed + (not has_delivered))
    due_at = batch.moment.now + length(change.due_in)
    rows.results.append((number, NUMBER_OF_STATE[change.state], due_at, tried, crashes))
    if change.state is not State.PENDING:
        rows.left |= set() if running.queue is None else {running.queue}
    elif not change.due_in:
        batch.news.add(DUE)
    batch.counters["running"] -= 1
    batch.counters[change.state.value] += 1


async def _write(batch: Batch, rows: _Rows) -> None:
    if not rows.results:
        return
    lanes = [(lane, *counts) for lane, counts in sorted(rows.tried.items())]
    await batch.connection.execute(
        _SQL["record"],
        *columns(rows.results, 5),
        *columns(rows.attempts, 11),
        *columns(lanes, 3),
        batch.moment.now // HOUR,
        batch.node,
    )
    await promote(batch, rows.left)
