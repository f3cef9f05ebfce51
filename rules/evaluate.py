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

from hookline.rules.asking import select_of
from hookline.rules.condition import All, Any, Condition, Named, Not, Test
from hookline.rules.explanation import Explained, explain_test
from hookline.rules.subject import Subject

#: Of how many values a `where` is explained, so that a long array does not fill the screen.
_MAX_EXPLAINED_VALUES = 3


def evaluate(condition: Condition, subject: Subject) -> bool:
    """Tell whether a condition holds. Total: never raises."""
    return condition.ask(subject)


def explain(condition: Condition, subject: Subject) -> Explained:
    """Tell whether a condition holds, and why: every answer in the tree is `evaluate`'s."""
    holds = condition.ask(subject)
    match condition:
        case Test():
            return explain_test(condition, subject, holds=holds, children=_explain_inside(condition, subject))
        case All(tests=tests):
            text, parts = "all", tests
        case Any(tests=tests):
            text, parts = "any", tests
        case Not(test=test):
            text, parts = "not", (test,)
        case Named(name=name, condition=named):
            text, parts = name, (named,)
        case _ as never:
            assert_never(never)
    children = tuple(explain(part, subject) for part in parts)
    return Explained(text, holds, children=children, place=condition.place)


def _explain_inside(test: Test, subject: Subject) -> tuple[Explained, ...]:
    """Explain what `every` and `where` ask: of many values, those that decided."""
    if test.every is None and test.where is None:
        return ()
    insides = [subject.inside(value) for value in select_of(test)(subject) or ()]
    if test.every is not None:
        for inside in insides:
            if not test.every.ask(inside):
                return (explain(test.every, inside),)
    children: list[Explained] = []
    if test.where is not None:
        for inside in insides:
            if not all(check.accepts(inside.document, subject) for check in test.present):
                continue
            if len(children) < _MAX_EXPLAINED_VALUES:
                children.append(explain(test.where, inside))
            if test.where.ask(inside):
                break
    return tuple(children)
