"""Events about ourselves: source `hookline`, matched by the live rules like any other (DESIGN 7)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from hookline.daemon.actions.context import HOPS_HEADER
from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.routing import Planner, match_or_none
from hookline.daemon.store.changes import Accept, Accepted, Attempt, Lane, NewEvent, Outcome, Request
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.stored import Claimed
from hookline.rules import Event, EventId, Json, Problem, RuleSet
from hookline.rules.name_filter import HOOKLINE
from hookline.rules.subject import time_text

#: As many of one type are made in a minute; the others are counted into the next one.
MOST_A_MINUTE: Final = 100
_MINUTE: Final = timedelta(minutes=1)
_HOPS: Final = HOPS_HEADER.lower()
_JSON: Final = "application/json"
_MOST_PROBLEMS: Final = 20
_LONGEST: Final = 1000


class OwnEvents:
    """Makes them; those with a cause in the store are committed with it, the others by `tell`.

    Implements `Notices`. Nothing here raises: whatever cannot be said is logged, and its cause goes on.
    """

    def __init__(  # noqa: PLR0913 - what it joins, each by name
        self,
        *,
        rules: Callable[[], RuleSet],
        policies: Callable[[Lane], LanePolicy],
        dedupe_window: Callable[[], timedelta],
        commit: GroupCommit,
        on_stored: Callable[[], None],
        ids: Ids,
        clock: Callable[[], datetime],
        log: Any,
        on_made: Callable[[str], None] = lambda _type: None,
    ) -> None:
        """`rules` returns the live rule set, `policies` what a destination adds to the steps that go there.

        `on_stored` is called when one that was told is stored, for its deliveries wait then; `on_made` with the type of
        each that is made.
        """
        self._rules = rules
        self._planner = Planner(ids, policies=policies)
        self._dedupe_window = dedupe_window
        self._commit = commit
        self._on_stored = on_stored
        self._ids = ids
        self._clock = clock
        self._log = log
        self._on_made = on_made
        self._storms: dict[str, _Storm] = {}

    def delivery_dead(self, claimed: Claimed, attempt: Attempt | None, event: Event | None) -> Accept | None:
        """Tell of a dead letter; None if it was one of an event about ourselves."""
        if event is not None and event.source == HOOKLINE:
            return None
        tried = attempt is not None and attempt.outcome is not Outcome.CRASHED
        payload: dict[str, Json] = {
            "delivery": claimed.id,
            "event": claimed.event_id,
            "event_type": None if event is None else event.type,
            "source": None if event is None else event.source,
            "rule": claimed.rule,
            "destination": claimed.destination,
            "attempts": claimed.attempts + tried,
            "reason": "" if attempt is None else "; ".join(filter(None, (attempt.note, attempt.decision)))[:_LONGEST],
            "status": None if attempt is None else attempt.status,
            "next_step": f"mend what the reason names, then: hookline replay {claimed.id}",
        }
        # The count of a loop of forwards goes on, or one through a dead letter to ourselves would never end.
        hops = None if event is None else event.headers.get(_HOPS)
        return self._make(
            "delivery.dead",
            payload,
            about=f"delivery/{claimed.id}",
            occasion=claimed.id,
            headers={} if hops is None else {_HOPS: hops},
            tenant=None if event is None else event.tenant,
            cause=claimed.event_id,
        )

    def destination_failing(self, lane: Lane, *, since: datetime, share: int, last: str) -> Accept | None:
        """Tell that a destination only fails, at `share` per cent of its failure budget."""
        payload: dict[str, Json] = {
            "destination": lane,
            "since": time_text(since),
            "share": share,
            "last": last[:_LONGEST],
        }
        occasion = f"{lane}/{time_text(since)}/{share}"
        return self._make("destination.failing", payload, about=f"destination/{lane}", occasion=occasion)

    def destination_recovered(self, lane: Lane, *, since: datetime) -> Accept | None:
        """Tell that a destination answers again."""
        payload: dict[str, Json] = {
            "destination": lane,
            "since": time_text(since),
            "failed_for_s": _seconds(self._clock() - since),
        }
        occasion = f"{lane}/{time_text(since)}"
        return self._make("destination.recovered", payload, about=f"destination/{lane}", occasion=occasion)

    def source_rejecting(self, source: str, *, reason: str, count: int, since: datetime, detail: str) -> Accept | None:
        """Tell that a source's requests are refused; once in an hour of the clock."""
        payload: dict[str, Json] = {
            "source": source,
            "reason": reason,
            "count": count,
            "since": time_text(since),
            "detail": detail[:_LONGEST],
        }
        occasion = f"{source}/{time_text(self._clock())[:13]}"
        return self._make("source.rejecting", payload, about=f"source/{source}", occasion=occasion)

    def source_silent(
        self,
        source: str,
        *,
        last: tuple[EventId, datetime] | None,
        since: datetime,
        expect_every: timedelta,
    ) -> Accept | None:
        """Tell that a source has been silent `since`; `last`: its last event, None if it never sent one."""
        payload: dict[str, Json] = {
            "source": source,
            "last_event": None if last is None else last[0],
            "last_event_at": None if last is None else time_text(last[1]),
            "expect_every_s": _seconds(expect_every),
            "silent_for_s": _seconds(self._clock() - since),
        }
        occasion = f"{source}/{'never' if last is None else last[0]}"
        return self._make("source.silent", payload, about=f"source/{source}", occasion=occasion)

    def rules_rejected(self, problems: Iterable[Problem]) -> Accept | None:
        """Tell that what is on disk was refused; the same mistakes once in an hour of the clock."""
        listed = list(problems)
        shown: list[Json] = [_problem(one) for one in listed[:_MOST_PROBLEMS]]
        digest = hashlib.sha256("\n".join(map(str, listed)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        payload: dict[str, Json] = {"count": len(listed), "problems": shown}
        occasion = f"{digest}/{time_text(self._clock())[:13]}"
        return self._make("rules.rejected", payload, about="rules", occasion=occasion)

    def tell(self, accept: Accept | None, on_failed: Callable[[], None] = lambda: None) -> None:
        """Have one that has no cause in the store stored by itself; `on_failed` is called if the store cannot."""
        if accept is not None:
            self._commit.enqueue(accept).add_done_callback(lambda answer: self._conclude(accept, answer, on_failed))

    def _conclude(
        self, accept: Accept, answer: asyncio.Future[tuple[Accepted, ...]], on_failed: Callable[[], None]
    ) -> None:
        error = None if answer.cancelled() else answer.exception()
        if answer.cancelled() or error is not None:
            self._log.warning("own_event.not_stored", event_type=accept.events[0].event.type, why=str(error))
            on_failed()
        else:
            self._on_stored()

    def _make(  # noqa: PLR0913 - the facts of an event, each by name
        self,
        type_: str,
        payload: Mapping[str, Json],
        *,
        about: str,
        occasion: str,
        headers: Mapping[str, str] | None = None,
        tenant: str | None = None,
        cause: EventId | None = None,
    ) -> Accept | None:
        now = self._clock()
        left_out = self._storms.setdefault(type_, _Storm(now)).admit(now)
        if left_out is None:
            self._log.warning("own_event.left_out", event_type=type_, about=about, next_step="the next one counts it")
            return None
        said: Json = {**payload, "suppressed_since_last": left_out}
        event = Event(
            id=self._ids.event(),
            source=HOOKLINE,
            type=type_,
            sender_id=None,
            key=f"{type_}/{occasion}",
            tenant=tenant,
            subject=about,
            occurred_at=now,
            received_at=now,
            headers=headers or {},
            query={},
            client_ip="",
            payload=said,
            envelope=None,
        )
        self._on_made(type_)
        self._log.info("own_event.made", event_type=type_, own_event_id=event.id, about=about, event_id=cause)
        return Accept(
            # ASCII: a lone surrogate in a sender's event type must not keep us from telling.
            request=Request(
                body=json.dumps(said).encode(), content_type=_JSON, headers=event.headers, query={}, client_ip=""
            ),
            events=(self._routed(event),),
            dedupe_window=self._dedupe_window(),
        )

    def _routed(self, event: Event) -> NewEvent:
        rules = self._rules()
        routing = match_or_none(rules, event, self._log)
        if routing is None:
            return NewEvent(event=event, pointer=None, rules_version=rules.version, is_unrouted=True)
        return NewEvent(
            event=event,
            pointer=None,
            rules_version=rules.version,
            matched=tuple(match.rule for match in routing.matches),
            deliveries=self._planner.deliveries(routing, event, now=event.received_at),
        )


@dataclass(slots=True)
class _Storm:
    """Bounds how many of one type are made."""

    since: datetime
    made: int = 0
    left_out: int = 0

    def admit(self, now: datetime) -> int | None:
        """Return how many were left out since the last one; None if this one is left out, too."""
        # A clock that was set back begins a new minute.
        if not timedelta(0) <= now - self.since < _MINUTE:
            self.since, self.made = now, 0
        if self.made >= MOST_A_MINUTE:
            self.left_out += 1
            return None
        self.made += 1
        left_out, self.left_out = self.left_out, 0
        return left_out


def _problem(problem: Problem) -> Json:
    place = problem.place
    return {
        "file": None if place is None else place.file,
        "line": None if place is None else place.line,
        "column": None if place is None else place.column,
        "path": problem.path,
        "message": problem.message[:_LONGEST],
        "hint": problem.hint,
    }


def _seconds(duration: timedelta) -> int:
    return max(0, round(duration.total_seconds()))
