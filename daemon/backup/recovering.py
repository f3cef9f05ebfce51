"""A new store out of what can be read of a damaged one, which is never written to."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hookline.daemon.backup.inspection import Contents, at_rest, counted_contents, faults_of
from hookline.daemon.backup.mending import mend, without_deliveries
from hookline.daemon.backup.offline import note_deed
from hookline.daemon.backup.pages import check_room, is_full, reason
from hookline.daemon.backup.raw_pages import raw_pages
from hookline.daemon.backup.raw_rows import Value
from hookline.daemon.backup.salvage import Salvage, Stretches, read_all
from hookline.daemon.backup.shapes import SCHEMA_TABLE, Shape
from hookline.daemon.folder_sync import sync_folder
from hookline.daemon.ids import encode
from hookline.daemon.store.changes import Audit
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sqlite.file import newest_schema, set_up

#: Told how far it has come: what is done, from 0 to 1.
Stage = Callable[[str, float], None]

_USER_VERSION_AT: Final = 60
# An event's deliveries are made within a second of it: so far apart may their numbers be (ids.py).
_SLACK: Final = 1_000 << 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was saved, and what was not."""

    #: The new store.
    path: Path
    salvage: Salvage
    #: Rows that were saved, by table.
    saved: Mapping[str, int]
    #: The first events of requests whose bodies are not what they were.
    damaged_bodies: tuple[str, ...]
    #: Texts (rules, steps) that are not what they were, and were left out.
    damaged_texts: int
    #: Events that rules matched, and whose deliveries are lost.
    without_deliveries: tuple[str, ...]
    #: Rows that were changed to make it whole, by what was done.
    mended: Mapping[str, int]
    contents: Contents

    @property
    def missing(self) -> Mapping[str, int]:
        """How many events and deliveries the damaged store counted that are not saved, as far as it can be said."""
        kept = self.salvage.kept
        lost = {
            "events": kept.get("events", 0) - self.saved.get("events", 0),
            "deliveries": sum(kept.get(name, 0) for name in self.contents.counts if name != "events")
            - self.saved.get("deliveries", 0),
        }
        return {name: count for name, count in lost.items() if kept and count > 0}

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        found = self.salvage
        return {
            "path": str(self.path),
            "damaged": found.is_damaged or bool(self.damaged_bodies or self.damaged_texts),
            "pages": found.pages,
            "damaged_pages": sorted(found.damaged_pages),
            "damaged_wal_frames": found.damaged_frames,
            "has_header": found.has_header,
            "saved": dict(self.saved),
            "missing": dict(self.missing),
            "unreadable_rows": {name or "unknown": count for name, count in found.lost.items() if count},
            "astray": dict(found.astray),
            "stretches": [one.to_json() for one in found.stretches if one.table != SCHEMA_TABLE],
            "damaged_bodies": list(self.damaged_bodies),
            "damaged_texts": self.damaged_texts,
            "without_deliveries": list(self.without_deliveries),
            "mended": dict(self.mended),
            "counts": dict(self.contents.counts),
        }


def recover(store: Path, target: Path, *, who: str, stage: Stage = lambda _what, _share: None) -> Recovered:
    """Make a new store at `target`, which must not be there, with all that can be read of a damaged one.

    Call it under the store's lock. Raises `StoreError` with the next step.
    """
    new = target.with_name(f".{target.name}.recovering")
    try:
        if target.exists():
            raise StoreError(f"{target}: is there already: name another file with --to")
        _remove(new)
        check_room(target.parent, store.stat().st_size, what="what can be saved")
        made = _Making(store, new)
        try:
            recovered = made.make(target, who=who, stage=stage)
            new.rename(target)
            sync_folder(target.parent)
        finally:
            _remove(new)
    except (OSError, sqlite3.Error) as error:
        where = getattr(error, "filename", None) or target
        raise StoreError(
            f"{where}: {reason(error)}: see that it can be written to", kind="disk_full" if is_full(error) else "other"
        ) from error
    return recovered


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class _Making:
    """Fills one new file."""

    def __init__(self, store: Path, new: Path) -> None:
        self._store = store
        self._new = new
        self._saved: Counter[str] = Counter()
        self._damaged_bodies: list[int] = []
        self._damaged_texts = 0

    def make(self, target: Path, *, who: str, stage: Stage) -> Recovered:
        """Fill it, and see that it is whole."""
        os.close(os.open(self._new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(self._new, isolation_level=None)) as connection:
            set_up(connection, self._new)
            # It is thrown away if it does not come to its end.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            salvage = self._fill(connection, stage)
            stage("mending", 0)
            mended = mend(
                connection,
                damaged_bodies=self._damaged_bodies,
                lost=Stretches(one for one in salvage.stretches if one.table == "events"),
                kept=salvage.kept,
            )
            lost = Stretches((one for one in salvage.stretches if one.table == "deliveries"), slack=_SLACK)
            alone = without_deliveries(connection, lost)
            note_deed(connection, self._deed(who))
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        stage("checking", 0)
        with at_rest(self._new) as found:
            faults = faults_of(found)
            if faults:
                raise StoreError(f"{self._new}: what was put together is not whole ({faults[0]}): restore a backup")
            contents = counted_contents(found)
        _sync(self._new)
        return Recovered(
            path=target,
            salvage=salvage,
            saved=dict(self._saved),
            damaged_bodies=tuple(encode("evt", number) for number in self._damaged_bodies),
            damaged_texts=self._damaged_texts,
            without_deliveries=tuple(encode("evt", number) for number in alone),
            mended=mended,
            contents=contents,
        )

    def _fill(self, connection: sqlite3.Connection, stage: Stage) -> Salvage:
        def take(shape: Shape, rows: Sequence[tuple[Value, ...]]) -> None:
            names = ", ".join(column.name for column in shape.columns)
            places = ", ".join("?" * len(shape.columns))
            # A row that was found twice counts as it was found first.
            sql = f"INSERT OR IGNORE INTO {shape.name} ({names}) VALUES ({places})"  # noqa: S608 - the schema's names
            good = self._checked(shape, rows)
            self._saved[shape.name] += connection.executemany(sql, good).rowcount

        with raw_pages(self._store) as pages:
            version = pages.header_number(_USER_VERSION_AT)
            if newest_schema() < version < 1000:
                raise StoreError(
                    f"{self._store}: written by a newer Hookline (schema {version}): recover it with that one",
                    kind="unfit",
                )
            return read_all(pages, take, progress=lambda share: stage("reading", share))

    def _checked(self, shape: Shape, rows: Sequence[tuple[Value, ...]]) -> Sequence[tuple[Value, ...]]:
        """Compare what has a digest with it: bodies are noted, texts left out."""
        if shape.name == "requests":
            names = [column.name for column in shape.columns]
            digest, body = names.index("digest"), names.index("body")
            for row in rows:
                # Its number comes first.
                if isinstance(row[0], int) and hashlib.sha256(_bytes(row[body])).digest() != row[digest]:
                    self._damaged_bodies.append(row[0])
        if shape.name == "texts":
            # As `text_hash` makes it.
            good = [row for row in rows if hashlib.sha256(_bytes(row[1])).hexdigest()[:32] == row[0]]
            self._damaged_texts += len(rows) - len(good)
            return good
        return rows

    def _deed(self, who: str) -> Audit:
        return Audit(
            who=who,
            what="recover",
            subject=str(self._store),
            count=self._saved["events"],
            counts=dict(self._saved),
            reason="damage on the disk",
        )


def _bytes(value: Value) -> bytes:
    return value if isinstance(value, bytes) else b""


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
