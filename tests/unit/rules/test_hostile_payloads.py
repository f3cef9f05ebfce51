"""No payload holds the loop: the work grows with what is sent, never with its square."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hookline.rules import Json, RulesError, World, load_rules

_spec = importlib.util.spec_from_file_location("hostile_world", Path(__file__).with_name("rule_world.py"))
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)
WORLD: World = rule_world.WORLD


def chain(depth: int) -> Json:
    value: Json = 1
    for _ in range(depth):
        value = {"a": value}
    return value


PAYLOADS: dict[str, Callable[[int], Json]] = {
    "numbers": lambda n: {"l": list(range(n)), "m": list(range(n, 2 * n))},
    "texts": lambda n: {"l": [f"x{each}" for each in range(n)], "m": [f"y{each}" for each in range(n)]},
    "numbers of one hash": lambda n: {
        "l": [each * (2**61 - 1) for each in range(n)],
        "m": [each * (2**61 - 1) for each in range(n, 2 * n)],
    },
    "arrays": lambda n: {"l": [[1, each] for each in range(n)], "m": [[2, each] for each in range(n)]},
    "objects": lambda n: {"l": [{"a": each, "b": {"c": [each]}} for each in range(n)], "m": [{"a": -1}] * n},
    "chains": lambda n: {"l": [chain(30)] * (n // 20), "m": [chain(31)] * (n // 20)},
    "times": lambda n: {"l": ["2026-05-18T12:00:00Z"] * n, "m": ["2026-05-18T13:00:00Z"] * n},
}
TESTS = {
    "$..x": "1",
    "$..*": "nope",
    "$..[?@.a == 'q' && @.b.c[0] == 2]": "1",
    "$.l[?@.a == $.m]": "1",
    "$.l": "{eq: $.m}",
    "$.l[*]": "{eq: '$.m[*]'}",
    "$['l'][*]": "{in: $.m}",
    "$.m[*]": "{ne: '$.m[*]', lt: '$.l[*]'}",
    "$.l[0:]": "{gt: '$.m[*]'}",
    "$.l[::1]": "{before: '$.l[*]', after: '$.m[*]'}",
    "$['l']": "{contains: '$.m[*]'}",
    "$['m'][*]": "{as: text, contains: '$.l[*]'}",
    "$['m'][0:]": "{as: text, starts_with: '$.l[*]', ends_with: '$.l[*]'}",
    "$.*[*]": "{where: {$..b: {where: {'$.c[*]': {gt: 99999999}}}}}",
    "$.*": "{every: {where: {$.a: 1}}}",
}


def work(when: str, payload: Json) -> int:
    """Count the calls, of C functions too, that matching takes."""
    rules = load_rules({"rules.yaml": f"rules:\n  - name: a\n    when: {when}\n    do: erp\n"}, WORLD)
    event = rule_world.event(payload)
    count = 0

    def see(_: FrameType, what: str, __: object) -> None:
        nonlocal count
        count += what in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        rules.match(event)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("path", TESTS)
@pytest.mark.parametrize("kind", PAYLOADS)
def test_twice_as_much_takes_at_most_about_twice_the_work(kind: Any, path: Any) -> None:
    when = f'{{"{path}": {TESTS[path]}}}'
    one, two = (work(when, PAYLOADS[kind](count)) for count in (200, 400))
    assert two <= 2.3 * one + 500


@pytest.mark.parametrize("kind", PAYLOADS)
def test_no_comparison_takes_the_square_in_c_either(kind: Any) -> None:
    # Ten times what a source reads of one list; were it the square, it would be hours.
    tests = ", ".join(f'"{path}": {test}' for path, test in TESTS.items() if "?" not in path)
    work(f"{{any: [{{{tests}}}]}}", PAYLOADS[kind](20_000))


def test_one_descent_under_another_is_refused() -> None:
    for when in (
        "{$..*: {where: {$..a: 1}}}",
        "{$..*: {every: {any: [{not: {$.b: 1}}, {$.b: {where: {$..a: 1}}}]}}}",
        "{$..*: {where: {$.b: {eq: $..a}}}}",
        "{$..*: {where: {all: [far]}}}",
    ):
        text = f"conditions: {{far: {{$..a: 1}}}}\nrules: [{{name: a, when: {when}, do: erp}}]\n"
        with pytest.raises(RulesError, match=r"holds a path with \.\. under another with \.\.; name the steps"):
            load_rules({"rules.yaml": text}, WORLD)
    load_rules({"rules.yaml": "rules: [{name: a, when: {$..*: {where: {$.b.c: 1}}}, do: erp}]"}, WORLD)


def test_brackets_that_multiply_are_refused() -> None:
    many = "$" + "[*,*]" * 9
    with pytest.raises(RulesError, match="its brackets multiply; at most 256 ways lead through a path"):
        load_rules({"rules.yaml": f'rules: [{{name: a, when: {{"{many}": 1}}, do: erp}}]'}, WORLD)
    fits = "$" + "[*,*]" * 8
    load_rules({"rules.yaml": f'rules: [{{name: a, when: {{"{fits}": 1}}, do: erp}}]'}, WORLD)


def test_behind_contains_the_first_hundred_texts_are_looked_for() -> None:
    rules = load_rules(
        {"rules.yaml": "rules:\n  - {name: a, when: {$.text: {contains: '$.parts[*]'}}, do: erp}\n"}, WORLD
    )
    parts: list[Json] = [f"no{number}" for number in range(99)]
    for more, matches in ((["b"], 1), (["no", "b"], 0)):
        assert len(rules.match(rule_world.event({"text": "abc", "parts": [*parts, *more]})).matches) == matches
