"""Compares what a test expects with what the rules did: each in any order, and only what is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from hookline.rules.event import Json
from hookline.rules.problem import dotted
from hookline.rules.rule_test import ExpectedStep
from hookline.rules.values import equal


class Done(Protocol):
    """What would be sent."""

    @property
    def name(self) -> str:
        """Of the destination, or the action in place."""
        ...

    @property
    def options(self) -> Mapping[str, Json]:
        """Rendered."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the delivery would fail; then it is not what anybody expects."""
        ...


D = TypeVar("D", bound=Done)


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what was expected."""

    #: Such as `blocks[0].text`; "" for the whole.
    path: str
    expected: Json
    #: None, with `is_missing`, if there is none.
    got: Json
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class Near(Generic[D]):
    """What was expected, and a delivery to the same destination that is not quite it."""

    expected: ExpectedStep
    done: D
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Compared(Generic[D]):
    """How expectation and deed differ; nothing in it if they do not."""

    #: In the order of what was done: that which was expected.
    met: tuple[tuple[ExpectedStep, D], ...]
    near: tuple[Near[D], ...]
    missing: tuple[ExpectedStep, ...]
    surplus: tuple[D, ...]

    @property
    def is_same(self) -> bool:
        """Whether all that was expected was done, and nothing else."""
        return not (self.near or self.missing or self.surplus)


def compare(expected: Sequence[ExpectedStep], done: Sequence[D]) -> Compared[D]:
    """Pair what was expected with what was done, as many as can be."""
    fits = [[at for at, one in enumerate(done) if _meets(one, step)] for step in expected]
    partner = _paired(fits)
    left = [at for at in range(len(expected)) if at not in partner.values()]
    surplus = [at for at in range(len(done)) if at not in partner]
    near: list[Near[D]] = []
    missing: list[ExpectedStep] = []
    for at in left:
        alike = [one for one in surplus if done[one].name == expected[at].name]
        if not alike:
            missing.append(expected[at])
            continue
        found = {one: tuple(differences(expected[at].options, done[one].options)) for one in alike}
        closest = min(alike, key=lambda one: len(found[one]))
        surplus.remove(closest)
        near.append(Near(expected[at], done[closest], found[closest]))
    return Compared(
        met=tuple((expected[partner[at]], done[at]) for at in sorted(partner)),
        near=tuple(near),
        missing=tuple(missing),
        surplus=tuple(done[at] for at in surplus),
    )


def differences(expected: Json | Mapping[str, Json], got: Json | Mapping[str, Json]) -> Iterator[Difference]:
    """Give what is not as expected: of mappings only what is expected is compared, lists are compared whole."""
    yield from _differences(expected, got, ())


def _differences(expected: object, got: object, path: tuple[str | int, ...]) -> Iterator[Difference]:
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key, value in expected.items():
            if key in got:
                yield from _differences(value, got[key], (*path, key))
            else:
                yield Difference(dotted((*path, key)), value, None, is_missing=True)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from _differences(one, other, (*path, index))
    elif isinstance(expected, Mapping | list) or isinstance(got, Mapping | list) or not equal(expected, got):  # type: ignore[arg-type]
        yield Difference(dotted(path), expected, got)  # type: ignore[arg-type]


def laid_like(written: Mapping[str, Json], got: Mapping[str, Json]) -> dict[str, Json]:
    """Return of what was got the parts that something else writes: the keys of the one with the values of the other."""
    found: dict[str, Json] = {}
    for key, value in written.items():
        if key not in got:
            continue
        here = got[key]
        found[key] = laid_like(value, here) if isinstance(value, dict) and isinstance(here, dict) else here
    return found


def _meets(done: Done, step: ExpectedStep) -> bool:
    if done.name != step.name or done.problem is not None:
        return False
    return next(differences(step.options, done.options), None) is None


def _paired(fits: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return which of the left each of the right belongs to; as many pairs as there can be.

    What fits one may fit another that asks for less, so a first choice may have to give way.
    """
    partner: dict[int, int] = {}
    for start in range(len(fits)):
        came_from: dict[int, int] = {}
        waiting = deque([start])
        free = None
        while waiting and free is None:
            left = waiting.popleft()
            for right in fits[left]:
                if right in came_from:
                    continue
                came_from[right] = left
                if right not in partner:
                    free = right
                    break
                waiting.append(partner[right])
        while free is not None:
            left = came_from[free]
            before = next((right for right, owner in partner.items() if owner == left), None)
            partner[free] = left
            free = before if left != start else None
    return partner
