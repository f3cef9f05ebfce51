"""Promises about what is accepted: stored, once, with the deliveries that the rules ask for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.cluster.evidence import Evidence, FinalDelivery, Post
from tests.cluster.plan import Plan

_ENDED = frozenset({"delivered", "dead", "cancelled", "suppressed", "collected"})


def answered_is_stored(seen: Evidence, _plan: Plan) -> Iterator[str]:
    """Each event that a sender was told is stored is there, once, under the id that it was told."""
    stored = Counter(event.name for event in seen.final.events)
    by_id = {event.id: event for event in seen.final.events}
    for name, posts in _by_name(seen).items():
        told = [post for post in posts if post.is_stored]
        if told and stored[name] != 1:
            yield f"{name} was answered 200 and is stored {stored[name]} times"
        for post in told:
            if post.event not in by_id or by_id[post.event].name != name:
                yield f"{name} was told {post.event}, which is not it"


def answers(seen: Evidence, _plan: Plan) -> Iterator[str]:
    """A sender is told that it is stored, or to come again; or nothing, where node or network is gone."""
    for post in seen.posts:
        if post.status not in {200, 503, None}:
            yield f"{post.name} was answered {post.status} by {post.node}"


def stored_was_sent(seen: Evidence, _plan: Plan) -> Iterator[str]:
    """No event is stored that nobody sent."""
    sent = {(post.name, post.kind) for post in seen.posts}
    for event in seen.final.events:
        if (event.name, event.kind) not in sent:
            yield f"{event.id} is {event.kind} {event.name}, which nobody sent"


def accepted_once(seen: Evidence, _plan: Plan) -> Iterator[str]:
    """Of all requests with a key one is told that it is new, whichever node it came to; all are told the same id."""
    for name, posts in _by_name(seen).items():
        told = [post for post in posts if post.is_stored]
        new = [post for post in told if post.is_accepted]
        is_certain = all(post.is_stored for post in posts)
        if len(new) > 1:
            yield f"{name} was accepted {len(new)} times, by {', '.join(post.node for post in new)}"
        # Where no 200 came, that one may have been the first.
        if told and not new and is_certain:
            yield f"{name} is a duplicate of nothing"
        if len({post.event for post in told}) > 1:
            yield f"{name} was told several ids: {sorted({post.event for post in told})}"


def duplicates_counted(seen: Evidence, _plan: Plan) -> Iterator[str]:
    """An event's duplicates are those that were answered so, and of those that got no answer some."""
    posts = _by_name(seen)
    for event in seen.final.events:
        told = [post for post in posts.get(event.name, ()) if post.is_stored]
        least = sum(not post.is_accepted for post in told)
        most = max(0, len(posts.get(event.name, ())) - 1)
        if not least <= event.duplicates <= most:
            yield f"{event.name} has {event.duplicates} duplicates; it was answered so {least} times, at most {most}"
        if event.conflicts:
            yield f"{event.name} has {event.conflicts} conflicts: it was always sent with the same body"


def routed(seen: Evidence, plan: Plan) -> Iterator[str]:
    """Each event has one delivery in each lane that its type goes to, by the rules that its version holds."""
    lanes: dict[str, Counter[str]] = defaultdict(Counter)
    for delivery in seen.final.deliveries:
        if not delivery.is_digest:
            lanes[delivery.event][delivery.lane] += 1
    meant: dict[tuple[str, str], Counter[str]] = {}
    for event in seen.final.events:
        got, ways = lanes[event.id], plan.routes.get(event.kind, (frozenset(),))
        if got not in [Counter(way) for way in ways]:
            yield f"{event.name} ({event.kind}) has deliveries in {dict(got)}, not in {[sorted(way) for way in ways]}"
        elif got != (first := meant.setdefault((event.version, event.kind), got)):
            yield f"{event.name} went to {dict(got)} and others of its version to {dict(first)}"


def ended(seen: Evidence, plan: Plan) -> Iterator[str]:
    """Nothing waits or runs for ever, and nothing dies that could be delivered."""
    for delivery in seen.final.deliveries:
        if delivery.state not in _ENDED:
            yield f"{_named(delivery)} is {delivery.state}"
        if delivery.state == "dead" and delivery.lane not in plan.may_die:
            last = delivery.rows[-1].note if delivery.rows else "never tried"
            yield f"{_named(delivery)} is dead after {delivery.attempts} attempts, {delivery.crashes} crashes: {last}"


def _named(delivery: FinalDelivery) -> str:
    return f"{delivery.id} in {delivery.lane}"


def _by_name(seen: Evidence) -> dict[str, list[Post]]:
    found: dict[str, list[Post]] = defaultdict(list)
    for post in seen.posts:
        found[post.name].append(post)
    return found
