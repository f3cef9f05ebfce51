"""Reads what modifiers and bounds are made of: durations, shares, counts, windows, selectors, mappings of them.

Every reader takes a node and the findings; None says that there was a mistake, which is in the findings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.path_cursor import PathError, shown
from hookline.rules.policies import Selectors
from hookline.rules.subject import look_at
from hookline.rules.suggestion import did_you_mean
from hookline.rules.units import format_duration, parse_duration
from hookline.rules.windows import parse_window

#: Reads one part.
PartReader: TypeAlias = "Callable[[Node, Findings], Any]"

#: Nothing is kept waiting longer than this.
LONGEST_WAIT: Final = timedelta(days=30)

_MOST_SELECTORS = 8
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%")


def read_parts(
    node: Node, readers: Mapping[str, PartReader], findings: Findings, *, example: str, needed: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Read a mapping with these keys; those that are not written are not in the answer.

    `example`: how the whole is written. `needed`: the keys that must be there.
    """
    name = _name(node)
    if not isinstance(node, Entries):
        findings.error(node, f"{name} is a mapping", f"write {name}: {example}")
        return None
    missing = [key for key in needed if key not in node.entries]
    if missing and all(key in readers for key in node.entries):
        findings.error(node, f'{name} has no "{missing[0]}"', f"write {name}: {example}")
    found: dict[str, Any] = {}
    is_right = not missing
    for key, value in node.entries.items():
        if key in readers:
            found[key] = readers[key](value, findings)
            is_right = is_right and found[key] is not None
        else:
            hint = did_you_mean(key, readers) or f"keys: {', '.join(readers)}"
            findings.error_at_key(node, key, f'unknown key "{key}"', hint)
            is_right = False
    return found if is_right else None


def read_duration(node: Node, findings: Findings, *, longest: timedelta = LONGEST_WAIT) -> timedelta | None:
    """Read a duration above zero."""
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


def read_share(node: Node, findings: Findings) -> float | None:
    """Read `20%` as 0.2."""
    found = _SHARE.fullmatch(node.text) if isinstance(node, Scalar) else None
    if found and float(found[1]) <= 100:
        return float(found[1]) / 100
    findings.error(node, "not a share", "write 0% to 100%, as in 20%")
    return None


def read_flag(node: Node, findings: Findings) -> bool | None:
    """Read true or false."""
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    findings.error(node, f"{_name(node)} is true or false")
    return None


def read_count(node: Node, findings: Findings, *, low: int, high: int) -> int | None:
    """Read a whole number within bounds."""
    if isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool):
        if low <= node.value <= high:
            return node.value
        findings.error(node, f"{node.text[:40]} is out of bounds", f"write {low} to {high}")
    else:
        findings.error(node, f"{_name(node)} is a whole number", f"write {low} to {high}")
    return None


def read_windows(node: Node, findings: Findings) -> tuple[str, ...] | None:
    """Read a window of the week, or a list of them; they stay as written."""
    return _one_or_many(node, _read_window, findings, what="window", hint='write "mon-fri 07:00-22:00 Europe/Berlin"')


def read_selectors(node: Node, findings: Findings) -> Selectors | None:
    """Read a path, a field, or a list of them."""
    hint = "write a path ($.data.id), a field (tenant), or a list of them"
    found = _one_or_many(node, read_selector, findings, what="path or field", hint=hint)
    if found is not None and len(found) > _MOST_SELECTORS:
        findings.error(node, f"{len(found)} paths and fields", f"write {_MOST_SELECTORS} at most")
        return None
    return found


def read_selector(node: Node, findings: Findings) -> str | None:
    """Read a path or a field: what conditions may look at."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value:
        findings.error(node, "not a path or a field", "write a path into the payload ($.data.id), or a field (tenant)")
        return None
    text = node.value
    try:
        look_at(text)
    except PathError as error:
        is_path = text.startswith(("$", "envelope"))
        message = error.message if is_path else f'"{shown(text)}" is neither a path nor a field of the event'
        findings.error(node, message, error.hint)
        return None
    return text


def _read_window(node: Node, findings: Findings) -> str | None:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        findings.error(node, "not a window", 'write it as in "mon-fri 07:00-22:00 Europe/Berlin"')
        return None
    try:
        parse_window(node.value)
    except ValueError as error:
        findings.error(node, str(error))
        return None
    return node.value


def _one_or_many(
    node: Node, read: Callable[[Node, Findings], str | None], findings: Findings, *, what: str, hint: str
) -> tuple[str, ...] | None:
    items = node.items if isinstance(node, Items) else (node,)
    if not items:
        findings.error(node, f"the list holds no {what}", hint)
        return None
    read_items = [read(item, findings) for item in items]
    known = tuple(item for item in read_items if item is not None)
    return known if len(known) == len(read_items) else None


def _name(node: Node) -> str:
    return str(node.path[-1]) if node.path else "it"
