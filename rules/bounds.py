"""`rate`, `breaker`, `hold` and `failure_budget`: what bounds a destination as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

from hookline.rules.document import Findings, Node, Scalar
from hookline.rules.modifier_parts import PartReader, read_count, read_duration, read_parts, read_share, read_windows
from hookline.rules.policies import Bounds, Breaker
from hookline.rules.units import Rate, parse_rate

_LONGEST_BUDGET = timedelta(days=365)
_LONGEST_BREAK = timedelta(days=1)
_MOST_COUNTED = 10_000


def parse_bounds(entries: Mapping[str, Node], findings: Findings) -> Bounds:
    """Read the bounds among what stands beside the action of a destination; every mistake goes to `findings`."""
    found: dict[str, Any] = {}
    for name, read in _BOUNDS.items():
        if name in entries:
            found[name] = read(entries[name], findings)
    breaker = found.get("breaker", Breaker())
    return Bounds(
        rate=found.get("rate"),
        breaker=None if breaker == _NO_BREAKER else breaker,
        hold_during=found.get("hold") or (),
        failure_budget=found.get("failure_budget") or Bounds.failure_budget,
    )


def _parse_rate(node: Node, findings: Findings) -> Rate | None:
    if not isinstance(node, Scalar) or node.value is None or isinstance(node.value, bool):
        findings.error(node, "not a rate", "write a number for each second, minute or hour, as in 50/s or 10/m")
        return None
    try:
        return parse_rate(node.text)
    except ValueError as error:
        findings.error(node, str(error))
        return None


def _parse_hold(node: Node, findings: Findings) -> tuple[str, ...] | None:
    example = '{during: "sat 22:00-24:00 Europe/Berlin"}'
    if isinstance(node, Scalar):
        hint = f"write hold: {example}; to hold it now: hookline hold NAME"
        findings.error(node, "hold is a maintenance window", hint)
        return None
    parts = read_parts(node, {"during": read_windows}, findings, example=example, needed=("during",))
    return None if parts is None else parts["during"]


def _parse_breaker(node: Node, findings: Findings) -> Breaker | str | None:
    if isinstance(node, Scalar) and node.value == _NO_BREAKER:
        return _NO_BREAKER
    if isinstance(node, Scalar):
        hint = "write {share: 50%, of: 10, within: 1m, pause: 30s}, or none to ask it however often it fails"
        findings.error(node, "not a breaker", hint)
        return None
    parts = read_parts(node, _BREAKER, findings, example="{share: 50%, of: 10, within: 1m, pause: 30s}")
    if parts is None:
        return None
    least = parts.pop("of", Breaker.least)
    return Breaker(**parts, least=least)


def _parse_share(node: Node, findings: Findings) -> float | None:
    share = read_share(node, findings)
    if share == 0:
        findings.error(node, "0% is reached before anything failed", "write more, as in 50%, or breaker: none")
        return None
    return share


_NO_BREAKER: Final = "none"
_BREAKER: Final[dict[str, PartReader]] = {
    "share": _parse_share,
    "of": partial(read_count, low=1, high=_MOST_COUNTED),
    "within": partial(read_duration, longest=_LONGEST_BREAK),
    "pause": partial(read_duration, longest=_LONGEST_BREAK),
}
_BOUNDS: Final[dict[str, PartReader]] = {
    "rate": _parse_rate,
    "hold": _parse_hold,
    "breaker": _parse_breaker,
    "failure_budget": partial(read_duration, longest=_LONGEST_BUDGET),
}
