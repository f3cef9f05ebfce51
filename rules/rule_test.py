"""A rule test: an event, and what the rules are expected to make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from hookline.rules.event import Json
from hookline.rules.problem import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFile:
    """A file that holds the body."""

    #: Relative to the test's file.
    path: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The body, or one element of a batch, in place."""

    value: Json
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleName:
    """A sample that comes with the source's type."""

    #: Its event type.
    name: str
    place: Place


Body: TypeAlias = EventFile | Payload | SampleName


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedStep:
    """One delivery that is expected."""

    #: Of a destination, or an action in place.
    name: str
    #: What is compared of its options; the rest may be anything.
    options: Mapping[str, Json]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTest:
    """One entry of `tests`, defaults of its file included."""

    #: Unique in its file.
    name: str
    #: Name of the source that it would come from.
    source: str
    body: Body
    #: None: what the source reads.
    type: str | None = None
    tenant: str | None = None
    sender_id: str | None = None
    client_ip: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    #: When it is received; aware, UTC; None if it does not matter.
    at: datetime | None = None
    #: `with`: merged over the payload.
    changes: Mapping[str, Json] = field(default_factory=dict)
    #: All deliveries, in any order; None if they are not compared.
    expect: tuple[ExpectedStep, ...] | None = None
    #: Names of all rules that match, fallbacks apart, in any order; None if they are not compared.
    rules: tuple[str, ...] | None = None
    #: Where its name stands.
    place: Place
    #: Which entry of `tests` it is, from 0.
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TestNames:
    """What tests may refer to."""

    #: Not one of pytest's tests, whatever its name.
    __test__ = False

    sources: frozenset[str]
    #: Destinations and actions.
    steps: frozenset[str]
    rules: frozenset[str]
