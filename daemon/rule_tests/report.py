"""Tell people what came of rule tests: a line a test, and below what failed, what was expected and what came."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterator, Mapping

from hookline.daemon.rule_tests.coverage import Coverage
from hookline.daemon.rule_tests.result import Result, WouldSend, said_by
from hookline.rules import Json
from hookline.rules.problem import one_line
from hookline.rules.rule_test import ExpectedStep
from hookline.rules.rule_test_compare import Difference, Near
from hookline.rules.rule_test_text import name_text

_EXPECTED = "expected "
_GOT = "got      "
_DEEPER = " " * len(_GOT)
# Rules and conditions that the last lines name.
_MOST_NAMED = 5
_LONGEST_VALUE = 2_000


def result_lines(result: Result) -> list[str]:
    """Say of a test that did not pass what was expected, what came, and why; without indentation."""
    lines: list[str] = []
    if result.problem is not None:
        lines.append(str(result.problem))
    if result.rules_differ:
        lines += _rules_lines(result)
    if result.steps is not None:
        for near in result.steps.near:
            lines += _near_lines(near)
        for step in result.steps.missing:
            lines += _missing_lines(step, result)
        if result.steps.surplus and not result.steps.missing:
            lines.append(f"{_EXPECTED}{'nothing' if not result.test.expect else 'nothing else'}")
        for place, group in itertools.groupby(result.steps.surplus, key=lambda one: one.place):
            sent = list(group)
            lines += [line for one in sent for line in _done_lines(one, one.written)]
            hints = result.hints.get(str(place), ())
            lines.append(f"{_DEEPER}by {said_by(sent[0].rule, place)}{''.join(f': {hint}' for hint in hints)}")
    return lines


def coverage_lines(coverage: Coverage) -> Iterator[str]:
    """Say which rules no test met, and which conditions were never true or never false."""
    for rule in coverage.never_met:
        yield f"never met    {said_by(rule.name, rule.place)}"
    for seen in coverage.one_sided:
        never = "never false" if seen.was_true else "never true "
        yield f"{never}  {one_line(seen.text)}  in {said_by(seen.rule, seen.place)}"


def coverage_sentence(coverage: Coverage, *, has_names: bool) -> str:
    """Say in a sentence how many rules were met, and with `has_names` which were not."""
    missed = coverage.never_met
    total = len(coverage.rules)
    said = f"{total - len(missed)} of {total} rules met by a test"
    if missed and has_names:
        named = ", ".join(said_by(rule.name, rule.place) for rule in missed[:_MOST_NAMED])
        more = f" and {len(missed) - _MOST_NAMED} more" if len(missed) > _MOST_NAMED else ""
        said += f"; never met: {named}{more}"
    return said


def _rules_lines(result: Result) -> Iterator[str]:
    expected = result.test.rules or ()
    yield f"{_EXPECTED}{_listed(expected)}"
    yield f"{_GOT}{_listed(result.matched)}"
    for name in expected:
        yield from (f"{_DEEPER}{hint}" for hint in result.hints.get(f"not {name}", ()))


def _listed(names: tuple[str, ...]) -> str:
    return f"the rules {', '.join(map(_quoted, names))}" if names else "no rule"


def _near_lines(near: Near[WouldSend]) -> Iterator[str]:
    done = near.done
    if done.problem is not None:
        yield f"{_EXPECTED}{_step_text(near.expected.name, near.expected.options)}"
        yield f"{_GOT}{name_text(done.name)}  that would fail: {one_line(done.problem)}"
    else:
        for number, difference in enumerate(near.differences):
            yield from _difference_lines(near.expected.name if number == 0 else "", difference)
    yield f"{_DEEPER}by {said_by(done.rule, done.place)}"


def _difference_lines(name: str, difference: Difference) -> Iterator[str]:
    head = f"{name_text(name)}  {one_line(difference.path)}" if name else f"  {one_line(difference.path)}"
    expected, got = difference.expected, difference.got
    if isinstance(expected, str) and isinstance(got, str) and "\n" in expected + got:
        yield f"{_EXPECTED}{head} (-), got (+)"
        # Behind the names of files and the first line numbers, which say nothing here.
        lines = difflib.unified_diff(expected.splitlines(), got.splitlines(), lineterm="", n=1)
        for line in itertools.islice(lines, 3, None):
            yield f"{_DEEPER}  {line[:1]} {one_line(line[1:])}".rstrip()
        return
    yield f"{_EXPECTED}{head}: {_value(expected)}"
    blank = head if name else " " * len(head)
    yield f"{_GOT}{blank}{': ' if name else '  '}{'is not there' if difference.is_missing else _value(got)}"


def _missing_lines(step: ExpectedStep, result: Result) -> Iterator[str]:
    yield f"{_EXPECTED}{_step_text(step.name, step.options)}"
    if not result.done:
        yield f"{_GOT}nothing"
    elif result.steps is not None and not result.steps.surplus:
        yield f"{_GOT}none such"
    yield from (f"{_DEEPER}{hint}" for hint in result.hints.get(f"no {step.name}", ()))


def _done_lines(one: WouldSend, written: Mapping[str, Json]) -> Iterator[str]:
    if one.problem is not None:
        yield f"{_GOT}{name_text(one.name)}  that would fail: {one_line(one.problem)}"
        return
    # What the rule says, and not all that its destination does.
    yield f"{_GOT}{_step_text(one.name, {key: one.options[key] for key in written if key in one.options})}" + (
        "  (dry run)" if one.is_dry_run else ""
    )


def _step_text(name: str, options: Mapping[str, Json]) -> str:
    said = ", ".join(f"{name_text(key)}: {_value(value)}" for key, value in options.items())
    return f"{name_text(name)}  {said}" if said else name_text(name)


def _value(value: Json) -> str:
    text = one_line(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _quoted(name: str) -> str:
    return f'"{one_line(name)}"'
