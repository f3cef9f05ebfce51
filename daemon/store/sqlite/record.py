"""Recording how attempts ended: all of a batch with few statements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hookline.daemon.store.changes import Accept, Answer, Outcome, Record, State
from hookline.daemon.store.named_sql import Row
from hookline.daemon.store.rows import HOUR, NUMBER_OF_STATE, length, number_or_none
from hookline.daemon.store.sqlite.accept import accept
from hookline.daemon.store.sqlite.batch import Batch
from hookline.daemon.store.sqlite.orders import leave_queues
from hookline.daemon.store.sqlite.rows import attempt_columns
from hookline.daemon.store.sqlite.statements import run_many, select_many, statements

_SQL = statements("write")
_NOT_RUNNING = (None, 0, 0, 0)


@dataclass(slots=True)
class _Rows:
    """The rows of a batch, by table."""

    ended: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    #: Those with an order that will not run again.
    left: list[int] = field(default_factory=list)
    #: By lane: attempts that delivered, and that did not.
    tried: dict[int, tuple[int, int]] = field(default_factory=dict)


def record(batch: Batch, records: Sequence[Record]) -> list[Answer]:
    """Make the changes, in order, and answer them. Raises `ValueError` for one that leaves its delivery running."""
    numbers = [number_or_none("dlv", change.delivery_id) for change in records]
    running = _running(batch, [number for number in numbers if number is not None])
    rows = _Rows()
    own: list[Accept] = []
    answers: list[Answer] = []
    for change, number in zip(records, numbers, strict=True):
        if change.state is State.RUNNING:
            raise ValueError("a result cannot leave its delivery running")
        token, position, lane_id, has_order = running.get(number, _NOT_RUNNING)
        if number is None or token != change.token:
            answers.append(False)
            continue
        # Taken out: a second result with the same token comes too late.
        del running[number]
        state, due_at = NUMBER_OF_STATE[change.state], batch.moment.now + length(change.due_in)
        tried = crashes = 0
        if change.attempt is not None:
            crashes = int(change.attempt.outcome is Outcome.CRASHED)
            tried = 1 - crashes
            rows.attempts.append((number, position, *attempt_columns(change.attempt)))
            _count(rows.tried, lane_id, change.attempt.outcome)
        rows.ended.append((number, state, due_at, tried, crashes))
        if has_order and change.state is not State.PENDING:
            rows.left.append(number)
        if change.own is not None:
            own.append(change.own)
        batch.counters["running"] -= 1
        batch.counters[change.state.value] += 1
        answers.append(True)
    _write(batch, rows)
    accept(batch, own)
    return answers


def _running(batch: Batch, numbers: Iterable[int]) -> dict[int | None, tuple[int, int, int, int]]:
    """Return token, position of the next attempt, lane, and whether it has an order, of those that run."""
    found = select_many(batch.connection, _SQL["running"], [(number,) for number in numbers])
    return {number: columns for (rows,) in found for number, *columns in json.loads(rows)}


def _count(tried: dict[int, tuple[int, int]], lane_id: int, outcome: Outcome) -> None:
    delivered, failed = tried.get(lane_id, (0, 0))
    tried[lane_id] = (delivered + 1, failed) if outcome is Outcome.DELIVERED else (delivered, failed + 1)


def _write(batch: Batch, rows: _Rows) -> None:
    run_many(batch.connection, _SQL["end_claims"], rows.ended)
    run_many(batch.connection, _SQL["insert_attempts"], rows.attempts)
    hour = batch.moment.now // HOUR
    run_many(batch.connection, _SQL["add_to_lanes"], [(lane, hour, *counts) for lane, counts in rows.tried.items()])
    if rows.left:
        leave_queues(batch.connection, rows.left, now=batch.moment.now)
