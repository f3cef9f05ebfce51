"""Conditions as data: a closed union, made at load by `parse_condition`, asked by `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from hookline.rules.asking import Accepts, Ask, Comparison, ask_all, ask_any, ask_not, ask_test
from hookline.rules.event import Json
from hookline.rules.problem import Place
from hookline.rules.subject import Look
from hookline.rules.values import Conversion


@dataclass(frozen=True, slots=True)
class Constant:
    """What a rule writes to compare with."""

    #: Already converted where the test says `as:`; a time is microseconds since 1970.
    value: Json


@dataclass(frozen=True, slots=True)
class Reference:
    """A path or a field whose values are compared with."""

    look: Look


Operand: TypeAlias = "Constant | Reference"


@dataclass(frozen=True, slots=True)
class Check:
    """One operator with what it compares with; for `ne` and `not_in`, whether a value *is* equal."""

    #: As written in rules: `gte`.
    operator: str
    #: Any one of these will do; empty for patterns, windows, networks and types.
    operands: tuple[Operand, ...]
    #: As people read it: `gte 1000`.
    text: str
    #: Whether a value passes. Total: never raises.
    accepts: Accepts = field(compare=False, repr=False)
    #: Of `matches` and `glob`, the regular expressions any of which will do, as RE2 reads them.
    patterns: tuple[str, ...] = field(default=(), compare=False, repr=False)
    #: What `accepts` does, where it is no more than that.
    comparison: Comparison | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Test:
    """A place to look at, and all that is demanded of the values there."""

    #: Not one of pytest's tests, whatever its name.
    __test__ = False

    look: Look
    conversion: Conversion | None
    #: How the values are read before `where`, `every` and the checks see them; None if as they are.
    convert: Callable[[Json], Json] | None = field(compare=False, repr=False)
    #: Whether something must, or must not, be there; None if it is not asked.
    exists: bool | None
    #: Asked of the number of values.
    count: tuple[Check, ...]
    #: `ne` and `not_in`: no value may pass any of them.
    absent: tuple[Check, ...]
    #: One value must pass all of them, and `where`.
    present: tuple[Check, ...]
    #: Asked of the same value as `present`.
    where: Condition | None
    #: Asked of every value; there must be one.
    every: Condition | None
    #: As people read it: `$.data.total gte 1000 and lt 100000`.
    text: str
    #: Where it stands.
    place: Place | None = field(default=None, compare=False, repr=False, kw_only=True)
    #: Whether it holds.
    ask: Ask = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ask", ask_test(self))

    @property
    def height(self) -> int:
        """How deep conditions are nested in it, itself included."""
        return 1 + max((inner.height for inner in (self.where, self.every) if inner is not None), default=0)

    @property
    def size(self) -> int:
        """How many conditions it is made of, itself included."""
        return 1 + sum(inner.size for inner in (self.where, self.every) if inner is not None)


@dataclass(frozen=True, slots=True)
class All:
    """Every one holds; true if there are none."""

    tests: tuple[Condition, ...]
    #: Where it stands.
    place: Place | None = field(default=None, compare=False, repr=False, kw_only=True)
    ask: Ask = field(init=False, compare=False, repr=False)
    #: As `Test.height`; kept, so that measuring named conditions that name each other stays cheap.
    height: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _settle(self, self.tests, ask_all([test.ask for test in self.tests]))


@dataclass(frozen=True, slots=True)
class Any:
    """At least one holds; false if there are none."""

    tests: tuple[Condition, ...]
    #: Where it stands.
    place: Place | None = field(default=None, compare=False, repr=False, kw_only=True)
    ask: Ask = field(init=False, compare=False, repr=False)
    height: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _settle(self, self.tests, ask_any([test.ask for test in self.tests]))


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    test: Condition
    #: Where it stands.
    place: Place | None = field(default=None, compare=False, repr=False, kw_only=True)
    ask: Ask = field(init=False, compare=False, repr=False)
    height: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _settle(self, (self.test,), ask_not(self.test.ask))


@dataclass(frozen=True, slots=True)
class Named:
    """A condition that a rule names; it means what stands under the name."""

    name: str
    condition: Condition
    #: Where it stands.
    place: Place | None = field(default=None, compare=False, repr=False, kw_only=True)
    ask: Ask = field(init=False, compare=False, repr=False)
    height: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _settle(self, (self.condition,), self.condition.ask)


Condition: TypeAlias = "Test | All | Any | Not | Named"


def _settle(condition: All | Any | Not | Named, parts: Iterable[Condition], ask: Ask) -> None:
    height, size = 0, 0
    for part in parts:
        height = max(height, part.height)
        size += part.size
    object.__setattr__(condition, "ask", ask)
    object.__setattr__(condition, "height", height + 1)
    object.__setattr__(condition, "size", size + 1)


def looks_deep(condition: Condition) -> bool:
    """Tell whether a path with `..` stands anywhere in it."""
    match condition:
        case Test(where=where, every=every):
            checks = (*condition.count, *condition.absent, *condition.present)
            others = [each.look for check in checks for each in check.operands if isinstance(each, Reference)]
            inner = [each for each in (where, every) if each is not None]
            return any(look.is_deep for look in (condition.look, *others)) or any(map(looks_deep, inner))
        case Not(test=part) | Named(condition=part):
            return looks_deep(part)
        case All(tests=tests) | Any(tests=tests):
            return any(map(looks_deep, tests))


#: Holds for every event: what a rule without `when` asks.
ALWAYS: Condition = All(())
