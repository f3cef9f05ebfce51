"""Promises of `once`, `digest` and `changed`: exact, however many nodes count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.cluster.evidence import Evidence, FinalDelivery
from tests.cluster.plan import Plan


def once(seen: Evidence, plan: Plan) -> Iterator[str]:
    """Of all events that say the same one is acted on and counts the others. (The time is longer than a run.)"""
    for (lane, key), deliveries in _by_key(seen, plan, "once").items():
        acts = [one for one in deliveries if one.state != "suppressed"]
        rest = [one for one in deliveries if one.state == "suppressed"]
        if len(acts) != 1:
            yield f"{len(acts)} of {len(deliveries)} act for {key!r} in {lane}"
            continue
        if {one.part_of for one in rest} - {acts[0].id}:
            yield f"{key!r} in {lane} is counted with others than {acts[0].id}"
        if acts[0].stands_for != len(rest):
            yield f"{acts[0].id} counts {acts[0].stands_for}, and {len(rest)} were suppressed in {lane} {key!r}"


def digests(seen: Evidence, plan: Plan) -> Iterator[str]:
    """Each event is in one digest, with others that say the same, and no digest has more than it takes."""
    names = {event.id: event.name for event in seen.final.events}
    keys = {post.name: post.data.get("key") for post in seen.posts}
    wholes = {one.id: one for one in seen.final.deliveries if one.is_digest}
    parts: dict[str | None, list[str]] = defaultdict(list)
    for one in seen.final.deliveries:
        limits = plan.lanes.get(one.lane)
        if limits is None or limits.gate != "digest" or one.is_digest:
            continue
        if one.state != "collected" or one.part_of not in wholes:
            yield f"{one.id} in {one.lane} is {one.state} and part of {one.part_of}"
        parts[one.part_of].append(names.get(one.event, one.event))
    sent = {arrival.delivery: sorted(arrival.names) for arrival in seen.arrivals if arrival.is_good}
    for whole in wholes.values():
        members = sorted(parts[whole.id])
        if whole.stands_for != len(members):
            yield f"{whole.id} stands for {whole.stands_for} and has {len(members)}"
        if len(members) > plan.lanes[whole.lane].most:
            yield f"{whole.id} has {len(members)}, and takes {plan.lanes[whole.lane].most}"
        if len({keys.get(name) for name in members}) > 1:
            yield f"{whole.id} has events of several keys"
        if whole.id in sent and sent[whole.id] != members:
            yield f"{whole.id} was sent with {sent[whole.id]} and has {members}"


def changes(seen: Evidence, plan: Plan) -> Iterator[str]:
    """A delivery is made where the value is another than before, and only there.

    Of each key one sender sends one event after the other, each until it is stored; the first value acts on nothing.
    """
    sent: dict[str, int] = {}
    values = {}
    for post in seen.posts:
        sent[post.name] = min(sent.get(post.name, post.begin), post.begin)
        values[post.name] = post.data.get("value")
    names = {event.id: event.name for event in seen.final.events}
    for (lane, key), deliveries in _by_key(seen, plan, "changed").items():
        before = None
        for place, one in enumerate(sorted(deliveries, key=lambda one: sent.get(names[one.event], 0))):
            name = names[one.event]
            is_change = place > 0 and values[name] != before
            if is_change == (one.state == "suppressed"):
                yield f"{name} in {lane} {key!r} is {one.state}; it says {values[name]!r} after {before!r}"
            before = values[name]


def _by_key(seen: Evidence, plan: Plan, gate: str) -> dict[tuple[str, str], list[FinalDelivery]]:
    lanes = {lane for lane, limits in plan.lanes.items() if limits.gate == gate}
    names = {event.id: event.name for event in seen.final.events}
    keys = {post.name: str(post.data.get("key")) for post in seen.posts}
    found: dict[tuple[str, str], list[FinalDelivery]] = defaultdict(list)
    for one in seen.final.deliveries:
        if one.lane in lanes and one.event in names:
            found[one.lane, keys.get(names[one.event], "")].append(one)
    return found
