"""Making changes in one transaction. Runs on the writing connection's thread, and nowhere else."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import assert_never

from hookline.daemon.store.changes import (
    Accept,
    Answer,
    Audit,
    Cancel,
    Change,
    DropToken,
    FlushDigests,
    KeepToken,
    Record,
    Refused,
    Reject,
    Replay,
    Route,
    SetHealth,
    SetLane,
    SetSourceState,
    UseToken,
)
from hookline.daemon.store.moment import Moment
from hookline.daemon.store.sqlite.accept import accept
from hookline.daemon.store.sqlite.access import change_access
from hookline.daemon.store.sqlite.audit import audit
from hookline.daemon.store.sqlite.batch import Batch
from hookline.daemon.store.sqlite.errors import replaced
from hookline.daemon.store.sqlite.names import Names
from hookline.daemon.store.sqlite.operate import cancel, flush_digests, reject, replay, route, set_health, set_lane
from hookline.daemon.store.sqlite.record import record
from hookline.daemon.store.sqlite.rows import bound
from hookline.daemon.store.sqlite.statements import run_many, statements
from hookline.daemon.store.sqlite.wal import Wal
from hookline.rules import Json

_SQL = statements("write")
_UPKEEP = statements("upkeep")

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
        #: Once it was written to.
        self.wal: Wal | None = None
        self._files: tuple[tuple[int, int], ...] | None = None

    def note_files(self) -> Wal:
        """Remember which files these are, once all exist: whatever stands under their names later must be the same.

        Return the -wal file, which the caller closes.
        """
        self._files = self._identity()
        self.wal = Wal(self.connection, self._path)
        return self.wal

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
            raise replaced(self._path)

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
        if self.wal is not None:
            self.wal.after_commit()

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
        batch = Batch(connection=self.connection, names=self.names, moment=moment, counters=counters)
        answers: list[Answer] = []
        for kind, run in groupby(changes, key=type):
            if kind is Accept:
                answers += accept(batch, [change for change in run if isinstance(change, Accept)])
            elif kind is Record:
                answers += record(batch, [change for change in run if isinstance(change, Record)])
            else:
                answers += [_make_one(batch, change) for change in run]
        return answers

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

    def probe(self) -> None:
        """Commit something, to see whether it can be."""
        with self.transaction() as counters:
            counters["probes"] += 1

    def note(self, name: str, value: Json, moment: Moment) -> None:
        """Remember a fact."""
        with self.transaction():
            self.connection.execute(_UPKEEP["note"], (name, json.dumps(value), moment.now))


def _make_one(batch: Batch, change: Change) -> Answer:
    answer: Answer = None
    match change:
        case Route():
            answer = route(batch, change)
        case Replay():
            answer = replay(batch, change)
        case Cancel():
            answer = cancel(batch, change)
        case SetLane():
            set_lane(batch, change)
        case SetHealth():
            set_health(batch, change)
        case FlushDigests():
            answer = flush_digests(batch)
        case Reject():
            reject(batch, change)
        case SetSourceState() | KeepToken() | UseToken() | DropToken():
            answer = change_access(batch, change)
        case Audit():
            audit(batch.connection, change, batch.moment.now)
        case Accept() | Record():
            raise TypeError("these are made in runs")
        case _:
            assert_never(change)
    return answer
