"""What an operator may ask about many deliveries, as JSON: to replay them, or to cancel them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final, Literal, Self, get_args

from hookline.daemon.asked import AskedError, flag_of, ids_of, object_of, text_of, time_of
from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.stored import DeliveryFilter
from hookline.rules import EventId
from hookline.rules.units import parse_rate

By = Literal["then", "now"]
#: More ids than that are picked by a filter.
MAX_IDS: Final = 10_000
#: More than that at once are asked for in parts, by `since` and `until`.
MAX_PICKED: Final = 1_000_000
#: How long after one another many replays become due, unless said otherwise: 20 a second.
DEFAULT_SPACING: Final = timedelta(milliseconds=50)

_FILTER_KEYS: Final = ("state", "source", "destination", "rule", "since", "until")
#: With `by: now` it is events that are picked, which have no destination, rule or state.
_EVENT_KEYS: Final = ("source", "since", "until")
_UNDER_WAY: Final = (State.PENDING, State.RUNNING)
_CANCELLABLE: Final = (State.PENDING, State.COLLECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What to ask again: events or deliveries by id, or what a filter picks."""

    events: tuple[EventId, ...] = ()
    deliveries: tuple[DeliveryId, ...] = ()
    #: Without a state: what has ended and was not collected or suppressed. None: by id.
    where: DeliveryFilter | None = None
    #: `then`: the same deliveries again; `now`: what the live rules ask for (events only).
    by: By = "then"
    #: How long after one another many become due.
    spacing: timedelta = DEFAULT_SPACING
    #: Only say what would be done.
    is_dry_run: bool = False

    @classmethod
    def from_json(cls, said: Any) -> Self:
        """Read a request. Raises `AskedError` for anything else."""
        known = ("events", "deliveries", "filter", "by", "rate", "dry_run")
        asked = object_of(said, known, "send an object with `events`, `deliveries` or `filter`")
        by = asked.get("by", "then")
        if by not in get_args(By):
            raise AskedError(f"`by` is then or now, not {by!r}")
        events, deliveries = ids_of("evt", asked, "events", EventId), ids_of("dlv", asked, "deliveries", DeliveryId)
        where = _filter(asked["filter"]) if "filter" in asked else None
        _check_count(len(events) + len(deliveries), "events or deliveries", has_filter=where is not None)
        if by == "now" and deliveries:
            raise AskedError("`by: now` goes with events: a delivery belongs to the rule that asked for it")
        if by == "now" and where is not None:
            _check_event_filter(where)
        if where is not None and where.state in _UNDER_WAY:
            raise AskedError(f"what is {where.state} is under way: there is nothing to repeat yet")
        return cls(
            events=events,
            deliveries=deliveries,
            where=where,
            by=by,
            spacing=_spacing(asked["rate"]) if "rate" in asked else DEFAULT_SPACING,
            is_dry_run=flag_of(asked, "dry_run"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """Which waiting deliveries to cancel: by id, or what a filter picks."""

    deliveries: tuple[DeliveryId, ...] = ()
    #: Its state is pending or collected. None: by id.
    where: DeliveryFilter | None = None
    #: Only say what would be done.
    is_dry_run: bool = False

    @classmethod
    def from_json(cls, said: Any) -> Self:
        """Read a request. Raises `AskedError` for anything else."""
        asked = object_of(said, ("deliveries", "filter", "dry_run"), "send an object with `deliveries` or `filter`")
        deliveries = ids_of("dlv", asked, "deliveries", DeliveryId)
        where = _filter(asked["filter"], default=State.PENDING) if "filter" in asked else None
        _check_count(len(deliveries), "deliveries", has_filter=where is not None)
        if where is not None and where.state not in _CANCELLABLE:
            raise AskedError(f"only what is pending or collected can be cancelled, not what is {where.state}")
        return cls(deliveries=deliveries, where=where, is_dry_run=flag_of(asked, "dry_run"))


def _check_count(named: int, what: str, *, has_filter: bool) -> None:
    if has_filter and named:
        raise AskedError("name them by id, or pick them by `filter`: not both")
    if not has_filter and not 0 < named <= MAX_IDS:
        raise AskedError(f"name between 1 and {MAX_IDS} {what}, or pick them by `filter`")


def _filter(said: Any, *, default: State | None = None) -> DeliveryFilter:
    asked = object_of(said, _FILTER_KEYS, "`filter` is an object")
    if not asked:
        raise AskedError(f"a filter says at least one of {', '.join(_FILTER_KEYS)}")
    where = DeliveryFilter(
        state=_state(asked) if "state" in asked else default,
        source=text_of(asked, "source"),
        destination=text_of(asked, "destination"),
        rule=text_of(asked, "rule"),
        since=time_of(asked, "since"),
        until=time_of(asked, "until"),
    )
    if where.since is not None and where.until is not None and where.since >= where.until:
        raise AskedError("`since` is not before `until`, so nothing is between")
    return where


def _check_event_filter(where: DeliveryFilter) -> None:
    said = [one.name for one in fields(where) if one.name not in _EVENT_KEYS and getattr(where, one.name)]
    if said:
        raise AskedError(f"`by: now` picks events, which have no {said[0]}: pick them by {', '.join(_EVENT_KEYS)}")


def _state(asked: Mapping[str, Any]) -> State:
    names = [state.value for state in State]
    if asked["state"] not in names:
        raise AskedError(f"`state` is one of {', '.join(names)}, not {asked['state']!r}"[:200])
    return State(asked["state"])


def _spacing(said: Any) -> timedelta:
    try:
        rate = parse_rate(str(said))
    except ValueError as error:
        raise AskedError(f"`rate`: {error}") from error
    return rate.per / rate.count
