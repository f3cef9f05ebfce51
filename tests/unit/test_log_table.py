"""The table of log lines in docs/logs.md says what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
LOGGERS = {"log", "_log", "get_logger"}
#: What a line is made of where a plug-in chose it.
FOREIGN = {"context.py"}
ROW = re.compile(r"^\| `(?P<name>[a-z_]+\.[a-z_]+)` \| (?P<levels>[a-z, ]+) \| (?P<when>[^|]+) \| (?P<fields>[^|]*) \|")

Lines = dict[str, tuple[set[str], set[str]]]


def name_of(value: ast.expr) -> str:
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Call(func=ast.Name(id=name)):
            return name
        case _:
            return ""


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    for folder in ("daemon", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in METHODS
                    and name_of(node.func.value) in LOGGERS
                    and path.name not in FOREIGN
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node, node.func.attr


def in_code() -> tuple[Lines, set[str]]:
    """Return levels and fields of each line by its name, and the names of those that take more fields."""
    lines: Lines = {}
    open_ended: set[str] = set()
    for place, call, method in calls():
        first = call.args[0] if call.args else None
        assert isinstance(first, ast.Constant), f"{place}: a line's name is written out"
        levels, fields = lines.setdefault(str(first.value), (set(), set()))
        levels.add("error" if method == "exception" else method)
        for keyword in call.keywords:
            if keyword.arg is None:
                open_ended.add(str(first.value))
            else:
                fields.add("exception" if keyword.arg == "exc_info" else keyword.arg)
        if method == "exception":
            fields.add("exception")
    # These are made where lines are written.
    lines["log.dropped"] = ({"warning"}, {"count", "next_step"})
    lines["log.left_out"] = ({"warning"}, {"what", "count"})
    lines["library.said"] = ({"warning", "error", "critical"}, {"logger", "what", "exception"})
    return lines, {*open_ended, "log.left_out"}


def in_docs() -> Lines:
    lines: Lines = {}
    for row in (ROOT / "docs" / "logs.md").read_text().splitlines():
        found = ROW.match(row)
        if found:
            assert found["name"] not in lines, f"{found['name']} stands there twice"
            lines[found["name"]] = (set(found["levels"].split(", ")), set(re.findall(r"`([a-z_]+)`", found["fields"])))
    return lines


def test_every_line_that_is_logged_stands_in_the_table_and_no_other() -> None:
    code, open_ended = in_code()
    docs = in_docs()
    assert sorted(docs) == sorted(code)
    for name, (levels, fields) in code.items():
        written_levels, written = docs[name]
        assert (name, written_levels) == (name, levels)
        assert (name, fields - written) == (name, set())
        assert name in open_ended or (name, written - fields) == (name, set())


def test_names_say_what_happened_to_what() -> None:
    for place, call, _ in calls():
        first = call.args[0]
        assert isinstance(first, ast.Constant), place
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", str(first.value)), f"{place}: {first.value!r} is not noun.happened"


def test_what_is_made_where_lines_are_written_is_called_so() -> None:
    text = (ROOT / "daemon" / "log.py").read_text()
    assert [name for name in ("log.dropped", "log.left_out", "library.said") if f'"{name}"' not in text] == []
