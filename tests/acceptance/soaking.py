"""What a long run looks at: memory, descriptors, and files, second by second, from outside the daemon."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.conftest import Daemon


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look. Bytes, but for what says otherwise."""

    at: float
    #: Of the parent: a number that changes with a restart.
    pid: int
    parent: int
    workers: int
    #: How many file descriptors the parent has open.
    descriptors: int
    wal: int
    store: int
    log: int


class Watcher(threading.Thread):
    """Looks once a second until it is ended."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        self._watched = daemon
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(1.0):
            sample = look(self._watched)
            if sample is not None:
                self.samples.append(sample)

    def end(self) -> None:
        self._over.set()
        self.join()


def look(daemon: Daemon) -> Sample | None:
    """Return how the daemon stands; None between two of its lives."""
    assert daemon.child
    pid = daemon.child.pid
    try:
        return Sample(
            at=time.monotonic(),
            pid=pid,
            parent=_resident(pid),
            workers=sum(_resident(worker) for worker in daemon.workers),
            descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
            wal=_size(daemon.folder / "hookline.db-wal"),
            store=_size(daemon.folder / "hookline.db"),
            log=_size(daemon.folder / "log"),
        )
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # It ended while it was looked at.
        return None


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    # A zombie has none.
    raise ProcessLookupError(pid)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def growth(samples: list[Sample]) -> float:
    """Return by how many bytes parent and workers grew from the first quarter of these samples to the last: medians."""
    quarter = max(1, len(samples) // 4)
    first, last = samples[:quarter], samples[-quarter:]
    return statistics.median(one.parent + one.workers for one in last) - statistics.median(
        one.parent + one.workers for one in first
    )


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
