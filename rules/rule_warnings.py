"""Finds what works but is probably not meant: names that nothing has, and rules that never match."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from hookline.rules.contradictions import Around, find_conflict
from hookline.rules.name_filter import HOOKLINE, HOOKLINE_TYPES, NAMED_ONLY_TYPES, NameFilter, is_glob
from hookline.rules.problem import Problem
from hookline.rules.reach import about_reach, called, warning
from hookline.rules.rule import Rule
from hookline.rules.suggestion import did_you_mean
from hookline.rules.world import World


def warn_about_names(rules: Sequence[Rule], fallback: Sequence[Rule], world: World) -> list[Problem]:
    """List the sources and event types that rules name, and that nothing has."""
    known: dict[str, Collection[str] | None] = {**world.sources, HOOKLINE: HOOKLINE_TYPES}
    problems: list[Problem] = []
    for rule in (*rules, *fallback):
        problems += _about_sources(rule, known)
        problems += _about_types(rule, known)
    # Defaults of a file speak in each of its rules.
    return list(dict.fromkeys(problems))


def warn_about_meaning(rules: Sequence[Rule], fallback: Sequence[Rule], secrets: Collection[str] = ()) -> list[Problem]:
    """List the rules that never match, are never tried, or match as another does; of rules without mistakes.

    Conditions that are compared with one of `secrets` are passed over: elsewhere it is another, and nobody may see it.
    """
    problems: list[Problem] = []
    for rule in (*rules, *fallback):
        if rule.is_enabled:
            problems += _about_conditions(rule, secrets)
    return [*problems, *about_reach(rules), *about_reach(fallback)]


def _about_sources(rule: Rule, known: Collection[str]) -> Iterator[Problem]:
    for pattern, place in zip(rule.sources.patterns, rule.sources.places, strict=True):
        if any(NameFilter((pattern,)).accepts(name) for name in known) if is_glob(pattern) else pattern in known:
            continue
        sources = [name for name in known if name != HOOKLINE]
        listed = f"sources: {', '.join(sorted(sources)[:20])}" if sources else "no sources are configured"
        message = f'no source is called "{pattern}"' if not is_glob(pattern) else f'no source matches "{pattern}"'
        yield warning(place, message, did_you_mean(pattern, known) or listed)


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
        yield warning(place, f'{never} "{pattern}"', did_you_mean(pattern, types))


def _about_conditions(rule: Rule, secrets: Collection[str]) -> Iterator[Problem]:
    """Warn where the conditions never hold together."""
    if not rule.conditions:
        return
    names = {
        field: (key, accepted)
        for field, key, accepted in (("source", "from", rule.sources), ("type", "on", rule.types))
        if accepted.patterns
    }
    conflict = find_conflict(rule.conditions, Around(names=names, secrets=secrets))
    if conflict is not None:
        # The place may be a named condition's, or the defaults', which several rules have.
        yield warning(conflict.place or rule.place, f"{called(rule)} never matches: {conflict}", conflict.hint)
