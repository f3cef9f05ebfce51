"""Destinations and what was to reach them: what is held, fails, waits, or is dead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from hookline.daemon.commands.output import ago
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, counted, ok, shortened, warn, wrong
from hookline.daemon.doctor.sight import MOST_DEAD, Sight
from hookline.daemon.store.stored import StoredDelivery

#: What is due and waits for as long, without a hold or a window, is stuck.
_LONG_WAIT: Final = timedelta(hours=1)


def check_destinations(sight: Sight) -> list[Finding]:
    """Say which destinations are held, fail, or let others wait for long."""
    store = sight.store
    if store is None or isinstance(store, Failed):
        return []
    states = sight.running.destinations
    every = store.destinations if states is None else states
    found = [finding for one in every if (finding := judge_destination(one, sight)) is not None]
    if found or not every:
        found.sort(key=lambda one: one.level != "wrong")
        return shortened(found, sight.again("destinations"))
    delivered, failed = sum(one["delivered_24h"] for one in every), sum(one["failed_24h"] for one in every)
    text = f"{counted(len(every), 'destination')}, {delivered:,} delivered and {failed:,} failed in the last day"
    return [ok("destinations", text)]


def judge_destination(state: Mapping[str, Any], sight: Sight) -> Finding | None:
    """Judge one, as `hookline destinations --json` has it."""
    name, waiting = str(state["destination"]), int(state["waiting"])
    oldest = _moment(state["oldest_due_at"])
    waits = f"{waiting:,} waiting" if waiting else "none waiting"
    if waiting and oldest is not None and oldest < sight.now:
        waits += f", oldest {ago(oldest, sight.now).removesuffix(' ago')}"
    look = sight.again(f"deliveries --destination {name}")
    if state["held"]:
        why = f": {state['reason']}" if state["reason"] else ""
        text = f"{name}: held{why}; {waits}"
        return warn("destinations", text, sight.again(f"release {name}"))
    failing = _moment(state["failing_since"])
    if failing is not None:
        live = state.get("live") or {}
        breaker = ", not tried now (breaker open)" if live.get("breaker") == "open" else ""
        return wrong("destinations", f"{name}: fails since {ago(failing, sight.now)}{breaker}; {waits}", look)
    if not state["configured"] and waiting:
        return wrong("destinations", f"{name}: not in the configuration any more; {waits}", look)
    is_window = state["state"] in ("maintenance", "limited")
    if waiting and oldest is not None and sight.now - oldest > _LONG_WAIT and not is_window:
        return warn("destinations", f"{name}: {waits}", look)
    return None


def check_dead(sight: Sight) -> list[Finding]:
    """Say how many dead letters were not sent again, how old, and of which destinations."""
    store = sight.store
    if store is None or isinstance(store, Failed):
        return []
    return judge_dead(store.dead, sight)


def judge_dead(dead: Sequence[StoredDelivery], sight: Sight) -> list[Finding]:
    """Judge dead letters, newest first."""
    if not dead:
        return [ok("dead letters", "none")]
    last = dead[-1].last_attempt
    oldest = ago(last.started_at if last else dead[-1].created_at, sight.now)
    many = f"{MOST_DEAD:,} or more" if len(dead) >= MOST_DEAD else f"{len(dead):,}"
    counts = Counter(one.destination for one in dead).most_common(3)
    text = f"{many}, the oldest from {oldest}: {', '.join(f'{name} {count:,}' for name, count in counts)}"
    return [warn("dead letters", text, sight.again("dead"))]


def _moment(said: Any) -> datetime | None:
    return datetime.fromisoformat(said) if isinstance(said, str) else None
