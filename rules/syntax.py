"""Says what a YAML syntax error was probably meant to be, with the line as it should be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

_OPENERS = {"[": "]", "{": "}"}
# In front of a list's entry or a key's value, at the beginning of a line.
_LEAD = re.compile(r"""\s*(?:-\s+)*(?:(?:"[^"]*"|'[^']*'|[^\s"'\[{#&*!|>%@`-][^#]*?|-[^\s#][^#]*?)\s*:\s+)?(?:-\s+)*""")
# A plain text with brackets inside, such as $.lines[*].sku or ^[a-z]+, where it would end at the bracket.
_BRACKETED = re.compile(
    r"""(?<=[\[{,:])\s*(?P<text>[^\s"'{}\[\],:#&*!|>%@`][^\s{}\[\],:"']*(?:\[[^\[\]]*\][^\s{}\[\],:"']*)+)"""
)
_FLOW_TEMPLATE = re.compile(r"\{\{.*?\}\}[^,\[\]{}]*(?:\{\{.*?\}\}[^,\[\]{}]*)*")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_RESERVED = "*@%`"
_LONGEST_SHOWN = 160
_LONGEST_LINE = 1000


@dataclass(frozen=True, slots=True)
class Mistake:
    """A syntax error in words."""

    #: From 1.
    line: int
    #: From 1.
    column: int
    length: int
    message: str
    hint: str | None = None


def quoted(text: str) -> str:
    """Write `text` as a YAML text in quotes, double ones if it has no need of others."""
    if not text.isprintable():
        return '"' + "".join(_escaped(character) for character in text) + '"'
    if '"' not in text and "\\" not in text:
        return f'"{text}"'
    return "'" + text.replace("'", "''") + "'"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def mended(line: str, start: int, text: str, inner: str | None = None) -> str:
    """Return the line with `text`, which stands at `start` (from 0), in quotes; only the text if the line is long.

    `inner` is what the quotes should hold, if it is not the text itself.
    """
    value = quoted(text if inner is None else inner)
    whole = (line[:start] + value + line[start + len(text) :]).strip()
    if len(whole) <= _LONGEST_SHOWN:
        return whole
    return value if len(value) <= _LONGEST_SHOWN else "it in quotes"


def template_at(line: str, column: int) -> str | None:
    """Return the value that begins with `{{` at `column` (from 0) of `line`, as far as it was meant to go."""
    if column > _LONGEST_LINE or not line.startswith("{{", column):
        return None
    line = line[: column + _LONGEST_SHOWN]
    if _open_brackets(line, column):
        found = _FLOW_TEMPLATE.match(line, column)
        return (found[0] if found else line[column:]).strip()
    return _without_comment(line[column:])


def explain_syntax_error(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> Mistake:
    """Return what is probably wrong; if nothing usual is, what the parser says."""
    # Beyond this nobody reads, and looking for patterns would take long.
    lines = [line[:_LONGEST_LINE] for line in lines]
    problem, context = _position(error.problem_mark, lines), _position(error.context_mark, lines)
    for row, column in dict.fromkeys((problem or (0, 0), context or problem or (0, 0))):
        mistake = _usual(row, column, lines)
        if mistake:
            return mistake
    row, column = problem or context or (0, 0)
    return _by_message(error, row, column, context, lines)


def _position(mark: yaml.Mark | None, lines: Sequence[str]) -> tuple[int, int] | None:
    """Return row and column, from 0, of the last character there is if the mark stands behind it."""
    if mark is None:
        return None
    row = min(mark.line, max(0, len(lines) - 1))
    while row > 0 and row < mark.line and not lines[row].strip():
        row -= 1
    length = len(lines[row]) if lines else 0
    return row, min(mark.column if row == mark.line else length, max(0, length - 1))


def _usual(row: int, column: int, lines: Sequence[str]) -> Mistake | None:
    """Look on one line for what people usually forget to quote."""
    line = lines[row] if lines else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        place = indent.index("\t")
        return Mistake(row + 1, place + 1, 1, "a tab in the indentation", "indent with spaces")
    at = _template_start(line)
    if at is not None:
        text = template_at(line, at) or line[at:]
        return _unquoted((row, at), line, text, "a template must be in quotes")
    if line[column : column + 1] and line[column] in _RESERVED and not _is_in_quotes(line, column):
        bracketed = _bracketed(row, line)
        return bracketed or _unquoted(
            (row, column), line, _item(line, column), f"a text cannot begin with {line[column]}"
        )
    return _bracketed(row, line) or _behind_closed(row, column, line)


def _bracketed(row: int, line: str) -> Mistake | None:
    for found in _BRACKETED.finditer(line):
        start = found.start("text")
        if _open_brackets(line, start) and not _is_in_quotes(line, start):
            text = found["text"]
            what = "a path" if text.startswith("$") else "a text"
            return _unquoted((row, start), line, text, f"{what} with [ inside {{}} or [] must be in quotes")
    return None


def _behind_closed(row: int, column: int, line: str) -> Mistake | None:
    """Look for `[a-z]+` and `"x" y`: a value that goes on behind the bracket or quote that closed it."""
    found = _LEAD.match(line)
    start = found.end() if found else 0
    before = line[:column].rstrip()
    if column <= start or len(before) < start + 2 or before[-1] not in "]}\"'" or line[start] not in "[{\"'":
        return None
    if _is_in_quotes(line, column) or (line[start] in _OPENERS and _open_brackets(line, column)):
        return None
    text = _without_comment(line[start:])
    inner = text[1:-1] if text[0] == text[-1] and text[0] in "\"'" and len(text) > 1 else text
    return _unquoted((row, start), line, text, f"the value goes on behind the {before[-1]}", inner)


def _unquoted(at: tuple[int, int], line: str, text: str, message: str, inner: str | None = None) -> Mistake:
    row, start = at
    return Mistake(row + 1, start + 1, max(1, len(text)), message, f"write {mended(line, start, text, inner)}")


def _by_message(  # noqa: PLR0911 - a table of messages
    error: yaml.MarkedYAMLError, row: int, column: int, context: tuple[int, int] | None, lines: Sequence[str]
) -> Mistake:
    """Put the parser's own finding into plain words."""
    said = f"{error.context or ''} {error.problem or ''}"
    line = lines[row] if lines else ""
    if "quoted scalar" in said and context and ("end of stream" in said or "document" in said):
        return Mistake(context[0] + 1, context[1] + 1, 1, "a quote that is never closed", "close it")
    if "block scalar" in said and context:
        line = lines[context[0]]
        return _unquoted(context, line, _without_comment(line[context[1] :]), "a text cannot begin with > or |")
    if line[column : column + 1] in ("]", "}") and "node" in said:
        return Mistake(row + 1, column + 1, 1, f"a {line[column]} that nothing opened", "remove it, or quote the text")
    if "escape" in said:
        hint = "in double quotes \\ begins an escape; use single quotes, or write \\\\"
        return Mistake(row + 1, column + 1, 1, "an unknown escape", hint)
    if "mapping values are not allowed" in said:
        return _unexpected_colon(row, column, lines)
    if "flow" in said and context and line[column : column + 1] not in ("]", "}"):
        opener = lines[context[0]][context[1] : context[1] + 1]
        hint = f"close it with {_OPENERS.get(opener, 'a bracket')}, put commas between, quote what holds , : [ or {{"
        return Mistake(context[0] + 1, context[1] + 1, 1, f"what begins with this {opener} goes wrong", hint)
    if "sequence entries" in said:
        return Mistake(row + 1, column + 1, 1, "a list cannot begin here", "put it on a line of its own")
    if "expected ':'" in said or "simple key" in said:
        return Mistake(row + 1, column + 1, 1, "a colon is missing here or above", "write key: value")
    if "block" in said:
        begins = f" that begins on line {context[0] + 1}" if context else ""
        hint = "indent it like its neighbours, with spaces"
        return Mistake(row + 1, column + 1, 1, f"this does not fit into the block{begins}", hint)
    return Mistake(row + 1, column + 1, 1, f"not YAML: {' '.join(said.split())}")


def _unexpected_colon(row: int, column: int, lines: Sequence[str]) -> Mistake:
    line = lines[row] if lines else ""
    found = _LEAD.match(line)
    start = found.end() if found else 0
    if start < column and line[:start].strip():
        text = _without_comment(line[start:])
        return _unquoted((row, start), line, text, 'a text with ": " inside must be in quotes')
    if column >= _LONGEST_LINE - 1:
        # YAML 1.2.2, 7.4: an implicit key has 1,024 characters at most. The line was cut before that.
        return Mistake(row + 1, _indent(line) + 1, 1, "a key this long is not read", "make it shorter")
    above = next((number for number in range(row - 1, -1, -1) if lines[number].strip()), None)
    if above is not None:
        key = lines[above].strip()
        if _indent(line) > _indent(lines[above]):
            hint = f"line {above + 1} has its value already"
            return Mistake(row + 1, _indent(line) + 1, 1, "this line is indented too deep", hint)
        if ":" not in key:
            return Mistake(above + 1, _indent(lines[above]) + 1, len(key), "a key without a colon", f"write {key}:")
    return Mistake(row + 1, column + 1, 1, "an unexpected colon", "quote the text that it stands in")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _template_start(line: str) -> int | None:
    """Return where a value begins with an unquoted `{{`, None if none does."""
    at = line.find("{{")
    while at >= 0:
        before = line[:at].rstrip()
        if (not before or before[-1] in ":[,{-") and not _is_in_quotes(line, at):
            return at
        at = line.find("{{", at + 2)
    return None


def _item(line: str, column: int) -> str:
    """Return the text from `column` to where it was meant to end."""
    if not _open_brackets(line, column):
        return _without_comment(line[column:])
    found = re.match(r"[^,\]}]*", line[column:])
    return found[0].strip() if found and found[0].strip() else line[column : column + 1]


def _without_comment(text: str) -> str:
    return re.split(r"\s+#(?=\s|$)", text, maxsplit=1)[0].rstrip()


def _is_in_quotes(line: str, column: int) -> bool:
    return _scan(line, column)[0] != ""


def _open_brackets(line: str, column: int) -> str:
    return _scan(line, column)[1]


def _scan(line: str, column: int) -> tuple[str, str]:
    """Return the quote and the brackets that are open at `column`, as far as this line tells."""
    quote, brackets, previous = "", "", " "
    for character in line[:column]:
        if quote:
            quote = "" if character == quote and previous != "\\" else quote
        elif character in "\"'" and previous in " \t[{,:":
            quote = character
        elif character in _OPENERS and (brackets or previous in " \t"):
            brackets += character
        elif brackets and character == _OPENERS[brackets[-1]]:
            brackets = brackets[:-1]
        previous = character
    return quote, brackets
