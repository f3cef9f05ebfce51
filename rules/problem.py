"""Problems: what is wrong in a file that a person wrote, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of one line of a file; line and column count from 1."""

    file: str
    line: int
    column: int = 1
    #: How many characters the caret underlines.
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake. Its text reads `file:line:col: path: message; hint`."""

    #: Where; None only if it belongs to no file.
    place: Place | None
    #: Where in the document, such as `rules[2].when`; "" for the whole document.
    path: str
    #: What is wrong, in a sentence without a full stop.
    message: str
    #: The next step: a suggestion or the line as it should be.
    hint: str | None = None
    #: A warning does not keep a rule set from going live; a note is worth a look, and may be wrong.
    severity: Literal["error", "warning", "note"] = "error"

    def __str__(self) -> str:
        parts = [str(self.place)] if self.place else []
        if self.severity != "error":
            parts.append(self.severity)
        if self.path:
            parts.append(self.path)
        text = ": ".join([*parts, self.message])
        return one_line(f"{text}; {self.hint}" if self.hint else text)


class RulesError(Exception):
    """Rules that cannot go live. Caught by whoever loads them: `check` prints it, a reload keeps the old rules."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep every problem; at least one is an error."""
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def one_line(text: str) -> str:
    """Write what would break the line or steer a terminal as its escape: names in files may hold anything."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def dotted(path: Sequence[str | int]) -> str:
    """Write a path through a document as people read it: `rules[2].when`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def with_excerpt(problem: Problem, sources: Mapping[str, str]) -> str:
    """Add the line the problem stands on and a caret under it, if its file's text is in `sources`."""
    place = problem.place
    if place is None or place.file not in sources:
        return str(problem)
    lines = sources[place.file].splitlines()
    if not 1 <= place.line <= len(lines):
        return str(problem)
    line = lines[place.line - 1]
    room = max(1, len(line) - place.column + 1)
    # Tabs stay tabs, so that the caret stands under its column on any terminal.
    lead = "".join("\t" if character == "\t" else " " for character in line[: place.column - 1])
    margin = f"{place.line:>5} | "
    shown = "".join(character if character.isprintable() or character == "\t" else "\ufffd" for character in line)
    return f"{problem}\n{margin}{shown}\n{' ' * (len(margin) - 2)}| {lead}{'^' * min(place.length, room)}"
