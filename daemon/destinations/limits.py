"""What bounds a destination, in words."""

from __future__ import annotations

from typing import Any


def limit_text(value: Any) -> str:
    """Write one limit for people: `share 50%, of 10, within 1m`."""
    match value:
        case dict():
            return ", ".join(f"{name} {limit_text(item)}" for name, item in value.items())
        case list():
            return " ".join(limit_text(item) for item in value) or "none"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
