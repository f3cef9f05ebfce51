"""Two versions of a rule's steps, and what they would send for one event: what differs, in few words."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from hookline.daemon.delivery.runner import Rendered
from hookline.rules import Json, Step
from hookline.rules.interpolation import find_references
from hookline.rules.problem import dotted
from hookline.rules.written_modifiers import written_modifiers

#: Of a text that differs, this many characters around the first difference are shown.
MAX_SHOWN = 160
#: Of one delivery, this many options that differ are shown.
MAX_DIFFERENCES = 8
#: Characters shown before the first that differs.
_LEAD = 40

ChangeKind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One option that is not what it was."""

    #: Where: `text`, `blocks[0].text`; or `destination`, `dry_run`, `problem` or a modifier.
    path: str
    #: As text, bounded, secrets masked; None if it was not there.
    then: str | None
    #: As text, bounded, secrets masked; None if it is not there any more.
    now: str | None


@dataclass(frozen=True)
class StepPair:
    """A step then and the one that took its place; never two that are the same."""

    #: None: it was added.
    then: Step | None
    #: None: it was removed.
    now: Step | None

    @property
    def kind(self) -> ChangeKind:
        """What became of it."""
        if self.then is None:
            return "added"
        return "removed" if self.now is None else "changed"

    @property
    def label(self) -> str:
        """The destination or action, by the name it has now if it has one."""
        step = self.now or self.then
        return step.label if step else ""

    @cached_property
    def written(self) -> tuple[Difference, ...]:
        """What differs for every event: the destination's name, modifiers, and which secrets are named."""
        if self.then is None or self.now is None:
            return ()
        found = []
        if self.then.label != self.now.label:
            found.append(Difference("destination", self.then.label, self.now.label))
        found += _unequal(*_modifiers(self.then, self.now))
        # What they stand for is masked on both sides, so that the rendered options would look alike.
        then, now = _references(self.then.options), _references(self.now.options)
        found += _unequal(
            {path: then[path] for path in then if path in now}, {path: now[path] for path in now if path in then}
        )
        return tuple(found)


def pair_steps(then: tuple[Step, ...], now: tuple[Step, ...]) -> tuple[StepPair, ...]:
    """Say which step took the place of which: of the same destination, or with the same options for another one."""
    old, new = _without_equal(then, now)
    pairs: list[StepPair] = []
    for alike in (_has_same_label, _has_same_options):
        for step in list(old):
            other = next((one for one in new if alike(step, one)), None)
            if other is not None:
                pairs.append(StepPair(step, other))
                old.remove(step)
                new.remove(other)
    return (*pairs, *(StepPair(step, None) for step in old), *(StepPair(None, step) for step in new))


def rendered_differences(then: Rendered, now: Rendered) -> tuple[Difference, ...]:
    """Compare what two steps would send for one event."""
    found: list[Difference] = []
    if then.dry_run != now.dry_run:
        found.append(Difference("dry_run", str(then.dry_run).lower(), str(now.dry_run).lower()))
    if then.problem is None and now.problem is None:
        return (*found, *_unequal(_flat(then.options), _flat(now.options)))
    if then.problem != now.problem:
        found.append(_around("problem", then.problem, now.problem))
    return tuple(found)


def _without_equal(then: tuple[Step, ...], now: tuple[Step, ...]) -> tuple[list[Step], list[Step]]:
    old, new = list(then), list(now)
    for step in then:
        same = next((one for one in new if one.digest == step.digest), None)
        if same is not None:
            old.remove(step)
            new.remove(same)
    return old, new


def _has_same_label(then: Step, now: Step) -> bool:
    return (then.destination, then.action) == (now.destination, now.action)


def _has_same_options(then: Step, now: Step) -> bool:
    return then.destination is not None and now.destination is not None and then.options == now.options


def _modifiers(then: Step, now: Step) -> tuple[dict[str, str], dict[str, str]]:
    """Return the modifiers of both as they are written: those that both have by their parts, the others whole."""
    old, new = written_modifiers(then.modifiers), written_modifiers(now.modifiers)
    both = {name for name in old if name in new}
    return _parts(old, both), _parts(new, both)


def _parts(written: Mapping[str, Json], both: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in written.items():
        if name == "dry_run":
            continue  # Told by what is rendered.
        if isinstance(value, dict) and name in both:
            found |= {f"{name}.{key}": _flow(part) for key, part in value.items()}
        else:
            found[name] = _flow(value)
    return found


def _flow(value: Json) -> str:
    """Write a modifier as it stands in a rule: `{per: tenant, within: 10m}`."""
    match value:
        case dict():
            return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
        case list():
            return f"[{', '.join(_flow(item) for item in value)}]"
        case _:
            return _text(value)


def _references(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the `${NAME}` and `${file:…}` of each leaf that has any."""
    found = {}
    for path, leaf in _leaves(options, ()):
        if isinstance(leaf, str):
            named = [leaf[one.start : one.end] for one in find_references(leaf) if one.kind in {"secret", "file"}]
            if named:
                found[dotted(path)] = " ".join(named)
    return found


def _flat(options: Mapping[str, Any]) -> dict[str, str]:
    return {dotted(path): _text(leaf) for path, leaf in _leaves(options, ())}


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield what holds nothing further; a mapping or list that is empty is one."""
    match value:
        case Mapping() if value:
            for key, item in value.items():
                yield from _leaves(item, (*path, str(key)))
        case list() if value:
            for number, item in enumerate(value):
                yield from _leaves(item, (*path, number))
        case _:
            yield path, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _unequal(then: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    return [_around(path, then.get(path), now.get(path)) for path in {**then, **now} if then.get(path) != now.get(path)]


def _around(path: str, then: str | None, now: str | None) -> Difference:
    """Cut both to what is around their first difference."""
    start = 0
    if then is not None and now is not None and max(len(then), len(now)) > MAX_SHOWN:
        same = next((at for at, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
        start = max(0, same - _LEAD)
    return Difference(path, _cut(then, start), _cut(now, start))


def _cut(text: str | None, start: int) -> str | None:
    if text is None:
        return None
    piece = text[start : start + MAX_SHOWN]
    return f"{'…' if start else ''}{piece}{'…' if start + MAX_SHOWN < len(text) else ''}"
