"""How the methods of the store's reader are asked through the API: their arguments and answers as JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, TypeAlias, get_type_hints

from hookline.daemon.api.writing import Writing, writing_of
from hookline.daemon.store.port import Reader

Method: TypeAlias = Literal[
    "event",
    "events",
    "event_page",
    "delivery",
    "deliveries",
    "delivery_page",
    "attempts",
    "members",
    "parts",
    "lanes",
    "lane_activity",
    "rejections",
    "activity",
    "rule_activity",
    "rules_counted_since",
    "text",
    "last_good_rules",
    "audit",
    "tally",
    "deletions",
    "paused",
    "tokens",
    "facts",
    "counts",
]
#: Events come with their bodies.
MOST_EVENTS: Final = 25
MOST_ROWS: Final = 1_000
#: Rows of an hour each are added up by who asks.
_MOST: Final[Mapping[str, int]] = {"events": MOST_EVENTS, "members": MOST_EVENTS, "rejections": 5_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """How a reader's method is called, and what it answers, as JSON."""

    arguments: Mapping[str, Writing]
    #: Names of those that have no default.
    required: frozenset[str]
    answer: Writing

    def write_arguments(self, arguments: Mapping[str, Any]) -> str:
        """Write arguments by name."""
        return json.dumps({name: self.arguments[name].write(value) for name, value in arguments.items()})

    def read_arguments(self, text: str) -> dict[str, Any]:
        """Read them back. Raises `ValueError`."""
        try:
            said = json.loads(text)
        except RecursionError as error:
            raise ValueError("it is nested too deep") from error
        if not isinstance(said, dict):
            raise ValueError("send an object")  # noqa: TRY004 - a request, not a program's mistake
        if unknown := said.keys() - self.arguments:
            raise ValueError(f"unknown: {min(unknown)[:100]!r}")
        if missing := self.required - said.keys():
            raise ValueError(f"{min(missing)!r} is missing")
        return {name: self.arguments[name].read(value) for name, value in said.items()}

    def write_answer(self, answer: Any) -> bytes:
        """Write what was answered."""
        return json.dumps(self.answer.write(answer)).encode()


@cache
def signature_of(method: str) -> Signature:
    """Return how a method of `Reader` is written."""
    function: Callable[..., Any] = getattr(Reader, method)
    hints = get_type_hints(function)
    answer = writing_of(hints.pop("return"))
    defaults = {name: one.default for name, one in inspect.signature(function).parameters.items()}
    return Signature(
        arguments={name: writing_of(kind) for name, kind in hints.items()},
        required=frozenset(name for name in hints if defaults[name] is inspect.Parameter.empty),
        answer=answer,
    )


def most_of(method: str) -> int:
    """Return how many rows one lookup brings at most."""
    return _MOST.get(method, MOST_ROWS)
