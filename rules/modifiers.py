"""What stands beside an action in a rule, or on a destination as its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

from hookline.rules.document import Findings, Node
from hookline.rules.gate_modifiers import parse_changed, parse_digest, parse_once
from hookline.rules.modifier_parts import PartReader, read_duration, read_flag, read_selectors, read_windows
from hookline.rules.policies import Modifiers
from hookline.rules.retry_modifier import DEFAULT_RETRY, parse_retry
from hookline.rules.suggestion import did_you_mean

__all__ = ["BOUND_NAMES", "CONFLICTS", "DEFAULT_RETRY", "MODIFIER_NAMES", "conflicts_of", "parse_modifiers"]

_LONGEST_TIMEOUT = timedelta(hours=1)
_READERS: Final[dict[str, PartReader]] = {
    "retry": parse_retry,
    "timeout": partial(read_duration, longest=_LONGEST_TIMEOUT),
    "dry_run": read_flag,
    "delay": read_duration,
    "order_by": read_selectors,
    "once": parse_once,
    "digest": parse_digest,
    "changed": parse_changed,
    "during": read_windows,
}

#: They bound a destination as a whole, so one rule cannot set them; `parse_bounds` and the configuration read them.
BOUND_NAMES: Final = frozenset({"rate", "breaker", "hold", "failure_budget", "concurrency"})

#: Every name that may stand beside an action or on a destination; none of them may name an action or a destination.
MODIFIER_NAMES: Final = frozenset(_READERS) | BOUND_NAMES

#: Pairs that cannot hold for one step, and what to do.
CONFLICTS: Final = {
    ("once", "digest"): (
        "once and digest both say what becomes of the events of a key",
        "remove one: once acts on the first and counts the others, digest acts later, on all together",
    ),
    ("order_by", "digest"): (
        "a digest acts on many events at once, so it has no place in an order",
        "remove order_by: a digest has its events in the order of acceptance",
    ),
    ("delay", "digest"): ("a digest waits by itself", "remove delay: every says how long it waits"),
}


def parse_modifiers(entries: Mapping[str, Node], findings: Findings, *, is_destination: bool = False) -> Modifiers:
    """Read the modifiers among `entries`, which hold nothing else; every mistake goes to `findings`.

    The bounds of a destination are passed over.
    """
    found: dict[str, Any] = {}
    for name, node in entries.items():
        if name in _READERS:
            found[name] = _READERS[name](node, findings)
        elif name not in BOUND_NAMES:
            findings.error(node, f'unknown modifier "{name}"', did_you_mean(name, MODIFIER_NAMES))
        elif not is_destination:
            findings.error(
                node, f'"{name}" limits a destination as a whole', "set it on the destination in hookline.yaml"
            )
    modifiers = Modifiers(**found)
    for (_, name), (message, hint) in conflicts_of(modifiers).items():
        findings.error(entries[name], message, hint)
    return modifiers


def conflicts_of(modifiers: Modifiers) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the pairs of modifiers that cannot hold together, each with what is wrong and what to do."""
    return {
        pair: said for pair, said in CONFLICTS.items() if all(getattr(modifiers, name) is not None for name in pair)
    }
