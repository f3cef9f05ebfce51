"""Marks for the options of an action: what the daemon must know of a field besides its type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AddressMark:
    """Says that a field decides where a delivery goes."""


#: Marks a field that decides where a delivery goes: `url: Annotated[str, Address]`.
#: A rule may not change it on a destination. What is dialled is as the operator wrote it, or public: a URL or a
#: `host:port` written literally here may lie inside the network, one that a template computes may not. Without
#: a marked field, any option that begins with `http://` or `https://` counts. A `SecretStr` may be marked too.
Address = AddressMark()


def computed_options(context: Any) -> frozenset[str]:
    """Return the names of the top-level options that a template computes, from a validator's `info.context`."""
    return frozenset(context["computed"]) if context else frozenset()


@dataclass(frozen=True, slots=True)
class Escaped:
    """Marks a field in which `<` means something: `html: Annotated[str, Escaped(html.escape)]`.

    Texts of the event pass through `by` before its templates see them; what the operator wrote stays as it is.
    """

    by: Callable[[str], str]
