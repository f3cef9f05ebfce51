"""A YAML document of which every part knows where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hookline.rules.event import Json
from hookline.rules.problem import Place, Problem, dotted


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, number, boolean or null, by YAML 1.2's core rules."""

    value: bool | int | float | str | None
    place: Place
    #: Keys and indexes from the document's root.
    path: tuple[str | int, ...]
    #: As written, without quotes: `1.10` stays `1.10`.
    text: str

    def plain(self) -> Json:
        """Return it without places."""
        return self.value


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    items: tuple[Node, ...]
    place: Place
    path: tuple[str | int, ...]

    def plain(self) -> Json:
        """Return it without places."""
        return [item.plain() for item in self.items]


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping; its keys are unique texts, in the order written."""

    entries: Mapping[str, Node]
    #: Where each key stands.
    keys: Mapping[str, Place]
    place: Place
    path: tuple[str | int, ...]

    def plain(self) -> Json:
        """Return it without places."""
        return {key: node.plain() for key, node in self.entries.items()}


Node: TypeAlias = "Scalar | Items | Entries"


class Findings:
    """Collects problems, so that all of them are reported at once."""

    def __init__(self) -> None:
        """Begin with none."""
        self.problems: list[Problem] = []

    @property
    def has_errors(self) -> bool:
        """Whether one of them keeps the document from being used."""
        return any(problem.severity == "error" for problem in self.problems)

    def error(self, node: Node, message: str, hint: str | None = None) -> None:
        """Report a mistake at a node."""
        self.problems.append(Problem(place=node.place, path=dotted(node.path), message=message, hint=hint))

    def error_at_key(self, parent: Entries, key: str, message: str, hint: str | None = None) -> None:
        """Report a mistake at a key; the path is the parent's."""
        self.problems.append(Problem(place=parent.keys[key], path=dotted(parent.path), message=message, hint=hint))

    def warning(self, node: Node, message: str, hint: str | None = None) -> None:
        """Report what works but is probably not meant."""
        self.problems.append(
            Problem(place=node.place, path=dotted(node.path), message=message, hint=hint, severity="warning")
        )
