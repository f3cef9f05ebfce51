"""Finds what works but is probably not meant: names that nothing has, and rules that nothing reaches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from hookline.rules.name_filter import HOOKLINE, HOOKLINE_TYPES, NAMED_ONLY_TYPES, NameFilter, is_glob
from hookline.rules.problem import Place, Problem
from hookline.rules.rule import Rule
from hookline.rules.suggestion import did_you_mean
from hookline.rules.world import World


def warn_about(rules: Sequence[Rule], fallback: Sequence[Rule], world: World) -> list[Problem]:
    """List the warnings about rules that load."""
    known: dict[str, Collection[str] | None] = {**world.sources, HOOKLINE: HOOKLINE_TYPES}
    problems: list[Problem] = []
    for rule in (*rules, *fallback):
        problems += _about_sources(rule, known)
        problems += _about_types(rule, known)
    problems += [*_unreachable(rules), *_unreachable(fallback)]
    # Defaults of a file speak in each of its rules.
    return list(dict.fromkeys(problems))


def _about_sources(rule: Rule, known: Collection[str]) -> Iterator[Problem]:
    for pattern, place in zip(rule.sources.patterns, rule.sources.places, strict=True):
        if any(NameFilter((pattern,)).accepts(name) for name in known) if is_glob(pattern) else pattern in known:
            continue
        sources = [name for name in known if name != HOOKLINE]
        listed = f"sources: {', '.join(sorted(sources)[:20])}" if sources else "no sources are configured"
        message = f'no source is called "{pattern}"' if not is_glob(pattern) else f'no source matches "{pattern}"'
        yield _warning(place, message, did_you_mean(pattern, known) or listed)


def _about_types(rule: Rule, known: dict[str, Collection[str] | None]) -> Iterator[Problem]:
    senders = {name: types for name, types in known.items() if rule.sources.accepts(name)}
    types: set[str] = set()
    for documented in senders.values():
        if documented is None:
            return  # One of them may send anything.
        types.update(documented)
    if not senders:
        return
    for pattern, place in zip(rule.types.patterns, rule.types.places, strict=True):
        if pattern in NAMED_ONLY_TYPES or pattern in types:
            continue
        if is_glob(pattern) and any(NameFilter((pattern,)).accepts(name) for name in types):
            continue
        who = " and ".join(sorted(senders)[:3]) if len(senders) <= 3 else "no source"
        never = f"{who} never send{'s' if len(senders) == 1 else ''}" if len(senders) <= 3 else "no source ever sends"
        yield _warning(place, f'{never} "{pattern}"', did_you_mean(pattern, types))


def _unreachable(rules: Iterable[Rule]) -> Iterator[Problem]:
    """Warn about the first rule below one that stops every event."""
    wall: Rule | None = None
    for rule in rules:
        if not rule.is_enabled:
            continue
        if wall is not None and not rule.types.names and not rule.sources.patterns:
            called = f'"{wall.name}"' if wall.name else "a fallback"
            message = f"never tried: {called} at {wall.place} stops every event"
            yield _warning(rule.place, message, "move it up, or give the other a when")
            return
        if rule.is_last and not rule.conditions and not rule.types.patterns and not rule.sources.patterns:
            wall = wall or rule


def _warning(place: Place, message: str, hint: str | None) -> Problem:
    return Problem(place=place, path="", message=message, hint=hint, severity="warning")
