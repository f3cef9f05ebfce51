"""The log of all operations on a cluster, as Jepsen keeps it: who began what when, and how it ended, if that is known."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

#: `fail`: it was certainly not done. `info`: nobody knows, or there is nothing to know.
Phase = Literal["invoke", "ok", "fail", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the log."""

    #: Nanoseconds of the machine's monotonic clock, which all of its processes share.
    at: int
    #: Who acts: `sender-3`, `operator-0`, `nemesis`, or a node's name.
    who: str
    #: What is done: `post`, `arrive`, `hold`, `release`, or what became of a node.
    what: str
    phase: Phase
    #: Ties the end of an operation to its begin.
    call: int
    #: What is known of it besides.
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A begin with its end."""

    who: str
    what: str
    #: As in `Entry.at`; `end` is None if it never ended.
    begin: int
    end: int | None
    #: `info` if it never ended.
    outcome: Literal["ok", "fail", "info"]
    #: What was known at its begin, and over it what was known at its end.
    about: Mapping[str, Any]


class Call:
    """An operation under way."""

    def __init__(self, history: History, entry: Entry) -> None:
        self._history = history
        self._entry = entry

    def ended(self, phase: Literal["ok", "fail", "info"], *, at: int | None = None, **about: Any) -> None:
        """Note how it ended, now if `at` does not say when."""
        self._history.write(self._entry.who, self._entry.what, phase, self._entry.call, about, at=at)


class History:
    """Writes the log, from any thread. A line is in the file when its call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO = path.open("w")
        self._lock = threading.Lock()
        self._calls = itertools.count(1)

    def begin(self, who: str, what: str, **about: Any) -> Call:
        """Note that somebody begins something."""
        return Call(self, self.write(who, what, "invoke", next(self._calls), about))

    def note(self, who: str, what: str, **about: Any) -> None:
        """Note something that has no end."""
        self.write(who, what, "info", next(self._calls), about)

    def write(
        self, who: str, what: str, phase: Phase, call: int, about: Mapping[str, Any], *, at: int | None = None
    ) -> Entry:
        """Write one line."""
        with self._lock:
            entry = Entry(at=at or time.monotonic_ns(), who=who, what=what, phase=phase, call=call, about=about)
            self._file.write(json.dumps(asdict(entry)) + "\n")
            self._file.flush()
        return entry

    def close(self) -> None:
        """Write no more."""
        self._file.close()

    def operations(self) -> list[Operation]:
        """Return what was written so far."""
        with self._lock:
            return operations(read(self.path))


def read(path: Path) -> list[Entry]:
    """Return the lines of a log."""
    with path.open() as lines:
        return [Entry(**json.loads(line)) for line in lines]


def operations(entries: Iterable[Entry]) -> list[Operation]:
    """Put begins and ends together, in the order of the begins."""
    begun: dict[int, Entry] = {}
    ended: dict[int, Entry] = {}
    for entry in entries:
        if entry.phase == "invoke" or entry.call not in begun:
            begun[entry.call] = entry
        else:
            ended[entry.call] = entry
    return [_operation(entry, ended.get(call)) for call, entry in begun.items()]


def _operation(begin: Entry, end: Entry | None) -> Operation:
    outcome: Literal["ok", "fail", "info"] = "info"
    if end is not None and end.phase != "invoke":
        outcome = end.phase
    return Operation(
        who=begin.who,
        what=begin.what,
        begin=begin.at,
        end=None if end is None else end.at,
        outcome=outcome,
        about={**begin.about, **(end.about if end is not None else {})},
    )
