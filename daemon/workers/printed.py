"""What a plug-in prints while it makes an attempt, as that attempt's own lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TextIO

#: Of a line without an end. The daemon shows less of it, once it has hidden secrets.
_LONGEST: Final = 10_000


@dataclass(slots=True)
class _Printing:
    say: Callable[[str], None]
    rest: str = ""


# Tasks and threads that an attempt begins inherit it.
_PRINTING: Final[ContextVar[_Printing | None]] = ContextVar("printing", default=None)


class Printed:
    """A standard stream that knows who prints; what nobody does who is known goes on to the stream beneath."""

    def __init__(self, beneath: TextIO) -> None:
        """Stand in front of `beneath`, which is what all but writing text is asked of."""
        self._beneath = beneath

    def write(self, text: str) -> int:
        """Write text; each line is said when it is whole."""
        printing = _PRINTING.get()
        if printing is None:
            return self._beneath.write(text)
        *lines, rest = (printing.rest + text).split("\n")
        if len(rest) > _LONGEST:
            lines, rest = [*lines, rest], ""
        printing.rest = rest
        for line in lines:
            if line.strip():
                printing.say(line[:_LONGEST])
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._beneath, name)


def stand_in_front() -> None:
    """Put such streams in front of standard output and error."""
    sys.stdout = Printed(sys.stdout)
    sys.stderr = Printed(sys.stderr)


@contextmanager
def printing(say: Callable[[str], None]) -> Iterator[None]:
    """Within, hand each line that is printed to `say`."""
    mine = _Printing(say)
    token = _PRINTING.set(mine)
    try:
        yield
    finally:
        _PRINTING.reset(token)
        if mine.rest.strip():
            say(mine.rest)
