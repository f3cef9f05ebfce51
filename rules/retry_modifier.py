"""`retry`: when to try again."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import Any, Final

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.modifier_parts import LONGEST_WAIT, PartReader, read_count, read_duration, read_parts, read_share
from hookline.rules.policies import RetryPolicy
from hookline.rules.units import format_duration, parse_duration

#: The schedule that Standard Webhooks recommends: ten attempts over about three days.
DEFAULT_RETRY: Final = RetryPolicy(
    schedule=tuple(parse_duration(wait) for wait in ("5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h")),
    jitter=0.2,
    retry_unknown=True,
)

_NO_RETRY = RetryPolicy(schedule=(), jitter=DEFAULT_RETRY.jitter, retry_unknown=DEFAULT_RETRY.retry_unknown)
_MOST_WAITS = 100
_LONGEST_EFFORT = timedelta(days=365)
# Redirections count as errors: they are never followed.
_LOWEST_STATUS, _HIGHEST_STATUS = 300, 599
_STATUSES = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?")
_LARGEST_FACTOR = 100
_MILLISECOND = timedelta(milliseconds=1)


def parse_retry(node: Node, findings: Findings) -> RetryPolicy | None:
    """Read the value of `retry`; None if there is a mistake, which is in the findings."""
    if isinstance(node, Scalar) and node.value == "none":
        return _NO_RETRY
    if isinstance(node, Items):
        waits = _parse_schedule(node, findings)
        return None if waits is None else RetryPolicy(schedule=waits)
    if not isinstance(node, Entries):
        findings.error(node, "not a retry policy", "write {schedule: [5s, 5m, 1h]}, or none to give up at once")
        return None
    parts = read_parts(node, _PARTS, findings, example="{schedule: [5s, 5m, 1h]}")
    if parts is None:
        return None
    if "schedule" in parts and "exponential" in parts:
        hint = "remove one: schedule lists the waits, exponential computes them"
        findings.error_at_key(node, "exponential", "schedule and exponential both say when to try again", hint)
        return None
    unrolled = parts.pop("exponential", None)
    policy = RetryPolicy(**{"schedule": unrolled or DEFAULT_RETRY.schedule, **parts})
    return policy if _is_in_time(policy, node, findings) else None


def _is_in_time(policy: RetryPolicy, node: Entries, findings: Findings) -> bool:
    if policy.give_up_after is None or not policy.schedule or policy.schedule[0] <= policy.give_up_after:
        return True
    first = format_duration(policy.schedule[0])
    message = f"it gives up before the first wait of {first} is over, so nothing is ever tried again"
    findings.error(node.entries["give_up_after"], message, "write a longer time, or retry: none")
    return False


def _parse_schedule(node: Node, findings: Findings) -> tuple[timedelta, ...] | None:
    if not isinstance(node, Items):
        findings.error(node, "not a list of durations", "write the waits between attempts, as in [5s, 5m, 1h]")
        return None
    if len(node.items) > _MOST_WAITS:
        findings.error(node, f"{len(node.items)} waits", f"a schedule may have {_MOST_WAITS}")
        return None
    waits = [read_duration(item, findings) for item in node.items]
    known = tuple(wait for wait in waits if wait is not None)
    return known if len(known) == len(waits) else None


def _parse_exponential(node: Node, findings: Findings) -> tuple[timedelta, ...] | None:
    """Return the schedule that it stands for."""
    example = "{first: 5s, factor: 2, max: 1h, attempts: 12}"
    parts = read_parts(node, _EXPONENTIAL, findings, example=example, needed=("first", "attempts"))
    if parts is None:
        return None
    longest: timedelta = parts.get("max", LONGEST_WAIT)
    if parts["first"] > longest:
        first = format_duration(parts["first"])
        findings.error(node, f"the first wait of {first} is longer than max", "write a longer max, or a shorter first")
        return None
    waits: list[timedelta] = []
    wait: timedelta = parts["first"]
    for _ in range(parts["attempts"] - 1):
        # To the millisecond: nobody reads more.
        waits.append(timedelta(milliseconds=round(wait / _MILLISECOND)))
        wait = min(wait * parts.get("factor", 2), longest)
    return tuple(waits)


def _parse_factor(node: Node, findings: Findings) -> float | None:
    value: Any = node.value if isinstance(node, Scalar) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= _LARGEST_FACTOR:
        return value
    findings.error(
        node, "not a factor", f"write a number from 1 to {_LARGEST_FACTOR}: each wait is as many times longer"
    )
    return None


def _parse_statuses(node: Node, findings: Findings) -> tuple[tuple[int, int], ...] | None:
    items = node.items if isinstance(node, Items) else (node,)
    if not items:
        findings.error(node, "the list holds no status", "leave it out for the usual: [408, 425, 429, 500-599]")
        return None
    read = [_parse_status(item, findings) for item in items]
    known = tuple(statuses for statuses in read if statuses is not None)
    return known if len(known) == len(read) else None


def _parse_status(node: Node, findings: Findings) -> tuple[int, int] | None:
    found = _STATUSES.fullmatch(node.text) if isinstance(node, Scalar) else None
    if found:
        low, high = int(found[1]), int(found[2] or found[1])
        if _LOWEST_STATUS <= low <= high <= _HIGHEST_STATUS:
            return low, high
    hint = f"write statuses from {_LOWEST_STATUS} to {_HIGHEST_STATUS}, as in [429, 500-599]"
    findings.error(node, "not a status, or a range of them", hint)
    return None


def _parse_retry_unknown(node: Node, findings: Findings) -> bool | None:
    if isinstance(node, Scalar) and node.value in ("always", "never"):
        return node.value == "always"
    findings.error(node, "retry_unknown is always or never", "it decides when a delivery was sent and no answer came")
    return None


_PARTS: Final[dict[str, PartReader]] = {
    "schedule": _parse_schedule,
    "exponential": _parse_exponential,
    "jitter": read_share,
    "on": _parse_statuses,
    "give_up_after": partial(read_duration, longest=_LONGEST_EFFORT),
    "retry_unknown": _parse_retry_unknown,
}
_EXPONENTIAL: Final[dict[str, PartReader]] = {
    "first": read_duration,
    "factor": _parse_factor,
    "max": read_duration,
    "attempts": partial(read_count, low=2, high=_MOST_WAITS + 1),
}
