"""Notices that files are not what they were: told by the system where it tells, and by looking where it does not."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import anyio
from structlog.typing import FilteringBoundLogger
from watchfiles import watch

from hookline.daemon.config.settings import Settings
from hookline.daemon.regular_file import read_regular
from hookline.daemon.rule_files import MAX_FILE_BYTES, rule_files
from hookline.daemon.sources.type_file import SUFFIX

#: How often files are looked at though nothing was told: of a link that is swapped, a folder on NFS, or a bind mount
#: the system tells nothing.
EVERY: Final = timedelta(seconds=10)
#: Editors and deployments write in steps: they are over when nothing has changed for this long.
QUIET: Final = timedelta(milliseconds=300)
#: Who never rests is not waited for.
LONGEST_UNREST: Final = timedelta(seconds=2)
_STEP: Final = timedelta(milliseconds=100)
#: A file that was written so shortly before it was read could be written again without its times showing it.
_SETTLED_NS: Final = 2_000_000_000


class _Facts(NamedTuple):
    """What is cheap to ask: while it stands still, so does the content."""

    device: int
    inode: int
    mode: int
    size: int
    changed_ns: int
    status_ns: int


class Fingerprints:
    """Tells contents apart, reading again only files whose facts have changed."""

    def __init__(self, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """`clock_ns`: nanoseconds by the clock that the files' times are of."""
        self._clock_ns = clock_ns
        self._known: dict[Path, tuple[_Facts, str]] = {}

    def take(self, files: Iterable[Path]) -> dict[Path, str]:
        """Return for each file what is the same as long as its rights and content are. Reads files."""
        known: dict[Path, tuple[_Facts, str]] = {}
        taken = {path: self._content(path, known) for path in files}
        # Swapped whole: two may be taken at one time.
        self._known = known
        return taken

    def _content(self, path: Path, known: dict[Path, tuple[_Facts, str]]) -> str:
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            return f"{type(error).__name__}"
        facts = _Facts(
            status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )
        before = self._known.get(path)
        if before is not None and before[0] == facts:
            known[path] = before
            return before[1]
        now = self._clock_ns()
        try:
            digest = f"{facts.mode:o} {hashlib.sha256(read_regular(path, limit=MAX_FILE_BYTES)).hexdigest()}"
        except ValueError as error:
            digest = f"{facts.mode:o} {error}"
        if now - max(facts.changed_ns, facts.status_ns) > _SETTLED_NS:
            known[path] = facts, digest
        return digest


def files_of(settings: Settings) -> Iterator[Path]:
    """Yield what a configuration is made of, its secrets apart: itself, rules, plug-ins, source types."""
    yield settings.path
    for path in settings.rules:
        # The folder too: of one that is gone or may not be listed, there is nothing else to see.
        yield path
        try:
            yield from rule_files([path])
        except OSError:
            continue
    yield from _plugin_files(settings.plugins or settings.path.parent / "plugins")


def _plugin_files(folder: Path) -> Iterator[Path]:
    """Yield what a plug-in could be or import; nothing hidden, which is where links to data folders are."""
    yield folder
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
        yield from (Path(parent, name) for name in names if name.endswith((".py", SUFFIX)) and name[0] != ".")


class Watch:
    """Waits until files differ from what is known of them."""

    def __init__(
        self,
        *,
        files: Callable[[], Collection[Path]],
        fingerprint: Callable[[], Awaitable[object]],
        log: FilteringBoundLogger,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """`files`: what to watch now; `fingerprint`: of the same, now."""
        self._files = files
        self._fingerprint = fingerprint
        self._log = log
        self._sleep = sleep
        self._is_deaf = False
        self._threads = anyio.CapacityLimiter(2)

    async def changed(self, known: Callable[[], object]) -> None:
        """Return when the files are not (any more) what `known` says, and are at rest."""
        wait = QUIET
        while True:
            # What comes while nobody listens, between two waits, is found by a short one that follows.
            wait = QUIET if await self._told(wait) else EVERY
            if await self._fingerprint() != known() and await self._rested() != known():
                return

    async def _rested(self) -> object:
        """Return the fingerprint once it has been the same for a while, or has changed for too long."""
        seen, since, waited = await self._fingerprint(), timedelta(0), timedelta(0)
        while since < QUIET and waited < LONGEST_UNREST:
            await self._sleep(_STEP.total_seconds())
            waited += _STEP
            now = await self._fingerprint()
            since = since + _STEP if now == seen else timedelta(0)
            seen = now
        return seen

    async def _told(self, limit: timedelta) -> bool:
        """Wait until the system tells of something, at most so long; say whether it did."""
        places = await anyio.to_thread.run_sync(_places, self._files())
        stop = threading.Event()
        try:
            return await anyio.to_thread.run_sync(
                _wait, places, stop, limit, abandon_on_cancel=True, limiter=self._threads
            )
        except (OSError, RuntimeError) as error:
            if not self._is_deaf:
                self._is_deaf = True
                self._log.warning(
                    "watch.deaf",
                    why=str(error),
                    next_step=f"changes take {EVERY.seconds} s to be noticed; raise fs.inotify.max_user_watches",
                )
            await self._sleep(limit.total_seconds())
            return False
        finally:
            stop.set()


def _places(files: Collection[Path]) -> list[Path]:
    """Return what to listen to: folders that were named, and files outside them.

    Not the folder of a file: the store may lie there, and speaks without end.
    """
    folders = {path for path in files if path.is_dir()}
    # A link says nothing of what it leads to.
    others = [path for path in files if path.is_file() and (path.parent not in folders or path.is_symlink())]
    return [*folders, *others]


def _wait(places: Collection[Path], stop: threading.Event, limit: timedelta) -> bool:
    told = watch(
        *places,
        watch_filter=None,
        debounce=100,
        step=50,
        stop_event=stop,
        rust_timeout=round(limit.total_seconds() * 1000),
        yield_on_timeout=True,
        recursive=False,
    )
    try:
        return bool(next(told, ()))
    finally:
        told.close()
