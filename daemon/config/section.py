"""Reads one mapping of the configuration: what is asked for is known, the rest is a mistake."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.suggestion import suggest
from hookline.rules.units import parse_duration, parse_size

T = TypeVar("T")


class Section:
    """A mapping being read. Every mistake goes to the findings; a reader gets the default in its place."""

    def __init__(self, node: Node | None, findings: Findings) -> None:
        """Read `node`; None or an empty value counts as an empty mapping."""
        self.findings = findings
        self.node = node
        self._known: list[str] = []
        self._entries: Entries | None = None
        if isinstance(node, Entries):
            self._entries = node
        elif node is not None and not is_null(node):
            findings.error(node, f"expected a mapping (key: value), got {kind_of(node)}")

    def has(self, key: str) -> bool:
        """Say whether the key is written, and count it as known."""
        self._known.append(key)
        return self._entries is not None and key in self._entries.entries

    def take(self, key: str) -> Node | None:
        """Return what stands under the key, None if nothing does; a null is a mistake."""
        if not self.has(key) or self._entries is None:
            return None
        node = self._entries.entries[key]
        if is_null(node):
            self.findings.error(node, f'"{key}" has no value', "write one, or remove the key")
            return None
        return node

    def section(self, key: str) -> Section:
        """Return the mapping under the key."""
        return Section(self.take(key), self.findings)

    def read(self, key: str, reader: Callable[[str], T], default: T) -> T:
        """Return what `reader` makes of the text under the key; its `ValueError` is the mistake's message."""
        node = self.take(key)
        return default if node is None else read_scalar(node, reader, self.findings, default)

    def duration(self, key: str, default: timedelta) -> timedelta:
        """Return a duration above zero."""
        return self.read(key, positive_duration, default)

    def size(self, key: str, default: int) -> int:
        """Return a size in bytes, at least one."""
        return self.read(key, _positive_size, default)

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number within bounds."""
        node = self.take(key)
        return default if node is None else read_integer(node, self.findings, default, low=low, high=high)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        node = self.take(key)
        if node is None:
            return default
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self.findings.error(node, f"expected true or false, got {kind_of(node)}")
        return default

    def finish(self) -> None:
        """Report every key that nobody asked for."""
        if self._entries is None:
            return
        for key in self._entries.entries:
            if key not in self._known:
                hint = suggest(key, self._known, what="keys")
                self.findings.error_at_key(self._entries, key, f'unknown key "{key}"', hint)


def read_scalar(node: Node, reader: Callable[[str], T], findings: Findings, default: T) -> T:
    """Return what `reader` makes of a text or number as written."""
    if not isinstance(node, Scalar) or isinstance(node.value, bool) or node.value is None:
        findings.error(node, f"expected a text, got {kind_of(node)}")
        return default
    try:
        return reader(node.text if not isinstance(node.value, str) else node.value)
    except ValueError as error:
        findings.error(node, str(error))
        return default


def read_integer(node: Node, findings: Findings, default: int, *, low: int, high: int) -> int:
    """Return a whole number within bounds."""
    if not isinstance(node, Scalar) or not isinstance(node.value, int) or isinstance(node.value, bool):
        findings.error(node, f"expected a whole number, got {kind_of(node)}")
        return default
    if not low <= node.value <= high:
        findings.error(node, f"{node.value} is out of bounds", f"write {low} to {high}")
        return default
    return node.value


def one_or_many(node: Node | None) -> tuple[Node, ...]:
    """Return the items of a list, or the one thing that stands in its place."""
    if node is None:
        return ()
    return node.items if isinstance(node, Items) else (node,)


def positive_duration(text: str) -> timedelta:
    """Read a duration above zero. Raises `ValueError`."""
    duration = parse_duration(text)
    if not duration:
        raise ValueError(f'"{text}" is no time at all')
    return duration


def _positive_size(text: str) -> int:
    size = parse_size(text)
    if not size:
        raise ValueError(f'"{text}" leaves no room')
    return size


def is_null(node: Node) -> bool:
    """Say whether nothing is written there."""
    return isinstance(node, Scalar) and node.value is None


def kind_of(node: Node) -> str:
    """Say in words what a node is: `a list`, `the number 12`."""
    match node:
        case Items():
            return "a list"
        case Entries():
            return "a mapping"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool()):
            return node.text
        case Scalar(value=str()):
            return f'the text "{node.text[:40]}"'
        case _:
            return f"the number {node.text[:40]}"
