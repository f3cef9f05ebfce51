"""Keeps Python's collector of cycles from holding everything: a full collection visits every object there is.

A thousand rules are 100,000 objects, and a visit of each of them takes 100 ms in which no thread gets a turn.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NEVER: Final = 1 << 30


def take_apart(parts: list[object]) -> None:
    """Let go of what nobody else refers to any more, one by one: between two of them other threads have their turn."""
    while parts:
        parts.pop()


@contextmanager
def without_full_collections() -> Iterator[None]:
    """Collect young objects only: what is being built is not garbage, and visiting it again and again finds none."""
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)


def set_aside() -> None:
    """Leave everything there is out of later collections; what nobody refers to any more is freed all the same.

    What is lost are cycles that die later: a compiled template is one, so each that a reload replaces costs some KiB.
    """
    gc.freeze()
