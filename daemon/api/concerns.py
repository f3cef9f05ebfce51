"""What somebody has to see to, gravest first, each with the page that shows it; and the one sentence above it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import quote

from hookline.daemon.api.shapes.overview import Concern
from hookline.daemon.delivery.retry import spoken
from hookline.daemon.destinations.states import DestinationState
from hookline.daemon.nodes.watching import NodesStanding
from hookline.daemon.store.stored import Pause, StoredRejection

#: Refusals that are longer ago are over.
REFUSED_LATELY: Final = timedelta(hours=1)
#: What is overdue for longer waits for something that nobody has told of.
LONG_OVERDUE: Final = timedelta(minutes=5)
#: Nodes differ for a while at each roll-out, and one that is started again is away for a moment.
NODES_DIFFER: Final = timedelta(minutes=1)
_NOTHING: Final = timedelta(0)
_SECOND: Final = timedelta(seconds=1)
_SAID: Final[Mapping[str, tuple[Literal["bad", "warn"], str]]] = {
    "open": ("bad", "does not answer"),
    "failing": ("bad", "fails"),
    "probing": ("warn", "is being tried again"),
    "held": ("warn", "is held"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that a concern may come of."""

    now: datetime
    #: Of the store: kind, why, since; None if there is none.
    trouble: Mapping[str, str] | None
    #: Why what runs is not what is on disk.
    degraded: Sequence[str]
    states: Sequence[DestinationState]
    #: The configured ones: how often something should come; None: nobody said.
    sources: Mapping[str, timedelta | None]
    paused: Mapping[str, Pause]
    #: By source: when its last event was stored.
    last_at: Mapping[str, datetime]
    #: The latest first.
    rejections: Sequence[StoredRejection]
    #: Dead letters of the last day that nobody sent again, and whether there are more.
    dead: int
    has_more_dead: bool
    #: None: the store is this daemon's alone.
    nodes: NodesStanding | None = None


def concerns(standing: Standing) -> list[Concern]:
    """Return all of them, gravest first."""
    return [
        *_of_daemon(standing),
        *(_of_nodes(standing.nodes) if standing.nodes else ()),
        *sorted(_of_destinations(standing), key=lambda one: one["tone"] != "bad"),
        *_of_deliveries(standing),
        *_of_sources(standing),
    ]


def oldest_overdue(states: Iterable[DestinationState], now: datetime) -> timedelta | None:
    """Return how long the delivery is overdue that has waited longest, 0 if none is; None if none waits."""
    due = [state.work.oldest_due_at for state in states if state.work and state.work.oldest_due_at]
    return max(_NOTHING, now - min(due)) if due else None


def all_is_well(standing: Standing, *, received: int, minutes: int) -> str:
    """Return the sentence for when there is no concern."""
    span = "the last hour" if minutes >= 60 else "the last minute" if minutes == 1 else f"the last {minutes} minutes"
    configured = sum(state.is_configured and state.rule is None for state in standing.states)
    said = [f"{_count(received, 'event')} in {span}", _count(configured, "destination")][: 1 + bool(configured)]
    overdue = oldest_overdue(standing.states, standing.now)
    waits = "nothing waits" if overdue is None else f"nothing waits longer than {spoken(max(overdue, _SECOND))}"
    return f"All is well: {', '.join([*said, waits])}."


def see_to(count: int) -> str:
    """Return the sentence for when there are concerns."""
    return f"{_count(count, 'thing')} to see to:"


def _of_daemon(standing: Standing) -> Iterator[Concern]:
    trouble, degraded = standing.trouble, standing.degraded
    if trouble is not None:
        detail = f"{trouble.get('why', '')} (since {trouble.get('since', '')})"
        yield _concern("bad", "The store takes nothing now: senders are told to come again.", detail, "/system")
    if degraded:
        more = f" (and {len(degraded) - 1} more)" if len(degraded) > 1 else ""
        text = "What runs is not what is on disk: the last good rules do."
        yield _concern("bad", text, f"{degraded[0]}{more}", "/rules")


def _of_nodes(nodes: NodesStanding) -> Iterator[Concern]:
    if nodes.leaderless_since is not None and (since := nodes.now - nodes.leaderless_since) > NODES_DIFFER:
        detail = f"for {spoken(since)}: nothing old is removed, and no alarm is raised"
        yield _concern("bad", "No node leads", detail, "/system#nodes")
    for one in nodes.missing:
        if (since := nodes.now - one.seen_at) > NODES_DIFFER:
            detail = f"last seen {spoken(since)} ago; the others do its work"
            yield _concern("warn", f"Node {one.name} is gone", detail, "/system#nodes")
    if nodes.differ_since is not None and (since := nodes.now - nodes.differ_since) > NODES_DIFFER:
        yield _concern("warn", "The nodes are not the same", f"for {spoken(since)}: {_unlike(nodes)}", "/system#nodes")


def _unlike(nodes: NodesStanding) -> str:
    said = []
    if len(nodes.versions) > 1:
        said.append(f"versions {', '.join(nodes.versions)}")
    if len(nodes.rules) > 1:
        said.append(f"rules {', '.join(rules[:6] for rules in nodes.rules)}")
    return "; ".join(said)


def _of_destinations(standing: Standing) -> Iterator[Concern]:
    for state in standing.states:
        if state.condition not in _SAID:
            continue
        tone, said = _SAID[state.condition]
        waiting = state.work.pending if state.work else 0
        facts = [f"{_count(waiting, 'delivery', 'deliveries')} waiting"]
        if state.work is not None and state.work.failing_since is not None:
            facts.insert(0, f"for {spoken(max(_NOTHING, standing.now - state.work.failing_since))}")
        if state.work is not None and state.work.reason:
            facts.insert(0, state.work.reason)
        # An action in place is shown among the destinations; it has no page of its own.
        page = "/destinations" if state.rule is not None else f"/destinations/{quote(state.name, safe='')}"
        yield _concern(tone, f"{state.name} {said}", ", ".join(facts), page)


def _of_deliveries(standing: Standing) -> Iterator[Concern]:
    if standing.dead:
        count = f"{standing.dead:,}" + (" or more" if standing.has_more_dead else "")
        noun = "delivery" if standing.dead == 1 else "deliveries"
        yield _concern("bad", f"{count} {noun} ended dead in the last day", "look at why, then replay them", "/dead")
    overdue = oldest_overdue(standing.states, standing.now)
    if overdue is not None and overdue > LONG_OVERDUE and not any(s.condition != "ok" for s in standing.states):
        text = f"Deliveries wait {spoken(overdue)} longer than they should"
        yield _concern("warn", text, "more comes in than goes out: see `concurrency` and `rate`", "/destinations")


def _of_sources(standing: Standing) -> Iterator[Concern]:
    for name, every in standing.sources.items():
        last = standing.last_at.get(name)
        page = f"/sources/{quote(name, safe='')}"
        if every is not None and last is not None and standing.now - last > every:
            detail = f"its last event came {spoken(standing.now - last)} ago, and one is expected every {spoken(every)}"
            yield _concern("warn", f"{name} is silent", detail, page)
        if name in standing.paused:
            reason = standing.paused[name].reason
            detail = "its events are kept, and matched when it is resumed"
            yield _concern("warn", f"{name} is paused", f"{reason}: {detail}" if reason else detail, page)
    refused: dict[str, list[StoredRejection]] = {}
    for one in standing.rejections:
        if one.source in standing.sources and standing.now - one.last_at <= REFUSED_LATELY:
            refused.setdefault(one.source, []).append(one)
    for name, some in refused.items():
        count = _count(sum(one.count for one in some), "request")
        detail = f"the last for `{some[0].reason}`: {some[0].detail}"
        yield _concern("warn", f"{name} refused {count} lately", detail, f"/sources/{quote(name, safe='')}")


def _concern(tone: Literal["bad", "warn"], text: str, detail: str, page: str) -> Concern:
    return Concern(tone=tone, text=text, detail=detail[:500], page=page)


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
