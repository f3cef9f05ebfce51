"""What is told of what happens, and who wants to hear which of it: values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args

from hookline.rules import EventId

#: `event`: accepted. `duplicate`: its key was known. `rejected`: refused, with its cause. `attempt`: one was recorded.
#: `delivery`: somebody changed some (replayed, cancelled, routed). `destination`: held, released, failing, recovered.
#: `source`: paused, resumed. `reload`: rules went live, or were refused. `missed`: so many were left out for a reader.
Kind: TypeAlias = Literal[
    "event", "duplicate", "rejected", "attempt", "delivery", "destination", "source", "reload", "missed"
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


# Two are the same only if they are one: what is made of a message is remembered by it.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Message:
    """One thing that happened."""

    kind: Kind
    at: datetime
    #: What it is about, for filters; "" where it is about none. An event is about no destination: its attempts are.
    source: str = ""
    type: str = ""
    tenant: str = ""
    destination: str = ""
    #: The rules that matched, or whose delivery it is; "" is a fallback's.
    rules: tuple[str, ...] = ()
    #: Something went wrong: rejected, unmatched, failed, dead, held, refused.
    is_trouble: bool = False
    #: Of an `event`: what `Last-Event-ID` resumes from.
    event_id: EventId | None = None
    #: What is told of it besides `kind` and `at`, as JSON: a shape of daemon/api/shapes/stream.py.
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which messages a reader wants; every field narrows."""

    kinds: frozenset[Kind] = frozenset()
    source: str | None = None
    #: `*` stands for anything, dots too.
    type: str | None = None
    tenant: str | None = None
    destination: str | None = None
    rule: str | None = None
    #: Only what went wrong.
    is_trouble: bool = False
    _type: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the type's glob."""
        parts = [] if self.type is None else [re.escape(part) for part in self.type.split("*")]
        object.__setattr__(self, "_type", re.compile(".*".join(parts), re.DOTALL) if parts else None)

    @property
    def is_glob(self) -> bool:
        """Whether the type is more than a name."""
        return self.type is not None and "*" in self.type

    def takes(self, message: Message) -> bool:
        """Whether a reader who wants this is told of a message."""
        return (
            (not self.kinds or message.kind in self.kinds)
            and (self.source is None or message.source == self.source)
            and (self._type is None or self._type.fullmatch(message.type) is not None)
            and (self.tenant is None or message.tenant == self.tenant)
            and (self.destination is None or message.destination == self.destination)
            and (self.rule is None or self.rule in message.rules)
            and (message.is_trouble or not self.is_trouble)
        )
