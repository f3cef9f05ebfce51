"""Why a condition holds or does not, in words: what `explain`, `test` and the event's page show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hookline.rules.condition import Check, Constant, Test
from hookline.rules.event import Json
from hookline.rules.path_progress import kind
from hookline.rules.problem import Place
from hookline.rules.subject import Subject
from hookline.rules.values import equal, is_number, to_number, to_text

_MAX_SEEN = 80
_MAX_VALUES = 3


@dataclass(frozen=True, slots=True)
class Explained:
    """One condition's answer for one event."""

    #: The test as people read it: `$.data.total gte 1000`; `all`, `any`, `not`, or a condition's name.
    text: str
    holds: bool
    #: What was there: bounded, control characters escaped; "" if nothing was, or it does not apply.
    seen: str = ""
    #: Why it does not hold: `1250.5 is less`; "" if it holds, or the children say it.
    why: str = ""
    children: tuple[Explained, ...] = ()
    #: Where it stands in its file.
    place: Place | None = None
    #: Of a test, what it looks at: `$.data.total`; "" for the others.
    path: str = ""
    #: Of a test, each operator with what it expects, as people read it: `("gte", "1000")`.
    expected: tuple[tuple[str, str], ...] = ()

    @property
    def decides(self) -> bool:
        """Whether it does not hold, and no part of it says why."""
        return not self.holds and all(child.holds for child in self.children)

    def masked(self, names: Mapping[str, str]) -> Explained:
        """Return it with each value that nobody may see replaced by its name."""

        def mask(text: str) -> str:
            for value, name in names.items():
                text = text.replace(value, name)
            return text

        return replace(
            self,
            text=mask(self.text),
            seen=mask(self.seen),
            why=mask(self.why),
            children=tuple(child.masked(names) for child in self.children),
            expected=tuple((operator, mask(text)) for operator, text in self.expected),
        )

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON: `text holds path expected seen why file line children`."""
        return {
            "text": self.text,
            "holds": self.holds,
            "path": self.path,
            "expected": dict(self.expected),
            "seen": self.seen,
            "why": self.why,
            "file": self.place.file if self.place else None,
            "line": self.place.line if self.place else None,
            "children": [child.to_json() for child in self.children],
        }


def explain_test(test: Test, subject: Subject, *, holds: bool, children: tuple[Explained, ...]) -> Explained:
    """Put a test's answer into words; `holds` is the evaluator's."""
    values = subject.values(test.look)
    seen = ", ".join(show(value) for value in values[:_MAX_VALUES])
    if len(values) > _MAX_VALUES:
        seen += f", … {len(values)} values"
    return Explained(
        test.text,
        holds,
        seen,
        "" if holds else _why(test, subject, values),
        children,
        place=test.place,
        path=test.look.text,
        expected=_expected(test),
    )


def near_miss(test: Test, subject: Subject) -> str:
    """Name the mistake in a rule that would explain why a test does not hold: a type, a case, an array; "" if none."""
    for value in subject.values(test.look)[:_MAX_VALUES] if test.conversion is None else ():
        check = next((check for check in test.present if not check.accepts(value, subject)), None)
        if check is not None and value is not None:
            found = _array_hint(test, check, subject, value) or _near_miss(
                check, subject, value, _expected_values(check, subject)
            )
            if found:
                return found
    return ""


def _expected(test: Test) -> tuple[tuple[str, str], ...]:
    checks = [(check.operator, check.text.removeprefix(check.operator).strip()) for check in test.present + test.absent]
    counts = [("count", " and ".join(check.text for check in test.count))] if test.count else []
    exists = [] if test.exists is None else [("exists", "true" if test.exists else "false")]
    reading = [("as", test.conversion)] if test.conversion else []
    return (*reading, *checks, *counts, *exists)


def _why(test: Test, subject: Subject, values: list[Json]) -> str:  # noqa: PLR0911 - a sentence for each cause
    if test.exists is False and values:
        return f"it is there: {show(values[0])}"
    if any(not check.accepts(len(values), subject) for check in test.count):
        return f"there {'is' if len(values) == 1 else 'are'} {len(values)}{_counted_array(values)}"
    if not values:
        return test.look.missing(subject)
    read = [(value, test.convert(value) if test.convert else value) for value in values]
    for value, converted in read:
        for check in test.absent:
            if (test.convert is None or converted is not None) and check.accepts(converted, subject):
                return f"{show(value)} is {'one of them' if check.operator == 'not_in' else 'equal'}"
    if test.every is not None:
        return f"not every one of the {len(values)} holds" if len(values) > 1 else "it does not hold"
    if len(values) == 1:
        return _why_not_value(test, subject, *read[0])
    shown = ", ".join(show(value) for value in values[:_MAX_VALUES])
    reasons = {_why_not_value(test, subject, *pair) for pair in read[:20]}
    hint = next((reason for reason in sorted(reasons) if _HINT in reason), "")
    return f"none of the {len(values)} values: {shown}{', …' if len(values) > _MAX_VALUES else ''}" + (
        f" ({hint})" if hint else ""
    )


def _counted_array(values: list[Json]) -> str:
    match values:
        case [list() as array]:
            return f"; the value is an array of {len(array)}: to count its elements, end the path with [*]"
        case _:
            return ""


def _why_not_value(test: Test, subject: Subject, value: Json, converted: Json) -> str:
    if test.convert is not None and converted is None:
        return f"{show(value)} cannot be read as {_READ_AS[test.conversion or '']}"
    for check in test.present:
        if not check.accepts(converted, subject):
            array = _array_hint(test, check, subject, value)
            return array or _why_not(check, subject, value, test)
    return "the value is there, but where: does not hold of it"


#: Every near miss says so in these words.
_HINT = "add as:"

_READ_AS = {"number": "a number", "text": "text", "lower": "text", "time": "a time"}


def _array_hint(test: Test, check: Check, subject: Subject, value: Json) -> str:
    path = test.look.path
    if not isinstance(value, list) or path is None or check.operator == "is":
        return ""
    if any(check.accepts(element, subject) for element in value[:100]) or not _is_about_arrays(check):
        return f"the value is an array: did you mean {path.text}[*]?"
    return ""


def _is_about_arrays(check: Check) -> bool:
    constants = [operand.value for operand in check.operands if isinstance(operand, Constant)]
    return check.operator == "contains" or any(isinstance(constant, list) for constant in constants)


def _why_not(check: Check, subject: Subject, value: Json, test: Test) -> str:
    expected = _expected_values(check, subject)
    if check.operands and not expected:
        return _nothing_to_compare(check, subject)
    near = _near_miss(check, subject, value, expected) if test.conversion is None else ""
    if near:
        return near
    phrase = _PHRASES.get(check.operator)
    miss = phrase(show(value), value, expected) if phrase else f"saw {show(value)}"
    places = [operand.look for operand in check.operands if not isinstance(operand, Constant)]
    there = "; ".join(f"{look.text} is {', '.join(map(show, subject.values(look)[:3]))}" for look in places[:3])
    return f"{miss}; {there}" if there else miss


def _expected_values(check: Check, subject: Subject) -> list[Json]:
    return [
        constant
        for operand in check.operands
        for constant in ([operand.value] if isinstance(operand, Constant) else subject.values(operand.look))
    ]


def _nothing_to_compare(check: Check, subject: Subject) -> str:
    looks = [operand.look for operand in check.operands if not isinstance(operand, Constant)]
    return f"there is nothing to compare with: {looks[0].missing(subject)}"


def _near_miss(  # noqa: PLR0911 - a sentence for each cause
    check: Check, subject: Subject, value: Json, expected: list[Json]
) -> str:
    """Name a mistake in the rule that would explain the miss: a type or a case that differs."""
    if check.operator in _TIMES:
        return ""
    numbers, texts = any(is_number(each) for each in expected), any(isinstance(each, str) for each in expected)
    if isinstance(value, str) and numbers and not texts:
        advice = f": {_HINT} number" if to_number(value) is not None else ""
        return f"saw {show(value)} (text), expected a number{advice}"
    if is_number(value) and texts and not numbers:
        advice = f": {_HINT} text" if check.accepts(to_text(value), subject) else ""
        return f"saw {show(value)} (a number), expected text{advice}"
    if isinstance(value, str) and check.operator in ("eq", "in"):
        for each in expected:
            if isinstance(each, str) and each.strip().casefold() == value.strip().casefold():
                if each.strip() == value.strip():
                    return f"saw {show(value)}, which differs in blanks"
                return f"saw {show(value)}, which differs in case: {_HINT} lower"
    if check.operator in _ORDER and not (isinstance(value, str) or is_number(value)):
        return f"the value is {kind(value)}, which has no order"
    if check.operator in _TEXTUAL and not isinstance(value, str):
        number = f": {_HINT} text" if is_number(value) else ""
        return f"the value is {kind(value)}, expected text{number}"
    return ""


_TIMES = ("before", "after", "during")
_ORDER = ("gt", "gte", "lt", "lte")
_TEXTUAL = ("starts_with", "ends_with", "matches", "glob", "cidr")


def _compared(seen: str, value: Json, expected: list[Json], *, otherwise: str) -> str:
    return f"{seen} is equal" if any(equal(value, each) for each in expected) else f"{seen} is {otherwise}"


_Phrase = Callable[[str, Json, list[Json]], str]

_PHRASES: dict[str, _Phrase] = {
    "gt": lambda seen, value, expected: _compared(seen, value, expected, otherwise="less"),
    "gte": lambda seen, _, __: f"{seen} is less",
    "lt": lambda seen, value, expected: _compared(seen, value, expected, otherwise="more"),
    "lte": lambda seen, _, __: f"{seen} is more",
    "in": lambda seen, _, __: f"{seen} is none of them",
    "before": lambda seen, _, __: f"{seen} is not before it",
    "after": lambda seen, _, __: f"{seen} is not after it",
    "during": lambda seen, _, __: f"{seen} is outside",
    "cidr": lambda seen, _, __: f"{seen} is outside",
    "matches": lambda seen, _, __: f"{seen} does not match",
    "glob": lambda seen, _, __: f"{seen} does not match",
    "contains": lambda seen, _, __: f"{seen} does not contain it",
    "starts_with": lambda seen, _, __: f"{seen} does not start so",
    "ends_with": lambda seen, _, __: f"{seen} does not end so",
    "is": lambda seen, value, _: f"{seen} is {kind(value)}",
}


def show(value: Json, *, most: int = _MAX_SEEN) -> str:
    """Write a value as JSON for people: bounded, and without characters that could forge a line of output."""
    text = quoted(value, most=most) if isinstance(value, str) else "".join(_pieces(value, 2))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _pieces(value: Json, depth: int) -> list[str]:
    match value:
        case str():
            return [quoted(value)]
        case list() if value and depth:
            inner = [piece for each in value[:4] for piece in (*_pieces(each, depth - 1), ", ")][:-1]
            return ["[", *inner, f", … {len(value)} elements]" if len(value) > 4 else "]"]
        case dict() if value and depth:
            inner = []
            for name in list(value)[:4]:
                inner += [quoted(name), ": ", *_pieces(value[name], depth - 1), ", "]
            return ["{", *inner[:-1], f", … {len(value)} members}}" if len(value) > 4 else "}"]
        case list():
            return ["[…]" if value else "[]"]
        case dict():
            return ["{…}" if value else "{}"]
        case _:
            # Integers can be longer than Python writes out.
            return [to_text(value) or ("null" if value is None else "a very long number")]


def quoted(text: str, *, most: int = _MAX_SEEN) -> str:
    """Write text in quotes, bounded; what cannot be printed is written as an escape."""
    body = text[:most]
    # Most texts need no escapes, and of a thousand rules each shows some.
    if not body.isprintable() or '"' in body or "\\" in body:
        body = "".join(f"\\{one}" if one in '"\\' else unforged(one) for one in body)
    return f'"{body}"' if len(text) <= most else f'"{body}…"'


def unforged(text: str) -> str:
    """Write what cannot be printed, and could forge a line of output, as escapes."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
