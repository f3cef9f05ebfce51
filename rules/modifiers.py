"""What stands beside an action in a rule, or on a destination as its defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.steps import Modifiers, RetryPolicy
from hookline.rules.suggestion import did_you_mean
from hookline.rules.units import format_duration, parse_duration

#: Every name that may stand beside an action or on a destination; none of them may name an action or a destination.
MODIFIER_NAMES: Final = frozenset(
    {
        "retry",
        "timeout",
        "dry_run",
        "delay",
        "order_by",
        "once",
        "digest",
        "during",
        "rate",
        "hold",
        "concurrency",
    }
)

#: They limit a destination as a whole, so one rule cannot set them.
DESTINATION_ONLY: Final = frozenset({"rate", "hold", "concurrency"})

_NOT_YET: Final = frozenset({"delay", "order_by", "once", "digest", "during", "rate", "hold"})

#: The schedule that Standard Webhooks recommends: ten attempts over about three days.
DEFAULT_RETRY: Final = RetryPolicy(
    schedule=tuple(parse_duration(wait) for wait in ("5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h")),
    jitter=0.2,
    retry_unknown=True,
)

_NO_RETRY = RetryPolicy(schedule=(), jitter=DEFAULT_RETRY.jitter, retry_unknown=DEFAULT_RETRY.retry_unknown)
_LONGEST_WAIT = timedelta(days=30)
_MOST_WAITS = 100
_LONGEST_TIMEOUT = timedelta(hours=1)
_JITTER = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%")


def parse_modifiers(entries: Mapping[str, Node], findings: Findings, *, is_destination: bool = False) -> Modifiers:
    """Read the modifiers among `entries`, which hold nothing else; every mistake goes to `findings`.

    Those that this version does not carry out are errors: a rule that means them must not run without them.
    `concurrency` of a destination is read by the configuration, and passed over here.
    """
    retry: RetryPolicy | None = None
    timeout: timedelta | None = None
    dry_run: bool | None = None
    for name, node in entries.items():
        if name in DESTINATION_ONLY and not is_destination:
            findings.error(
                node, f'"{name}" limits a destination as a whole', "set it on the destination in hookline.yaml"
            )
        elif name in _NOT_YET:
            findings.error(node, f'"{name}" is not in this version yet', "remove it")
        elif name == "retry":
            retry = _parse_retry(node, findings)
        elif name == "timeout":
            timeout = _parse_wait(node, findings, longest=_LONGEST_TIMEOUT)
        elif name == "dry_run":
            dry_run = _parse_dry_run(node, findings)
        elif name != "concurrency":
            findings.error(node, f'unknown modifier "{name}"', did_you_mean(name, MODIFIER_NAMES))
    return Modifiers(retry=retry, timeout=timeout, dry_run=dry_run)


def _parse_retry(node: Node, findings: Findings) -> RetryPolicy | None:
    if isinstance(node, Scalar) and node.value == "none":
        return _NO_RETRY
    if isinstance(node, Items):
        waits = _parse_schedule(node, findings)
        return None if waits is None else RetryPolicy(schedule=waits)
    if not isinstance(node, Entries):
        findings.error(node, "not a retry policy", "write {schedule: [5s, 5m, 1h]}, or none to give up at once")
        return None
    schedule: tuple[timedelta, ...] | None = DEFAULT_RETRY.schedule
    jitter: float | None = DEFAULT_RETRY.jitter
    retry_unknown: bool | None = DEFAULT_RETRY.retry_unknown
    for key, value in node.entries.items():
        match key:
            case "schedule":
                schedule = _parse_schedule(value, findings)
            case "jitter":
                jitter = _parse_jitter(value, findings)
            case "retry_unknown":
                retry_unknown = _parse_retry_unknown(value, findings)
            case _:
                hint = did_you_mean(key, ("schedule", "jitter", "retry_unknown"))
                findings.error_at_key(
                    node, key, f'unknown key "{key}"', hint or "keys: schedule, jitter, retry_unknown"
                )
    if schedule is None or jitter is None or retry_unknown is None:
        return None
    return RetryPolicy(schedule=schedule, jitter=jitter, retry_unknown=retry_unknown)


def _parse_schedule(node: Node, findings: Findings) -> tuple[timedelta, ...] | None:
    if not isinstance(node, Items):
        findings.error(node, "not a list of durations", "write the waits between attempts, as in [5s, 5m, 1h]")
        return None
    if len(node.items) > _MOST_WAITS:
        findings.error(node, f"{len(node.items)} waits", f"a schedule may have {_MOST_WAITS}")
        return None
    waits = [_parse_wait(item, findings, longest=_LONGEST_WAIT) for item in node.items]
    known = tuple(wait for wait in waits if wait is not None)
    return known if len(known) == len(waits) else None


def _parse_wait(node: Node, findings: Findings, *, longest: timedelta) -> timedelta | None:
    if not isinstance(node, Scalar) or node.value is None or isinstance(node.value, bool):
        findings.error(node, "not a duration", "write it as in 250ms, 10s, 5m, 2h30m or 7d")
        return None
    try:
        wait = parse_duration(node.text)
    except ValueError as error:
        findings.error(node, str(error))
        return None
    if not timedelta() < wait <= longest:
        findings.error(
            node, f"{node.text} is out of bounds", f"write more than 0s and at most {format_duration(longest)}"
        )
        return None
    return wait


def _parse_jitter(node: Node, findings: Findings) -> float | None:
    found = _JITTER.fullmatch(node.text) if isinstance(node, Scalar) else None
    if found and float(found[1]) <= 100:
        return float(found[1]) / 100
    findings.error(node, "not a share", "write 0% to 100%, as in 20%")
    return None


def _parse_retry_unknown(node: Node, findings: Findings) -> bool | None:
    if isinstance(node, Scalar) and node.value in ("always", "never"):
        return node.value == "always"
    findings.error(node, "retry_unknown is always or never", "it decides when a delivery was sent and no answer came")
    return None


def _parse_dry_run(node: Node, findings: Findings) -> bool | None:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    findings.error(node, "dry_run is true or false")
    return None
