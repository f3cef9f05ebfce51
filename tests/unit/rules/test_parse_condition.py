from __future__ import annotations

from dataclasses import replace

import pytest

from hookline.rules.condition import All, Any, Condition, Constant, Named, Not, Reference, Test
from hookline.rules.document import Entries, Findings, Node
from hookline.rules.interpolation import node_from
from hookline.rules.parse_condition import MAX_DEPTH, Scope, parse_named_conditions, parse_when
from hookline.rules.problem import Place
from hookline.rules.reader import read_document

LIVE: Condition = All(())


def node(text: str) -> Node:
    findings = Findings()
    read = read_document(text, "r.yaml", findings)
    assert findings.problems == []
    assert read is not None
    return read


def problems(text: str) -> list[str]:
    findings = Findings()
    parse_when(node(text), Scope(findings, {"live": LIVE}))
    return [str(problem) for problem in findings.problems]


def parsed(text: str) -> Condition:
    findings = Findings()
    condition = parse_when(node(text), Scope(findings, {"live": LIVE}))
    assert findings.problems == []
    return condition


OPERATORS = (
    "operators are after as before cidr contains count during ends_with eq every exists glob gt gte in is lt lte "
    "matches ne not_in starts_with where"
)
A_TIME = "write one such as 2026-05-18T12:00:00Z, or -10m for ten minutes before the event was received"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # Nothing is said.
        ("{}", "1:1: the condition is empty; leave the key out to match always"),
        ("null", "1:1: the condition is empty; leave the key out to match always"),
        ("not: {}", "1:6: not: the condition is empty; leave the key out to match always"),
        ("all:", "1:5: all: the condition is empty; leave the key out to match always"),
        ("all: []", "1:6: all: the list under all: is empty; leave the key out"),
        (
            "$.a:",
            (
                "1:5: $.a: $.a is compared with nothing; "
                "write {eq: null} for a JSON null, {exists: false} for nothing at all"
            ),
        ),
        ("tenant: null", "1:9: tenant: tenant is compared with nothing; write {exists: false} for nothing at all"),
        ("$.a: {}", f"1:6: $.a: there is no operator; {OPERATORS}"),
        ("$.a: {as: number}", f"1:6: $.a: as: alone asks nothing; {OPERATORS}"),
        # What is no condition.
        ("7", "1:1: the condition is 7, which is no test; write a test, such as $.data.id: 1"),
        ("live", "1:1: the condition is live, which is no test; write all: [live]"),
        ("[{$.a: 1}]", "1:1: a list of conditions does not say how many must hold; put all: or any: in front of it"),
        ("live: true", '1:1: "live" is not something a condition can look at; write all: [live]'),
        ("all: [liv]", '1:7: all[0]: there is no condition "liv"; did you mean "live"?'),
        ("all: [nowhere]", '1:7: all[0]: there is no condition "nowhere"; declare it under conditions:'),
        ("any: [$.a]", '1:7: any[0]: there is no condition "$.a"; write {$.a: ...}'),
        (
            "not: {$.a: 1, $.b: 2}",
            (
                "1:6: not: several keys under not: do not say whether all or any of them is denied; "
                "write not: [{...}, {...}] for none of them, not: {all: [...]} otherwise"
            ),
        ),
        # What is looked at.
        ("typ: x", '1:1: "typ" is not something a condition can look at; did you mean "type"?'),
        ("payload.total: 1", '1:1: "payload.total" is not something a condition can look at; write $.total'),
        ("event.type: x", '1:1: "event.type" is not something a condition can look at; write type'),
        ("headers: x", '1:1: "headers" is not something a condition can look at; write header.NAME'),
        (
            "data.id: 1",
            '1:1: "data.id" is not something a condition can look at; a path into the payload begins with $: write $.data.id',
        ),
        ("$.a-b: 1", "1:1: $.a-b is not a path: \"a-b\" must stand in quotes; write ['a-b'] without the dot"),
        (
            "envelope.$.a-b: 1",
            "1:1: $.a-b is not a path: \"a-b\" must stand in quotes; write ['a-b'] without the dot",
        ),
        # Operators.
        ("$.a: {gt_e: 3}", '1:7: $.a: unknown operator "gt_e"; did you mean "gte"?'),
        ("$.a: {regex: x}", '1:7: $.a: unknown operator "regex"; did you mean "matches"?'),
        ("$.a: {'>=': 3}", '1:7: $.a: unknown operator ">="; did you mean "gte"?'),
        ("$.a: {startsWith: x}", '1:7: $.a: unknown operator "startsWith"; did you mean "starts_with"?'),
        ("$.a: {frobnicate: 1}", f'1:7: $.a: unknown operator "frobnicate"; {OPERATORS}'),
        ("$.a: {$.b: 1}", '1:7: $.a: unknown operator "$.b"; write where: {$.b: ...}'),
        (
            "$.a: {not: 1}",
            '1:7: $.a: unknown operator "not"; write ne: or not_in:, or put not: in front of the whole test',
        ),
        ("$.a: {where: {$.b: {gte_: 1}}}", '1:21: $.a.where.$.b: unknown operator "gte_"; did you mean "gte"?'),
        # Operands.
        (
            "$.a: $.b-c",
            (
                '1:6: $.a: $.b-c is not a path: "b-c" must stand in quotes; '
                "write ['b-c'] without the dot, or $$.b-c if it is text and no path"
            ),
        ),
        ("$.a: {gt: null}", "1:11: $.a.gt: gt: compares numbers or text, not null"),
        ("$.a: {gt: true}", "1:11: $.a.gt: gt: compares numbers or text, not true"),
        ("$.a: {gt: [1, 2]}", "1:11: $.a.gt: gt: takes one value, not a list"),
        ("$.a: {in: draft}", '1:11: $.a.in: in: takes a list; write ["draft"], or eq:'),
        ("$.a: {not_in: 1.10}", "1:15: $.a.not_in: not_in: takes a list; write [1.10], or ne:"),
        ("$.a: {starts_with: true}", "1:20: $.a.starts_with: starts_with: takes text, not true; put it in quotes"),
        ("$.a: {glob: {x: 1}}", '1:13: $.a.glob: glob: takes text, not {"x": 1}'),
        (
            "$.a: {matches: $.b}",
            "1:16: $.a.matches: matches: cannot be taken from a path; write it out, or compare with eq:",
        ),
        ("$.a: {is: int}", '1:11: $.a.is: "int" is no JSON type; did you mean "integer"?'),
        (
            "$.a: {is: 3}",
            '1:11: $.a.is: "3" is no JSON type; types are text string number integer boolean null array object',
        ),
        (
            "client_ip: {cidr: 10.0.0.1/8}",
            '1:19: client_ip.cidr: "10.0.0.1/8": it has bits set behind its mask; write 10.0.0.0/8',
        ),
        (
            "client_ip: {cidr: [10.0.0.0/8, lan]}",
            (
                "1:32: client_ip.cidr[1]: \"lan\": it is not a network: 'lan' does not appear to be an IPv4 or IPv6 network; "
                "write one such as 10.0.0.0/8"
            ),
        ),
        ("$.a: {before: soon}", f"1:15: $.a.before: soon is not a time; {A_TIME}"),
        ("$.a: {before: 10m}", "1:15: $.a.before: 10m is not a time; write -10m for so long before the event"),
        ("$.a: {after: -10 minutes}", f'1:14: $.a.after: "10 minutes" is not a duration: write 10m; {A_TIME}'),
        ("$.a: {before: null}", f"1:15: $.a.before: before: takes a time; {A_TIME}"),
        ("$.a: {before: [2026-01-01]}", "1:15: $.a.before: before: takes one value, not a list"),
        (
            "received_at: {during: mon-fri 07:00-22:00}",
            (
                '1:23: received_at.during: "mon-fri 07:00-22:00" is not a window: it names no time zone; '
                "add one, such as Europe/Berlin or UTC"
            ),
        ),
        ("$.a: {exists: yes}", "1:15: $.a.exists: exists: takes true or false"),
        ("$.a: {count: many}", "1:14: $.a.count: a count is a whole number; write count: 3 or count: {gt: 2}"),
        ("$.a: {count: 1.5}", "1:14: $.a.count: a count is a whole number; write count: 3 or count: {gt: 2}"),
        ("$.a: {count: true}", "1:14: $.a.count: a count is a whole number; write count: 3 or count: {gt: 2}"),
        ("$.a: {count: $.b}", "1:14: $.a.count: a count is a whole number; write count: 3 or count: {gt: 2}"),
        (
            "$.a: {count: {contains: 1}}",
            '1:15: $.a.count: "contains" does not compare counts; operators are eq gt gte in lt lte ne not_in',
        ),
        ("$.a: {count: {}}", "1:14: $.a.count: count: is empty; write count: 3 or count: {gt: 2}"),
        (
            "$.a: {every: [1]}",
            (
                "1:14: $.a.every: every: takes a condition; "
                "write every: {$.name: value}, or every: {gt: 1} for the value itself"
            ),
        ),
        # Patterns.
        (
            "$.a: {matches: 'x(?=y)'}",
            (
                "1:16: $.a.matches: the pattern is not valid at character 2: invalid perl operator (?=; "
                "look-ahead is not supported: write a second condition, with not: if need be"
            ),
        ),
        (
            r"$.a: {matches: '(a)\1'}",
            (
                r"1:16: $.a.matches: the pattern is not valid at character 4: invalid escape sequence \1; "
                "back-references are not supported: compare two paths instead"
            ),
        ),
        (
            "$.a: {matches: [a, 'b(']}",
            "1:20: $.a.matches[1]: the pattern is not valid: missing ) b(; write \\( for a parenthesis in the text",
        ),
        # Conversions.
        ("$.a: {eq: abc, as: number}", '1:11: $.a.eq: "abc" cannot be read as number'),
        (
            "$.a: {eq: 1, as: int}",
            '1:18: $.a.as: values cannot be read as "int"; write number, text, lower or time',
        ),
        ("$.a: {eq: x, as: numbr}", '1:18: $.a.as: values cannot be read as "numbr"; did you mean "number"?'),
        (
            "$.a: {contains: x, as: number}",
            (
                "1:7: $.a: contains makes no sense of values read as number; "
                "take as: away, or ask in two tests joined by all:"
            ),
        ),
        (
            "$.a: {where: {$.b: 1}, as: number}",
            "1:7: $.a: where makes no sense of values read as number; put as: inside where:",
        ),
        # Fields are text.
        ("tenant: true", '1:9: tenant: tenant is text, which never equals true; write "true" in quotes'),
        ("tenant: {eq: null}", "1:14: tenant.eq: tenant is text, which never equals null; write {exists: false}"),
        (
            "query.page: {gt: 5}",
            "1:18: warning: query.page.gt: query.page is text, so gt 5 compares letter by letter; add as: number",
        ),
        ("$.a: {in: []}", "1:11: warning: $.a.in: the list under in: is empty, so it never holds"),
        ("$.a: {not_in: []}", "1:15: warning: $.a.not_in: the list under not_in: is empty, so it always holds"),
    ],
)
def test_a_mistake_is_named_at_its_place(text: str, problem: str) -> None:
    assert problems(text) == [f"r.yaml:{problem}"]


def test_all_mistakes_are_reported_at_once() -> None:
    found = problems("$.a: {eq: 1, matches: '[', gt: null}\ntyp: x\nany: [{$.b: {}}, nowhere]\n")
    assert [line.split(": ")[0] for line in found] == [
        "r.yaml:1:23",
        "r.yaml:1:32",
        "r.yaml:2:1",
        "r.yaml:3:13",
        "r.yaml:3:18",
    ]


def test_conditions_are_data() -> None:
    both = parsed("$.a: {gte: 1000, lt: $.b}\nnot: {type: x}\nany: [live, {$.c: [1, 2]}]\n")
    assert isinstance(both, All)
    compared, denied, either = both.tests
    assert isinstance(compared, Test)
    assert compared.look.text == "$.a"
    assert [check.operator for check in compared.present] == ["gte", "lt"]
    assert compared.present[0].operands == (Constant(1000),)
    assert isinstance(compared.present[1].operands[0], Reference)
    assert compared.text == "$.a gte 1000 and lt $.b"
    assert isinstance(denied, Not)
    assert isinstance(either, Any)
    assert either.tests[0] == Named("live", LIVE)
    assert parsed("$.a: 1") == parsed("$.a: {eq: 1}")
    assert parsed("$.a: 1") != parsed("$.a: {ne: 1}")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("$.a: gold", '$.a eq "gold"'),
        ("$.a: [USD, EUR, 'a b']", '$.a in [USD, EUR, "a b"]'),
        ("$.a: 1.10", "$.a eq 1.10"),
        ("header.X-Id: 0.50", "header.x-id eq 0.50"),
        ("$.a: {exists: false}", "$.a does not exist"),
        ("$.a: {count: {gt: 2}, exists: true}", "$.a exists and count gt 2"),
        ("$.a: {after: -10m}", "$.a after -10m"),
        ("$.a: {eq: x, as: lower}", '$.a as lower eq "x"'),
        ("$.a: {where: {$.b: 1}, is: object}", "$.a is object and where"),
        ('$.a: "x\\ny\\e[31m"', '$.a eq "x\\ny\\x1b[31m"'),
    ],
)
def test_a_test_reads_as_people_write(text: str, written: str) -> None:
    test = parsed(text)
    assert isinstance(test, Test)
    assert test.text == written


def test_a_number_against_a_text_field_is_its_text_in_the_file() -> None:
    test = parsed("tenant: {in: [1.10, 7], ne: 2.0}")
    assert isinstance(test, Test)
    assert test.present[0].operands == (Constant("1.10"), Constant("7"))
    assert test.absent[0].operands == (Constant("2.0"),)


def test_variables_are_put_in_before_anything_is_read() -> None:
    def interpolate(written: Node) -> Node:
        assert isinstance(written, Entries)
        return node_from({"$.a": {"not_in": ["ada", "grace"]}}, written.place, written.path)

    findings = Findings()
    condition = parse_when(node("$.a: {not_in: '${vars.team}'}"), Scope(findings, interpolate=interpolate))
    assert findings.problems == []
    assert isinstance(condition, Test)
    assert condition.absent[0].operands == (Constant("ada"), Constant("grace"))


def named(text: str) -> tuple[dict[str, Condition], list[str]]:
    findings = Findings()
    entries = node(text)
    assert isinstance(entries, Entries)
    conditions = parse_named_conditions(entries.entries, Scope(findings, {"outer": LIVE}))
    return conditions, [str(problem) for problem in findings.problems]


def test_named_conditions_may_name_each_other_in_any_order() -> None:
    conditions, found = named("a: {all: [b, outer]}\nb: {$.x: 1}\n")
    assert found == []
    assert conditions["a"] == All((Named("b", conditions["b"]), Named("outer", LIVE)))


def test_a_condition_that_names_itself_is_refused() -> None:
    assert named("a: {all: [b]}\nb: {not: c}\nc: {any: [a, b]}\n")[1] == [
        "r.yaml:1:4: a: the condition names itself: a -> b -> c -> a",
        "r.yaml:2:4: b: the condition names itself: b -> c -> b",
    ]


def test_names_with_a_meaning_are_refused() -> None:
    assert named("any: {$.x: 1}\n")[1] == [
        'r.yaml:1:6: any: a condition cannot be called "any"; that word has a meaning'
    ]


def test_deep_conditions_are_refused() -> None:
    place = Place("r.yaml", 1)
    for levels, is_refused in ((MAX_DEPTH - 1, False), (MAX_DEPTH, True), (MAX_DEPTH * 4, True)):
        when: dict[str, object] = {"$.a": 1}
        for _ in range(levels):
            when = {"not": [when]}
        findings = Findings()
        parse_when(node_from(when, place, ()), Scope(findings))  # type: ignore[arg-type] # plain data
        assert findings.has_errors is is_refused, levels


def test_names_cannot_build_what_may_not_be_written() -> None:
    # A tower of names, upwards and downwards, and a doubling at each level.
    levels = range(40)
    towers = [
        "".join(f"n{i}: {{not: n{i - 1}}}\n" if i else "n0: {$.a: 1}\n" for i in order)
        for order in (levels, reversed(levels))
    ]
    for tower in towers:
        assert any("deep" in problem or "in a row" in problem for problem in named(tower)[1])
    doubling = "".join(f"n{i}: {{all: [n{i - 1}, n{i - 1}]}}\n" if i else "n0: {$.a: 1}\n" for i in range(20))
    found = named(doubling)[1]
    assert found
    assert all("tests with all that it names" in problem or "deep" in problem for problem in found)


def test_conditions_know_where_they_stand() -> None:
    text = """\
$.a: 1
all:
  - live
  - not: {$.b: 2}
any:
  - $.c[*]:
      where: {$.d: 1}
  - $.e:
      every: {gt: 1}
"""
    condition = parse_when(node(text), Scope(Findings(), {"live": LIVE}))
    assert isinstance(condition, All)
    test, both, either = condition.tests
    assert isinstance(both, All)
    assert isinstance(either, Any)
    named, denied = both.tests
    assert isinstance(denied, Not)
    where, every = either.tests
    assert isinstance(where, Test)
    assert isinstance(every, Test)
    found = [test, both, named, denied, denied.test, either, where, where.where, every, every.every]
    places = [one.place for one in found if one is not None]
    assert [(place.line, place.column) for place in places if place] == [
        (1, 1), (2, 1), (3, 5), (4, 5), (4, 11), (5, 1), (6, 5), (7, 15), (8, 5), (9, 7)
    ]  # fmt: skip
    # The same test elsewhere is the same test.
    assert isinstance(where.where, Test)
    assert where.where == replace(where.where, place=None)
