from __future__ import annotations

import importlib.util
import sys
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.rules.path import PathError, compile_path

_spec = importlib.util.spec_from_file_location("path_strategies", FilePath(__file__).with_name("strategies.py"))
assert _spec
assert _spec.loader
random_rules: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(random_rules)

INVOICE: Any = {
    "data": {
        "account_id": "acc_88",
        "currency": "USD",
        "total": 1250.5,
        "note": None,
        "raw": '{"a": 1}',
        "empty": [],
        "lines": [{"sku": "SVC-1", "quantity": 12}, {"sku": "X", "quantity": 1}],
    }
}


@pytest.mark.parametrize(
    ("path", "selected"),
    [
        ("$", [INVOICE]),
        ("$.data.total", [1250.5]),
        ("$['data'][\"total\"]", [1250.5]),
        ("$.data.note", [None]),
        ("$.data.nothing", []),
        ("$.data.total.nothing", []),
        ("$.data.lines[0].sku", ["SVC-1"]),
        ("$.data.lines[-1].sku", ["X"]),
        ("$.data.lines[2].sku", []),
        ("$.data.lines[-3].sku", []),
        ("$.data.lines[*].sku", ["SVC-1", "X"]),
        ("$.data.lines.sku", []),
        ("$.data.lines[1:].sku", ["X"]),
        ("$.data.lines[::-1].sku", ["X", "SVC-1"]),
        ("$.data.lines[0, 1].quantity", [12, 1]),
        ("$.data['total', 'currency']", [1250.5, "USD"]),
        ("$..sku", ["SVC-1", "X"]),
        ("$.data.lines[?(@.sku == 'X' && @.quantity < 2)].quantity", [1]),
        ("$.data.lines[?@.quantity >= 1e1].sku", ["SVC-1"]),
        ("$.data.lines[?10 < @.quantity].sku", ["SVC-1"]),
        ("$.data.lines[?@.quantity == $.data.lines[1].quantity].sku", ["X"]),
        ("$.data.lines[?!@.price].sku", ["SVC-1", "X"]),
        ("$.data.lines[?@.sku == 'it\\'s']", []),
    ],
)
def test_selects(path: str, selected: list[Any]) -> None:
    assert compile_path(path).select(INVOICE) == selected


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("data.total", "it must begin with $", "write $.data.total"),
        ("$.data.", "a name is expected at character 8", None),
        ("$.data.foo-bar", '"foo-bar" must stand in quotes', "write ['foo-bar'] without the dot"),
        ("$.data.@type", '"@type" must stand in quotes', "write ['@type'] without the dot"),
        ("$.lines.0", 'a name cannot begin with a digit: "0"', "write [0]"),
        ("$.lines[sku]", "the name sku must stand in quotes", "write ['sku']"),
        ("$.lines[", "a name in quotes, an index, * or ? is expected at character 9", None),
        ("$.lines[0", '"]" is expected at character 10, where it ends', None),
        ("$.lines.[0]", "there is a dot before [", "take the dot away"),
        ("$['a]", "the quote ' is not closed", None),
        ("$.lines[01]", "01 is not an index", "write whole numbers without leading zeros"),
        ("$.lines[9007199254740992]", "the index 9007199254740992 is too large", None),
        ("$.lines[?@.a = 1]", '"=" is not an operator', "write =="),
        ("$.lines[?@.a == 1 & @.b == 2]", '"&" is not an operator', "write &&"),
        ("$.lines[?@.a == 1 and @.b == 2]", '"and" is not an operator', "write &&"),
        ("$.lines[?@.a and @.b]", '"and" is not an operator', "write &&"),
        ("$.lines[?a == 1]", 'the word "a" has no meaning here', "write @.a, or 'a'"),
        ("$.lines[?@.a == True]", "True is not a constant", "write true"),
        ("$.lines[?@.a == 'x]", "the quote ' is not closed", None),
        ("$.lines[?@[*] == 1]", "what is compared must be one value", "use names and indexes only in comparisons"),
        ("$.a ", "it ends with a blank", "take the blank away"),
        ("$.a~", "the names of members cannot be selected", None),
    ],
)
def test_what_is_not_a_path_is_refused(path: str, message: str, hint: str | None) -> None:
    with pytest.raises(PathError) as refused:
        compile_path(path)
    assert refused.value.message == f"{path} is not a path: {message}"
    assert refused.value.hint == hint


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("$.a[?length(@.b) > 2]", "the function length() is not read", "use count: on a path that ends with [*]"),
        ("$.a[?match(@.b, 'x')]", "the function match() is not read", "use matches: under where:"),
        ("$.a.length()", "functions are not read", "use the operators, such as count: or matches:"),
        ("$.a[?@.b =~ 'x']", "regular expressions are not read in filters", "use matches: under where:"),
        ("$.a[?@.b + 1 == 2]", "filters do not calculate", "compare the value itself"),
        ("$.a[?!(@.b == 1)]", "a group cannot be negated", "turn its comparisons round, or use not: under where:"),
        ("$.a[?@[?@.b]]", "filters are not read in filters", "use where: in where:"),
        ("$.a[?@..b]", ".. is not read in filters", "put it in front of the filter"),
        ("$.a[?1 == 2]", "it compares two constants, 1 and 2", "compare with @.name"),
        ("$.a[/b]", "sorting is not read", "conditions do not depend on the order"),
        ("$.a[(@.length-1)]", "scripts are not read", "write [-1] for the last element, [?@.a == 1] for a filter"),
        ("$.a.`len`", "extensions in backticks are not read", "use the operators, such as count:"),
        ("$..a..b", "only one .. is read in a path", "name the steps between, or look closer with where:"),
    ],
)
def test_jsonpath_that_we_do_not_read_is_named(path: str, message: str, hint: str) -> None:
    with pytest.raises(PathError) as refused:
        compile_path(path)
    assert (refused.value.message, refused.value.hint) == (f"{path}: {message}", hint)


def test_long_and_deep_paths_are_refused() -> None:
    with pytest.raises(PathError, match="it has 514 characters, at most 512"):
        compile_path("$." + "a" * 512)
    assert compile_path("$" + ".a" * 32).select({}) == []
    with pytest.raises(PathError, match="it has 33 steps, at most 32"):
        compile_path("$" + ".a" * 33)
    with pytest.raises(PathError, match="nested too deep"):
        compile_path(f"$[?{'(' * 200}@.a{')' * 200}]")


def test_a_message_cannot_forge_a_line() -> None:
    with pytest.raises(PathError) as refused:
        compile_path("$.a\n2026-01-01 ERROR everything is lost \x1b[31m" + "x" * 200)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    ("path", "far"),
    [
        ("$.data.total", ""),
        (
            "$.data.curency",
            '$.data has no "curency", did you mean "currency"? (it has: account_id, currency, empty, lines, note, raw, total)',
        ),
        (
            "$.data.owner.name",
            '$.data has no "owner" (it has: account_id, currency, empty, lines, note, raw, total)',
        ),
        ("$.data.lines.sku", "$.data.lines is an array: did you mean $.data.lines[*].sku?"),
        ("$.data.lines.sku.code", "$.data.lines is an array: did you mean $.data.lines[*].sku.code?"),
        ("$.data.lines[7].sku", "$.data.lines has 2 elements, it has no [7]"),
        (
            "$.data.lines[*].price",
            'none of the 2 values of $.data.lines[*] has "price" (it has: quantity, sku)',
        ),
        ("$.data.empty[*]", "$.data.empty is empty"),
        ("$.data.empty.a", "$.data.empty is an empty array"),
        ("$.data.note.text", '$.data.note is null, it has no "text"'),
        ("$.data.total.net", '$.data.total is a number, it has no "net"'),
        ("$.data.raw.a", '$.data.raw is text that holds JSON, not an object; it has no "a"'),
        (
            "$.data[0]",
            "$.data is an object, it has no elements (it has: account_id, currency, empty, lines, note, raw, total)",
        ),
        ("$.data.lines[?@.sku == 'Y'].quantity", "none of the 2 values in $.data.lines is selected by the filter"),
        ("$..nowhere", 'nothing in $ has "nowhere"'),
    ],
)
def test_how_far_a_path_got(path: str, far: str) -> None:
    assert compile_path(path).how_far(INVOICE) == far


def test_a_document_with_many_names_is_shown_in_part() -> None:
    far = compile_path("$.zz").how_far({f"name{number:02}": 1 for number in range(50)})
    assert far.startswith('$ has no "zz" (it has: name00, name01, ')
    assert far.endswith("name11, …)")


def test_documents_deeper_than_the_stack_are_searched() -> None:
    document: Any = {"a": 1}
    for _ in range(sys.getrecursionlimit() * 5):
        document = {"b": [document]}
    assert compile_path("$..a").select(document) == [1]
    assert compile_path("$..[?@.a == 1].a").select(document) == [1]


@settings(max_examples=150, deadline=None)
@given(random_rules.PATHS, random_rules.PAYLOADS)
def test_selection_never_raises(path: str, document: Any) -> None:
    compiled = compile_path(path)
    assert bool(compiled.select(document)) is not bool(compiled.how_far(document))


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(list("$.[]*?@()'\"\\:,-=!<>&|~`/01ea \n")), max_size=12) | st.text(max_size=12))
def test_any_text_is_a_path_or_a_path_error(text: str) -> None:
    try:
        path = compile_path("$" + text)
    except PathError as refused:
        message = str(refused)
    else:
        message = ""
        path.select({"a": [1, {"e": "0"}], "e": {"a": None}})
    assert not message or message.isprintable()


def test_a_path_is_compiled_once() -> None:
    assert compile_path("$.data.lines[?@.a == 1]") is compile_path("$.data.lines[?@.a == 1]")
