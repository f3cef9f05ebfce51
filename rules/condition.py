"""Conditions as data: a closed union, made at load by `parse_condition`, asked by `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from hookline.rules.event import Json
from hookline.rules.subject import Look, Subject
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
    accepts: Callable[[Json, Subject], bool] = field(compare=False, repr=False)


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
    #: Whether `present` and `where` are all there is to ask, of the values as they are: most tests.
    is_plain: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        asks_more = self.exists is not None or self.every is not None or self.convert is not None
        is_plain = not (asks_more or self.count or self.absent)
        object.__setattr__(self, "is_plain", is_plain)

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
    #: As `Test.height`; kept, so that measuring named conditions that name each other stays cheap.
    height: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _measure(self, self.tests)


@dataclass(frozen=True, slots=True)
class Any:
    """At least one holds; false if there are none."""

    tests: tuple[Condition, ...]
    height: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _measure(self, self.tests)


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    test: Condition
    height: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _measure(self, (self.test,))


@dataclass(frozen=True, slots=True)
class Named:
    """A condition that a rule names; it means what stands under the name."""

    name: str
    condition: Condition
    height: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _measure(self, (self.condition,))


Condition: TypeAlias = "Test | All | Any | Not | Named"


def _measure(condition: All | Any | Not | Named, inner: Iterable[Condition]) -> None:
    parts = tuple(inner)
    object.__setattr__(condition, "height", 1 + max((part.height for part in parts), default=0))
    object.__setattr__(condition, "size", 1 + sum(part.size for part in parts))


#: Holds for every event: what a rule without `when` asks.
ALWAYS: Condition = All(())
