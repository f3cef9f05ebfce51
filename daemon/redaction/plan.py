"""What of a document is to be replaced, and by what: decided once, applied as a whole or in part."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hookline.daemon.redaction.disguise import Disguise
from hookline.daemon.redaction.keys import Kind, kind_of_value
from hookline.daemon.redaction.looks import spans_in
from hookline.daemon.redaction.places import Location, leaves_under, value_at
from hookline.rules import Json

#: A number with fewer digits is the same as another by chance.
_FEWEST_DIGITS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """One value, everywhere it stands, and what stands in for it."""

    places: tuple[Location, ...]
    value: Json
    #: True if a person asked for it.
    is_asked_for: bool
    #: It stands in for the last key of each place, not for what stands there.
    is_key: bool = False


def plan_redaction(
    document: Json, *, asked_for: Collection[Location] = (), kept: Collection[Location] = ()
) -> list[Replacement]:
    """Say what is to be replaced, in the order of the document.

    `asked_for`: leaves to replace whatever they hold. `kept`: leaves that stay, unless they are asked for.
    """
    leaves = list(leaves_under(document))
    disguise = Disguise(frozenset(leaf for _, leaf in leaves if isinstance(leaf, str)))
    asked, spared = frozenset(asked_for), frozenset(kept)
    kinds: dict[Location, Kind] = {}
    for place, leaf in leaves:
        kind = "shape" if place in asked else None if place in spared else _kind(document, place, leaf)
        if kind is not None:
            kinds[place] = kind
            # Before any of them is used: a name may stand in a text further up.
            _replaced(disguise, kind, leaf)
    found: dict[tuple[str, bool], tuple[list[Location], Json]] = {}
    for place, leaf in leaves:
        if place in spared and place not in asked:
            continue
        value = _replaced(disguise, kinds.get(place), leaf)
        if value != leaf:
            found.setdefault((repr(leaf), place in asked), ([], value))[0].append(place)
    return [
        *(
            Replacement(places=tuple(places), value=value, is_asked_for=is_asked_for)
            for (_, is_asked_for), (places, value) in found.items()
        ),
        *_key_replacements(document, disguise, spared - asked),
    ]


def apply(document: Json, replacements: Iterable[Replacement]) -> Json:
    """Return a copy of the document with the replacements made."""
    made = list(replacements)
    changed = copy.deepcopy(document)
    for replacement in made:
        for place in () if replacement.is_key else replacement.places:
            if not place:
                changed = replacement.value
                continue
            above: Any = value_at(changed, place[:-1])
            above[place[-1]] = replacement.value
    renamed = [(place, one.value) for one in made if one.is_key for place in one.places]
    # The deepest first: a place holds as long as no key above it has changed.
    for place, name in sorted(renamed, key=lambda item: len(item[0]), reverse=True):
        holder: Any = value_at(changed, place[:-1])
        entries = [(name if key == place[-1] else key, value) for key, value in holder.items()]
        holder.clear()
        holder.update(entries)
    return changed


def _key_replacements(document: Json, disguise: Disguise, spared: Collection[Location]) -> list[Replacement]:
    """Replace keys that are an address or a token themselves, unless all below them stays."""
    found: dict[str, dict[Location, None]] = {}
    for place, _ in leaves_under(document):
        for depth, key in enumerate(place, 1):
            if isinstance(key, str) and place not in spared and spans_in(key):
                found.setdefault(key, {})[place[:depth]] = None
    return [
        Replacement(places=tuple(places), value=disguise.inside(key), is_asked_for=False, is_key=True)
        for key, places in found.items()
    ]


def _kind(document: Json, place: Location, leaf: Json) -> Kind | None:
    """Ask the nearest key; of a list it is the list's, and below a secret all is secret."""
    keys = [key for key in place if isinstance(key, str)]
    if not keys or isinstance(leaf, bool) or leaf is None:
        return None
    owner: Location = place
    while owner and isinstance(owner[-1], int):
        owner = owner[:-1]
    holder = value_at(document, owner[:-1])
    siblings: Mapping[str, Json] = holder if isinstance(holder, dict) else {}
    return kind_of_value(keys[:-1], keys[-1], leaf, siblings)


def _replaced(disguise: Disguise, kind: Kind | None, leaf: Json) -> Json:
    if isinstance(leaf, str) and leaf.strip():
        if kind is not None:
            return disguise.whole(kind, leaf)
        known = disguise.wholes.get(leaf)
        return known if known is not None else disguise.without_names(disguise.inside(leaf))
    if isinstance(leaf, int | float) and not isinstance(leaf, bool):
        return _number_look(disguise, leaf) if kind is None else disguise.number(leaf)
    return leaf


def _number_look(disguise: Disguise, value: float) -> float:
    """Replace a number that is one of those replaced elsewhere, or a card's."""
    written = repr(value)
    if not isinstance(value, int) or len(written) < _FEWEST_DIGITS:
        return value
    known = disguise.wholes.get(written)
    return int(known) if known is not None else int(disguise.inside(written))
