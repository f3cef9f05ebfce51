"""The one evaluator: match, explain, test and diff all ask here.

What conditions mean:

A test looks at a place and asks whether *some* value there satisfies *all* of its operators, so two operators in one
mapping speak of the same value. The exceptions:

- `ne` and `not_in` say that *no* value there is equal, so they hold where nothing is.
- `exists` and `count` ask about the selection, not about a value: `exists: false` and `count: 0` hold on nothing.
- `every` asks something of all values, and is false where there is none.

Every other operator is false where the path selects nothing. A JSON null that is there is a value.

`where` asks a whole condition of the value itself: `$` in it is that value. `not` negates one condition, or says that
none of a list holds; so `not: {$.a: {eq: 1}}` and `$.a: {ne: 1}` are the same, but `not: {$.a: {gt: 1}}` also holds
where there is no `$.a`.

Types are not coerced. `1` equals `1.0`; `1`, `"1"` and `true` all differ; integers are exact whatever their size.
Numbers are ordered among themselves, and so is text (by code points); everything else, and a mixture, has no order, so
`gt gte lt lte` are false. `as:` reads the value differently first; what cannot be read so satisfies nothing, and equals
nothing.

Evaluation never raises, whatever the event: mistakes are found when rules are loaded.
"""

from __future__ import annotations

from typing import assert_never

from hookline.rules.condition import All, Any, Check, Condition, Named, Not, Test
from hookline.rules.event import Json
from hookline.rules.explanation import Explained, explain_test
from hookline.rules.subject import Subject

#: Of how many values a `where` is explained, so that a long array does not fill the screen.
_MAX_EXPLAINED_VALUES = 3


def evaluate(condition: Condition, subject: Subject) -> bool:
    """Tell whether a condition holds. Total: never raises."""
    return _ask(condition, subject, None)


def explain(condition: Condition, subject: Subject) -> Explained:
    """Tell whether a condition holds, and why: the same evaluation with a trace, which stops nowhere early."""
    trace: list[Explained] = []
    _ask(condition, subject, trace)
    return trace[0]


def _ask(condition: Condition, subject: Subject, trace: list[Explained] | None) -> bool:
    inner: list[Explained] | None = None if trace is None else []
    if isinstance(condition, Test):
        holds = _ask_test(condition, subject, inner)
        if trace is not None:
            trace.append(explain_test(condition, subject, holds=holds, children=tuple(inner or ())))
        return holds
    match condition:
        case All(tests=tests):
            text, holds = "all", not _one_answers(tests, subject, inner, answer=False)
        case Any(tests=tests):
            text, holds = "any", _one_answers(tests, subject, inner, answer=True)
        case Not(test=test):
            text, holds = "not", not _ask(test, subject, inner)
        case Named(name=name, condition=named):
            text, holds = name, _ask(named, subject, inner)
        case _ as never:
            assert_never(never)
    if trace is not None:
        trace.append(Explained(text, holds, children=tuple(inner or ())))
    return holds


def _one_answers(
    tests: tuple[Condition, ...], subject: Subject, inner: list[Explained] | None, *, answer: bool
) -> bool:
    found = False
    for test in tests:
        if _ask(test, subject, inner) is answer:
            if inner is None:
                return True
            # The rest cannot change the answer, and is asked only to be shown.
            found = True
    return found


def _ask_test(test: Test, subject: Subject, inner: list[Explained] | None) -> bool:  # noqa: PLR0911 - one a rule
    values = subject.values(test.look)
    if not test.is_plain:
        if not _selection_holds(test, values, subject):
            return False
        if test.convert is not None:
            # None is what a conversion returns for what it cannot read.
            read = list(map(test.convert, values))
            if test.every is not None and None in read:
                return False
            values = [value for value in read if value is not None]
        if _one_passes(test.absent, values, subject):
            return False
        if test.every is not None and not _holds_of_every(test.every, values, subject, inner):
            return False
        if not test.present and test.where is None:
            return True
    for value in values:
        for check in test.present:
            if not check.accepts(value, subject):
                break
        else:
            if test.where is None or _ask(test.where, subject.inside(value), _room(inner)):
                return True
    return False


# Apart, and not in `_ask_test`: a function around a generator pays for it whenever it is called.
def _one_passes(checks: tuple[Check, ...], values: list[Json], subject: Subject) -> bool:
    return any(check.accepts(value, subject) for check in checks for value in values)


def _selection_holds(test: Test, values: list[Json], subject: Subject) -> bool:
    if test.exists is not None and bool(values) is not test.exists:
        return False
    return all(check.accepts(len(values), subject) for check in test.count)


def _holds_of_every(condition: Condition, values: list[Json], subject: Subject, inner: list[Explained] | None) -> bool:
    for value in values:
        if not _ask(condition, subject.inside(value), None):
            if inner is not None:
                _ask(condition, subject.inside(value), inner)  # of many values, show the one that decided
            return False
    return bool(values)


def _room(inner: list[Explained] | None) -> list[Explained] | None:
    return inner if inner is not None and len(inner) < _MAX_EXPLAINED_VALUES else None
