"""`once`, `digest` and `changed`: which events of a key are acted on, and which together."""

from __future__ import annotations

from functools import partial
from typing import Final

from hookline.rules.document import Findings, Items, Node, Scalar
from hookline.rules.event import Json
from hookline.rules.modifier_parts import (
    PartReader,
    read_count,
    read_duration,
    read_flag,
    read_parts,
    read_selector,
    read_selectors,
)
from hookline.rules.policies import Changed, Digest, Once

_MOST_COLLECTED = 10_000
_MOST_VALUES = 100


def parse_once(node: Node, findings: Findings) -> Once | None:
    """Read the value of `once`; None if there is a mistake, which is in the findings."""
    parts = read_parts(node, _ONCE, findings, example="{per: $.data.id, within: 10m}", needed=("per", "within"))
    return None if parts is None else Once(**parts)


def parse_digest(node: Node, findings: Findings) -> Digest | None:
    """Read the value of `digest`; None if there is a mistake, which is in the findings."""
    parts = read_parts(node, _DIGEST, findings, example="{every: 1h, per: tenant}", needed=("every",))
    if parts is None:
        return None
    flush_on_stop = parts.pop("on_stop", "keep") == "flush"
    return Digest(**parts, flush_on_stop=flush_on_stop)


def parse_changed(node: Node, findings: Findings) -> Changed | None:
    """Read the value of `changed`; None if there is a mistake, which is in the findings."""
    example = "{of: $.data.stage, per: $.data.id}"
    parts = read_parts(node, _CHANGED, findings, example=example, needed=("of", "per"))
    if parts is None:
        return None
    if parts.get("first") and "from" in parts:
        hint = "remove one: first acts where there was no value before, from where there was this one"
        findings.error(node, "first and from contradict each other", hint)
        return None
    from_ = parts.pop("from", None)
    return Changed(**parts, from_=from_)


def _parse_on_stop(node: Node, findings: Findings) -> str | None:
    if isinstance(node, Scalar) and node.value in ("keep", "flush"):
        return str(node.value)
    hint = "keep leaves what was collected for the next start, flush sends it before the daemon stops"
    findings.error(node, "on_stop is keep or flush", hint)
    return None


def _parse_values(node: Node, findings: Findings) -> tuple[Json, ...] | None:
    """Read a value, or a list of them any of which will do."""
    items = node.items if isinstance(node, Items) else (node,)
    if not 0 < len(items) <= _MOST_VALUES:
        findings.error(node, f"a list of {len(items)} values", f"write 1 to {_MOST_VALUES}, or leave it out for any")
        return None
    if isinstance(node, Scalar) and node.value is None:
        findings.error(node, "compared with nothing", "write [null] for a value that is not there")
        return None
    for item in items:
        if isinstance(item, Scalar) and isinstance(item.value, str) and item.value.startswith(("$.", "$[")):
            findings.error(item, f"{item.text[:80]} is a path, and values are compared here", "write what it should be")
            return None
    return tuple(item.plain() for item in items)


_ONCE: Final[dict[str, PartReader]] = {"per": read_selectors, "within": read_duration, "summary": read_flag}
_DIGEST: Final[dict[str, PartReader]] = {
    "every": read_duration,
    "per": read_selectors,
    "max": partial(read_count, low=2, high=_MOST_COLLECTED),
    "on_stop": _parse_on_stop,
}
_CHANGED: Final[dict[str, PartReader]] = {
    "of": read_selector,
    "per": read_selectors,
    "from": _parse_values,
    "to": _parse_values,
    "first": read_flag,
}
