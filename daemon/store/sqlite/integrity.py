"""Looking through the whole file for damage, in a process of its own: beside the daemon, never in its way."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio

from hookline.daemon.backup.quiet import give_way
from hookline.daemon.store.port import Reader, StoreError
from hookline.daemon.store.sqlite.errors import damage_advice
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.workers.confinement import confine, end_with, scrubbed
from hookline.plugins import Log

#: The fact: the last look.
INTEGRITY: Final = "integrity"
#: As often, and at once after a stop that was none.
_EVERY: Final = timedelta(days=1)
#: After a start, so that what waited goes first; and after a look that could not be taken.
_SETTLING: Final = timedelta(minutes=1)
_AGAIN: Final = timedelta(hours=1)
# How often it is looked whether it is time: the clock may change.
_LOOK_S: Final = 60.0
_MOST_PROBLEMS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """What a look through the file found."""

    problems: tuple[str, ...]
    seconds: float
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it as it is noted."""
        return {
            "ok": not self.problems,
            "problems": list(self.problems),
            "seconds": self.seconds,
            "bytes": self.bytes,
        }


class IntegrityCheck:
    """Looks through the store's file once a day, and soon after a start that found it not closed."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        path: Path,
        *,
        store: SqliteStore,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
        log: Log,
        settling: timedelta = _SETTLING,
    ) -> None:
        """`store` is told if its file is damaged."""
        self._path = path
        self._store = store
        self._environ = environ
        self._clock = clock
        self._log = log
        self._settling = settling

    async def run(self) -> None:
        """Look until cancelled. The store must be open."""
        due = await self._first()
        await anyio.sleep(self._settling.total_seconds())
        while True:
            # A clock that was ahead must not put it off for years.
            due = min(due, self._clock() + _EVERY)
            if self._clock() >= due:
                due = self._clock() + await self._look()
            await anyio.sleep(_LOOK_S)

    async def _first(self) -> datetime:
        """Return when the first look is due: by the last one's time, also after a restart."""
        now = self._clock()
        if self._store.was_unclean:
            return now
        reader: Reader = self._store.reader()
        try:
            last = (await reader.facts()).get(INTEGRITY)
        except StoreError:
            # The look says more.
            return now
        finally:
            await reader.close()
        return now if last is None else min(last.at, now) + _EVERY

    async def _look(self) -> timedelta:
        """Look once; return in how long to look again."""
        try:
            found = await look_apart(self._path, environ=self._environ)
            await self._store.note(INTEGRITY, found.to_json())
        except (StoreError, OSError) as error:
            self._log.warning("store.not_checked", why=str(error), next_step="it is tried again within an hour")
            return _AGAIN
        if found.problems:
            why = f"{self._path}: the file is damaged: {damage_advice()} ({found.problems[0]})"
            self._store.condemn(StoreError(why, kind="corrupt"))
        else:
            self._log.info("store.checked", seconds=found.seconds, bytes=found.bytes)
        return _EVERY


async def look_apart(path: Path, *, environ: Mapping[str, str]) -> Integrity:
    """Look through a store's file in another process, which is killed if the caller is cancelled.

    Call it in the main thread, with which it ends. Raises `StoreError` if it cannot be looked at, and `OSError`.
    """
    ended = await anyio.run_process(
        [sys.executable, "-I", "-m", "hookline.daemon.store.sqlite.integrity", str(os.getpid()), str(path)],
        check=False,
        stdin=subprocess.DEVNULL,
        env=scrubbed(environ),
        # Ctrl-C is for the daemon.
        start_new_session=True,
    )
    if ended.returncode != 0:
        last = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise StoreError(f"{path}: cannot be checked: {' '.join(last) or f'the process ended with {ended.returncode}'}")
    said = json.loads(ended.stdout)
    return Integrity(problems=tuple(said["problems"]), seconds=said["seconds"], bytes=said["bytes"])


def look(path: Path) -> Integrity:
    """Look through every table with its indexes. Raises `sqlite3.Error` if it cannot be read at all."""
    began = time.monotonic()
    problems: list[str] = []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 3000")
        connection.execute("PRAGMA mmap_size = 0")
        try:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
            for (table,) in tables:
                # One at a time: each is a snapshot, and while one is held the -wal file only grows.
                rows = connection.execute(f"PRAGMA integrity_check('{table}')").fetchmany(_MOST_PROBLEMS)
                problems += [f"{table}: {line}" for (said,) in rows for line in said.splitlines() if line != "ok"]
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise
            problems.append(str(error))
    seconds = round(time.monotonic() - began, 1)
    return Integrity(problems=tuple(problems[:_MOST_PROBLEMS]), seconds=seconds, bytes=path.stat().st_size)


def main() -> None:
    """Be that process: the arguments are the daemon's process id and the file."""
    end_with(int(sys.argv[1]))
    confine()
    give_way()
    json.dump(look(Path(sys.argv[2])).to_json(), sys.stdout)


if __name__ == "__main__":
    main()
