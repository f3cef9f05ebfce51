"""A stored event as a rule test's event: a body that its source reads again, and what must be said beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hookline.daemon.delivery.runner import Rendered
from hookline.daemon.redaction.plan import Replacement, apply, plan_redaction
from hookline.daemon.rehearsal.fixture_request import (
    BODY,
    HEADERS,
    QUERY,
    CannotSaveError,
    FixtureRequest,
    bodies,
    fewer,
    givens,
    paths_of,
    selected,
)
from hookline.daemon.rehearsal.preview import Previewer
from hookline.daemon.rehearsal.sample_events import Given, SampleReader
from hookline.daemon.rehearsal.sample_merge import as_body
from hookline.daemon.store.stored import StoredEvent
from hookline.rules import Event, Json, RuleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What a person says about what to redact, in paths into the payload or the names of headers and parameters."""

    redact: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    is_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """What a test says of its event, and what the rules on disk make of it."""

    body: Json
    given: Given
    #: Names of the rules that match, fallbacks apart.
    rules: tuple[str, ...]
    #: What they would send; None: that was not to be found out.
    steps: tuple[Rendered, ...] | None
    #: Paths of what was replaced.
    redacted: tuple[str, ...]
    #: Paths of what was not, as other rules would match.
    kept: tuple[str, ...]
    #: Names of rules that no longer match, or now do, as what was asked for is replaced.
    changed: tuple[str, ...]


#: Types, rules that match, and what they would send: what must not change. None: it cannot be read any more.
_Outcome: TypeAlias = "tuple[object, ...] | None"


class FixtureMaker:
    """Makes fixtures under one set of rules."""

    def __init__(self, reader: SampleReader, rules: RuleSet, previewer: Previewer | None) -> None:
        """`reader` reads what was made as the daemon would read it.

        Without a `previewer` nothing is rendered: which rules match is all that stays as it was.
        """
        self._reader = reader
        self._rules = rules
        self._previewer = previewer

    def make(self, stored: StoredEvent, redaction: Redaction) -> Fixture:
        """Return the event as a fixture. Raises `CannotSaveError`."""
        if stored.event.type == "unreadable":
            raise CannotSaveError("Its body cannot be read, so no test can be made of it.")
        source = stored.event.source
        request = self._readable(stored)
        replaced, kept, changed = self._redaction(source, request, redaction)
        request = request.with_whole(apply(request.whole, replaced))
        given = self._fewest_facts(source, request)
        events = self._events(source, request, given)
        names = tuple(dict.fromkeys(name for event in events for name in self._matched(event) if name))
        return Fixture(
            body=request.whole[BODY],
            given=given,
            rules=names,
            steps=None if self._previewer is None else tuple(self._rendered(events)),
            redacted=tuple(paths_of(replaced, request.payload)),
            kept=tuple(paths_of(kept, request.payload)),
            changed=changed,
        )

    def _readable(self, stored: StoredEvent) -> FixtureRequest:
        """Return the smallest body of which the source makes the same event, for the rules."""
        wanted = (stored.event.type, stored.event.payload, self._matched(stored.event))
        for body, payload in bodies(stored):
            for given in givens(stored):
                request = FixtureRequest(
                    {BODY: body, HEADERS: dict(given.headers), QUERY: dict(given.query)}, payload, given
                )
                try:
                    events = self._events(stored.event.source, request, given)
                except ValueError as error:
                    reason = str(error)
                    continue
                reason = (
                    "its source reads it otherwise now, or a rule looks at what is never written: "
                    "the rest of its batch, or a header that proves the sender"
                )
                if [(event.type, event.payload, self._matched(event)) for event in events] == [wanted]:
                    return request
        raise CannotSaveError(f"It cannot be made into a test: {reason}.")

    def _redaction(
        self, source: str, request: FixtureRequest, redaction: Redaction
    ) -> tuple[list[Replacement], list[Replacement], tuple[str, ...]]:
        """Return what to replace, what not as other rules would match, and which rules change all the same."""
        asked = selected(redaction.redact, request)
        spared = selected(redaction.keep, request)
        plan = plan_redaction(request.whole, asked_for=asked, kept=spared)
        forced = [one for one in plan if one.is_asked_for]
        free = [] if redaction.is_off else [one for one in plan if not one.is_asked_for]

        def outcome(replacements: Sequence[Replacement]) -> _Outcome:
            tried = request.with_whole(apply(request.whole, [*forced, *replacements]))
            return self._outcome(source, tried, tried.given)

        wanted = outcome(())
        if wanted is None:
            raise CannotSaveError("With what --redact names replaced, its source cannot read it any more.")
        fine = _most(free, lambda chosen: outcome(chosen) == wanted)
        chosen = {id(one) for one in fine}
        before = {name for event in self._events(source, request, request.given) for name in self._matched(event)}
        tried = request.with_whole(apply(request.whole, forced))
        after = {name for event in self._events(source, tried, tried.given) for name in self._matched(event)}
        return [*forced, *fine], [one for one in free if id(one) not in chosen], tuple(sorted(before ^ after))

    def _fewest_facts(self, source: str, request: FixtureRequest) -> Given:
        """Leave out every header and the like that changes nothing."""
        given = request.given
        wanted = self._outcome(source, request, given, is_exact=True)
        for leave_out in fewer(given):
            tried = leave_out(given)
            if tried != given and self._outcome(source, request, tried, is_exact=True) == wanted:
                given = tried
        return given

    def _outcome(self, source: str, request: FixtureRequest, given: Given, *, is_exact: bool = False) -> _Outcome:
        """Return what the rules make of it: whom they would write to, and if `is_exact`, what."""
        try:
            events = self._events(source, request, given)
        except ValueError:
            return None
        steps = [
            (one.step.rule, one.destination, one.problem is None, one.options if is_exact else None)
            for one in self._rendered(events)
        ]
        facts = [(event.type, event.tenant if is_exact else None, self._matched(event)) for event in events]
        return (facts, steps)

    def _events(self, source: str, request: FixtureRequest, given: Given) -> list[Event]:
        return [one.event for one in self._reader.read(source, as_body(request.whole[BODY]), given)]

    def _matched(self, event: Event) -> tuple[str, ...]:
        return tuple(match.rule for match in self._rules.match(event).matches)

    def _rendered(self, events: Iterable[Event]) -> Iterator[Rendered]:
        if self._previewer is None:
            return
        for event in events:
            for step in self._rules.match(event).steps:
                yield self._previewer.render_now(event, step)


def _most(replacements: list[Replacement], is_fine: Callable[[Sequence[Replacement]], bool]) -> list[Replacement]:
    """Return as many as can be made together, taking halves, so that few that matter cost few tries."""
    chosen: list[Replacement] = []
    waiting = [replacements] if replacements else []
    while waiting:
        part = waiting.pop()
        if is_fine([*chosen, *part]):
            chosen += part
        elif len(part) > 1:
            half = len(part) // 2
            waiting += [part[half:], part[:half]]
    return chosen


def body_text(body: Json) -> bytes:
    """Write a body as a file for people."""
    try:
        return json.dumps(body, indent=2, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # lone surrogates: JSON can write them as escapes, UTF-8 cannot
        return json.dumps(body, indent=2).encode() + b"\n"
