"""What an operator may ask about many deliveries, as JSON: to replay them, or to cancel them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Self, TypeVar, get_args

from hookline.daemon.ids import decode
from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.port import DeliveryFilter
from hookline.rules import EventId
from hookline.rules.suggestion import did_you_mean
from hookline.rules.units import parse_rate, parse_time

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

_Id = TypeVar("_Id", EventId, DeliveryId)


class ReplayRequestError(ValueError):
    """A request that cannot be, or names what does not exist. Caught by the admin API, which answers 422."""


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
        """Read a request. Raises `ReplayRequestError` for anything else."""
        known = ("events", "deliveries", "filter", "by", "rate", "dry_run")
        asked = _object(said, known, "send an object with `events`, `deliveries` or `filter`")
        by = asked.get("by", "then")
        if by not in get_args(By):
            raise ReplayRequestError(f"`by` is then or now, not {by!r}")
        events, deliveries = _ids("evt", asked, "events", EventId), _ids("dlv", asked, "deliveries", DeliveryId)
        where = _filter(asked["filter"]) if "filter" in asked else None
        _check_count(len(events) + len(deliveries), "events or deliveries", has_filter=where is not None)
        if by == "now" and deliveries:
            raise ReplayRequestError("`by: now` goes with events: a delivery belongs to the rule that asked for it")
        if by == "now" and where is not None:
            _check_event_filter(where)
        if where is not None and where.state in _UNDER_WAY:
            raise ReplayRequestError(f"what is {where.state} is under way: there is nothing to repeat yet")
        return cls(
            events=events,
            deliveries=deliveries,
            where=where,
            by=by,
            spacing=_spacing(asked["rate"]) if "rate" in asked else DEFAULT_SPACING,
            is_dry_run=_flag(asked, "dry_run"),
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
        """Read a request. Raises `ReplayRequestError` for anything else."""
        asked = _object(said, ("deliveries", "filter", "dry_run"), "send an object with `deliveries` or `filter`")
        deliveries = _ids("dlv", asked, "deliveries", DeliveryId)
        where = _filter(asked["filter"], default=State.PENDING) if "filter" in asked else None
        _check_count(len(deliveries), "deliveries", has_filter=where is not None)
        if where is not None and where.state not in _CANCELLABLE:
            raise ReplayRequestError(f"only what is pending or collected can be cancelled, not what is {where.state}")
        return cls(deliveries=deliveries, where=where, is_dry_run=_flag(asked, "dry_run"))


def _object(said: Any, known: Collection[str], otherwise: str) -> Mapping[str, Any]:
    if not isinstance(said, dict):
        raise ReplayRequestError(otherwise)
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise ReplayRequestError(_unknown(unknown, known))
    return said


def _unknown(names: list[str], known: Collection[str]) -> str:
    near = did_you_mean(names[0], known) if len(names) == 1 else None
    return f"unknown: {', '.join(name[:40] for name in names[:10])}" + (f"; {near}" if near else "")


def _ids(prefix: str, asked: Mapping[str, Any], key: str, kind: type[_Id]) -> tuple[_Id, ...]:
    said = asked.get(key, [])
    if not isinstance(said, list):
        raise ReplayRequestError("ids come in a list")
    for one in said:
        try:
            decode(prefix, str(one))
        except ValueError as error:
            raise ReplayRequestError(str(error)) from error
    # Named twice is meant once.
    return tuple(dict.fromkeys(map(kind, said)))


def _check_count(named: int, what: str, *, has_filter: bool) -> None:
    if has_filter and named:
        raise ReplayRequestError("name them by id, or pick them by `filter`: not both")
    if not has_filter and not 0 < named <= MAX_IDS:
        raise ReplayRequestError(f"name between 1 and {MAX_IDS} {what}, or pick them by `filter`")


def _filter(said: Any, *, default: State | None = None) -> DeliveryFilter:
    asked = _object(said, _FILTER_KEYS, "`filter` is an object")
    if not asked:
        raise ReplayRequestError(f"a filter says at least one of {', '.join(_FILTER_KEYS)}")
    where = DeliveryFilter(
        state=_state(asked) if "state" in asked else default,
        source=_text(asked, "source"),
        destination=_text(asked, "destination"),
        rule=_text(asked, "rule"),
        since=_time(asked, "since"),
        until=_time(asked, "until"),
    )
    if where.since is not None and where.until is not None and where.since >= where.until:
        raise ReplayRequestError("`since` is not before `until`, so nothing is between")
    return where


def _check_event_filter(where: DeliveryFilter) -> None:
    said = [one.name for one in fields(where) if one.name not in _EVENT_KEYS and getattr(where, one.name)]
    if said:
        raise ReplayRequestError(
            f"`by: now` picks events, which have no {said[0]}: pick them by {', '.join(_EVENT_KEYS)}"
        )


def _text(asked: Mapping[str, Any], key: str) -> str | None:
    said = asked.get(key)
    if key in asked and not isinstance(said, str):
        raise ReplayRequestError(f"`{key}` is a name, not {said!r}"[:200])
    return said


def _state(asked: Mapping[str, Any]) -> State:
    names = [state.value for state in State]
    if asked["state"] not in names:
        raise ReplayRequestError(f"`state` is one of {', '.join(names)}, not {asked['state']!r}"[:200])
    return State(asked["state"])


def _time(asked: Mapping[str, Any], key: str) -> datetime | None:
    moment = parse_time(asked[key]) if isinstance(asked.get(key), str) else None
    if key in asked and moment is None:
        raise ReplayRequestError(f"`{key}` is a time such as 2026-05-18T12:00:00Z, not {asked[key]!r}"[:200])
    return moment


def _spacing(said: Any) -> timedelta:
    try:
        rate = parse_rate(str(said))
    except ValueError as error:
        raise ReplayRequestError(f"`rate`: {error}") from error
    return rate.per / rate.count


def _flag(asked: Mapping[str, Any], key: str) -> bool:
    said = asked.get(key, False)
    if not isinstance(said, bool):
        raise ReplayRequestError(f"`{key}` is true or false, not {said!r}"[:200])
    return said
