"""Making changes in one transaction. Runs on the writing connection's thread, and nowhere else."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import assert_never

from hookline.daemon.ids import made_at
from hookline.daemon.store.changes import (
    Accept,
    Answer,
    Cancel,
    Change,
    DeliveryId,
    NewDelivery,
    Record,
    Refused,
    Reject,
    Replay,
    Route,
    SetLane,
    State,
)
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite_accept import Moment, accept, add_to_rules, delivery_row, insert_deliveries
from hookline.daemon.store.sqlite_names import Names
from hookline.daemon.store.sqlite_rows import (
    HOUR,
    NUMBER_OF_STATE,
    attempt_columns,
    bound,
    delivery_number,
    json_or_null,
    length,
    micros,
    number_or_none,
)
from hookline.daemon.store.sqlite_statements import Row, run_many, select_many, statements

_SQL = statements("sqlite_write")
_PENDING, _COLLECTED = NUMBER_OF_STATE[State.PENDING], NUMBER_OF_STATE[State.COLLECTED]
_MAX_DETAIL = 500

# What a change brings on itself: a row that is there already, an id that is none, a value that no column takes.
_OWN_FAULTS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,
    TypeError,
    RecursionError,
)


class SqliteWriter:
    """Owns the writing connection's transactions."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.names = Names(connection)
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._files: tuple[tuple[int, int], ...] | None = None

    def note_files(self) -> None:
        """Remember which files these are, once both exist: whatever stands under their names later must be the same."""
        self._files = self._identity()

    def _identity(self) -> tuple[tuple[int, int], ...]:
        found = (os.stat(self._path), os.stat(self._wal))  # noqa: PTH116 - for each transaction; pathlib takes twice as long
        return tuple((file.st_dev, file.st_ino) for file in found)

    def _check_files(self) -> None:
        """Raise `StoreError` if the file was removed or replaced: what is written now would be lost with it."""
        if self._files is None:
            return
        try:
            is_same = self._identity() == self._files
        except OSError:
            is_same = False
        if not is_same:
            raise StoreError(
                f"{self._path}: removed or replaced while in use; nothing more is stored until it is put back, "
                "or hookline restarted"
            )

    @contextmanager
    def transaction(self) -> Iterator[Counter[str]]:
        """Commit what is done inside, durably, or nothing of it; counters are added to those that are stored."""
        counters: Counter[str] = Counter()
        # IMMEDIATE: a lock that is asked for later is refused without waiting (RELIABILITY A6).
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield counters
            changed = [(name, count) for name, count in counters.items() if count]
            run_many(self.connection, _SQL["add_to_counters"], changed)
            self._check_files()
            self.connection.execute("COMMIT")
        except BaseException:
            # After some errors SQLite has rolled back by itself.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self.names.forget()
            raise

    def write(self, changes: Sequence[Change], moment: Moment) -> list[Answer]:
        """Make the changes in one transaction and answer each, in order."""
        try:
            with self.transaction() as counters:
                return self._make(changes, moment, counters)
        except _OWN_FAULTS:
            # One of them cannot be made. Seldom enough to do the rest again, each guarded by itself.
            with self.transaction() as counters:
                return [self._guarded(change, moment, counters) for change in changes]

    def _guarded(self, change: Change, moment: Moment, counters: Counter[str]) -> Answer:
        own: Counter[str] = Counter()
        self.connection.execute("SAVEPOINT one_change")
        try:
            (answer,) = self._make([change], moment, own)
        except _OWN_FAULTS as error:
            self.connection.execute("ROLLBACK TO one_change")
            self.names.forget()
            answer = Refused(f"{type(change).__name__}: {error}")
        else:
            counters.update(own)
        self.connection.execute("RELEASE one_change")
        return answer

    def _make(self, changes: Sequence[Change], moment: Moment, counters: Counter[str]) -> list[Answer]:
        answers: list[Answer] = []
        for kind, run in groupby(changes, key=type):
            if kind is Accept:
                accepts = [change for change in run if isinstance(change, Accept)]
                answers += accept(self.connection, self.names, accepts, moment, counters)
            elif kind is Record:
                records = [change for change in run if isinstance(change, Record)]
                answers += self._record(records, moment, counters)
            else:
                answers += [self._make_one(change, moment, counters) for change in run]
        return answers

    def _make_one(self, change: Change, moment: Moment, counters: Counter[str]) -> Answer:
        answer: Answer = None
        match change:
            case Route():
                answer = self._route(change, moment, counters)
            case Replay():
                answer = self._replay(change, moment, counters)
            case Cancel():
                answer = self._cancel(change, counters)
            case SetLane():
                row = (bound(change.lane), change.is_held, bound(change.reason))
                self.connection.execute(_SQL["set_lane"], row)
            case Reject():
                self._reject(change, moment, counters)
            case Accept() | Record():
                raise TypeError("these are made in runs")
            case _:
                assert_never(change)
        return answer

    def _record(self, records: Sequence[Record], moment: Moment, counters: Counter[str]) -> list[Answer]:
        numbers = [number_or_none("dlv", change.delivery_id) for change in records]
        asked = [(number,) for number in numbers if number is not None]
        running: dict[int, tuple[int, int]] = {
            number: (token, position)
            for (found,) in select_many(self.connection, _SQL["running"], asked)
            for number, token, position in json.loads(found)
        }
        ended: list[Row] = []
        attempts: list[Row] = []
        answers: list[Answer] = []
        for change, number in zip(records, numbers, strict=True):
            if change.state is State.RUNNING:
                raise ValueError("a result cannot leave its delivery running")
            token, position = running.get(number, (None, 0)) if number is not None else (None, 0)
            if number is None or token != change.token:
                answers.append(False)
                continue
            # Taken out: a second result with the same token comes too late.
            del running[number]
            state, due_at = NUMBER_OF_STATE[change.state], moment.now + length(change.due_in)
            ended.append((number, state, due_at, 0 if change.attempt is None else 1, 0))
            if change.attempt is not None:
                attempts.append((number, position, *attempt_columns(change.attempt)))
            counters["running"] -= 1
            counters[change.state.value] += 1
            answers.append(True)
        self.end_claims(ended, attempts)
        return answers

    def end_claims(self, ended: Sequence[Row], attempts: Sequence[Row]) -> None:
        """End claims: rows of (id, state, due_at, attempts to add, crashes to add), and the attempts' own rows."""
        run_many(self.connection, _SQL["end_claims"], ended)
        run_many(self.connection, _SQL["insert_attempts"], attempts)

    def _insert_deliveries(
        self, new: Iterable[NewDelivery], event: int, moment: Moment, counters: Counter[str]
    ) -> None:
        numbered = {delivery_number(delivery.id): delivery for delivery in new}
        # A change that is repeated finds its own rows.
        for (number,) in select_many(self.connection, _SQL["known_deliveries"], [(number,) for number in numbered]):
            del numbered[number]
        rows = [delivery_row(delivery, number, event, self.names, moment) for number, delivery in numbered.items()]
        insert_deliveries(self.connection, rows, counters)

    def _route(self, change: Route, moment: Moment, counters: Counter[str]) -> bool:
        event = number_or_none("evt", change.event_id)
        found = self.connection.execute(_SQL["matched_before"], (event,)).fetchone()
        if event is None or found is None:
            return False
        row = (self.names.rule_set(change.rules_version), json_or_null(change.matched or None), event)
        self.connection.execute(_SQL["route_event"], row)
        # Each event once for a rule, however often it is routed, and in the hour in which it came.
        new = set(change.matched) - set(json.loads(found[0] or "[]"))
        add_to_rules(self.connection, dict.fromkeys(new, (1, event)), micros(made_at(event)) // HOUR)
        self._insert_deliveries(change.deliveries, event, moment, counters)
        return True

    def _replay(self, change: Replay, moment: Moment, counters: Counter[str]) -> DeliveryId | None:
        old = number_or_none("dlv", change.delivery_id)
        found = self.connection.execute(_SQL["delivery_to_replay"], (old,)).fetchone()
        if found is None:
            return None
        new = delivery_number(change.new_id)
        if not select_many(self.connection, _SQL["known_deliveries"], [(new,)]):
            insert_deliveries(self.connection, [(new, *found, _PENDING, moment.now, None, None, old)], counters)
        return change.new_id

    def _cancel(self, change: Cancel, counters: Counter[str]) -> bool:
        number = number_or_none("dlv", change.delivery_id)
        for state, name in ((_PENDING, "pending"), (_COLLECTED, "collected")):
            if self.connection.execute(_SQL["cancel"], (number, state)).rowcount == 1:
                counters[name] -= 1
                counters["cancelled"] += 1
                return True
        return False

    def _reject(self, change: Reject, moment: Moment, counters: Counter[str]) -> None:
        detail = bound(change.detail[:_MAX_DETAIL])
        row = (
            bound(change.source),
            change.reason,
            moment.now // HOUR,
            moment.now,
            moment.now,
            change.count,
            detail,
            bound(change.client_ip),
        )
        self.connection.execute(_SQL["reject"], row)
        counters["rejected"] += change.count

    def note_start(self, moment: Moment) -> None:
        """Count the start, durably; the first one is since when matches are counted."""
        with self.transaction() as counters:
            counters["starts"] += 1
            self.connection.execute(_SQL["count_rules_since"], (moment.now,))

    def keep(self, texts: Mapping[str, str]) -> None:
        """Keep texts by their hash."""
        rows = [(bound(digest), text.encode("utf-8", "surrogatepass")) for digest, text in texts.items()]
        with self.transaction():
            run_many(self.connection, _SQL["keep_texts"], rows)

    def keep_rules(self, version: str, moment: Moment) -> None:
        """Note that this rule set went live, unless it is the one that is."""
        with self.transaction():
            number = self.names.rule_set(version)
            last = self.connection.execute(_SQL["live_rule_set"]).fetchone()
            if last != (number,):
                self.connection.execute(_SQL["insert_went_live"], (number, moment.now))
