"""Builds a document from the YAML parser's events.

Not with its composer: libyaml's crashes on deep nesting, PyYAML's takes seconds for ten thousand rules.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator
from typing import Any, Final

import yaml

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.problem import Place, Problem, dotted
from hookline.rules.scalars import NumberError, core_value
from hookline.rules.syntax import explain_syntax_error, mended, quoted, template_at

#: Mappings and lists may be nested this deep.
MAX_DEPTH: Final = 32
#: Reading ends after so many mistakes: nobody reads more.
MAX_PROBLEMS: Final = 100

_LONGEST_SHOWN: Final = 100

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# A `#` after a blank begins a comment; without a blank behind it, it was probably meant to be text.
_TIGHT_COMMENT = re.compile(r"(?<=[ \t])#(?=[^\s#!])")
_SURROGATE = re.compile("[\ud800-\udfff]")

_Path = tuple[str | int, ...]


class _StopReadingError(Exception):
    """Nothing below can be read; the reason is among the findings. Caught by `compose`."""


def compose(text: str, file: str, findings: Findings) -> Node | None:
    """Return the document, None if it cannot be read. `text` holds only characters that YAML allows."""
    # An event stream given up half-way must let go of the parser at once, not when it is collected.
    with contextlib.closing(_events(text)) as events, contextlib.suppress(_StopReadingError):
        composer = _Composer(text, file, findings)
        try:
            return composer.document(events)
        except yaml.MarkedYAMLError as error:
            composer.syntax_error(error)
        except (yaml.YAMLError, ValueError) as error:  # PyYAML's own parser lets ValueError out of odd escapes
            composer.problem(Place(file, 1), (), f"not YAML: {str(error).splitlines()[0]}")
    return None


def _events(text: str) -> Generator[yaml.Event, None, None]:
    yield from yaml.parse(text, Loader=_LOADER)


class _Composer:
    """One reading of one text."""

    def __init__(self, text: str, file: str, findings: Findings) -> None:
        self._text = text
        self._file = file
        self._findings = findings
        self._lines = text.splitlines()
        self._first = len(findings.problems)
        self._most_problems = self._first + MAX_PROBLEMS
        self._cut_lines = (
            {number for number, line in enumerate(self._lines) if _TIGHT_COMMENT.search(line)} if "#" in text else set()
        )

    def document(self, events: Iterator[yaml.Event]) -> Node | None:
        node: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version or event.tags:
                    self.problem(
                        self._place(event), (), "a % directive at the start", "remove the line: YAML 1.2 is read"
                    )
                if node is not None:
                    self.problem(
                        self._place(event), (), "a second document in the file", "write it into a file of its own"
                    )
                    return node
                node = self._node(next(events), events, ())
        if node is None:
            return Scalar(None, Place(self._file, 1), (), "")
        return node

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: _Path) -> Node:
        if len(path) > MAX_DEPTH:
            self.problem(self._place(event), path[:3], f"nested deeper than {MAX_DEPTH} levels", "make it flatter")
            raise _StopReadingError
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if isinstance(event, yaml.NodeEvent):
            self._check_decorations(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._items(event, events, path)
        return self._entries(event, events, path)

    def _items(self, start: yaml.Event, events: Iterator[yaml.Event], path: _Path) -> Items:
        items: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, (*path, len(items))))
        return Items(tuple(items), self._place(start), path)

    def _entries(self, start: yaml.Event, events: Iterator[yaml.Event], path: _Path) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                return self._unreadable_key(start, event, events, path)
            key = self._key(event, path)
            value = self._node(next(events), events, (*path, key))
            if key == "<<" and not event.style:
                continue
            if key in entries:
                self.problem(
                    self._place(event),
                    path,
                    f'duplicate key "{key}"',
                    f"it is on line {keys[key].line} already; keep one",
                )
                continue
            entries[key] = value
            keys[key] = self._place(event)
        return Entries(entries, keys, self._place(start), path)

    def _key(self, event: yaml.ScalarEvent, path: _Path) -> str:
        key: str = event.value
        self._check_decorations(event, path)
        if not event.style:
            if key == "<<":
                self.problem(
                    self._place(event), path, "merge keys (<<) are not used here", "write the keys out, or use vars"
                )
            elif not isinstance(_value_or_none(key), str):
                shown = key or "an empty key"
                self.problem(self._place(event), path, f"keys are text, and {shown} is not", f"quote it: {quoted(key)}")
        return key

    def _unreadable_key(self, start: yaml.Event, event: yaml.Event, events: Iterator[yaml.Event], path: _Path) -> Node:
        """Report a mapping, list or alias that stands where a key should; read on behind the mapping around it."""
        place = self._place(start)
        line = self._line(place.line)
        template = template_at(line, place.column - 1)
        if template and isinstance(event, yaml.MappingStartEvent):
            self.problem(
                Place(self._file, place.line, place.column, len(template)),
                path,
                "a template must be in quotes",
                f"write {mended(line, place.column - 1, template)}",
            )
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, path)
        else:
            self.problem(self._place(event), path, "a key must be a text", "quote it if it is one")
        self._skip(event, events)
        for following in events:
            if isinstance(following, yaml.MappingEndEvent):
                break
            self._skip(following, events)
        return Scalar(template or "", place, path, template or "")

    def _skip(self, event: yaml.Event, events: Iterator[yaml.Event]) -> None:
        depth = int(isinstance(event, yaml.CollectionStartEvent))
        while depth:
            if depth > MAX_DEPTH:
                raise _StopReadingError  # a problem was reported at the key that is being skipped
            event = next(events)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)

    def _alias(self, event: yaml.AliasEvent, path: _Path) -> Scalar:
        name = f"*{event.anchor}"
        place = self._place(event, len(name))
        line, column = self._line(place.line), place.column - 1
        found = re.match(r"\*[^\s,\]}]{1,99}", line[column:])
        shown = mended(line, column, found[0] if found else name)
        hint = f"use vars, or quote it if it is text: {shown}"
        self.problem(place, path, f"aliases ({name}) are not used here", hint)
        return Scalar(name, place, path, name)

    def _check_decorations(self, event: yaml.NodeEvent, path: _Path) -> None:
        if event.anchor is not None:
            self.problem(
                self._place(event, len(event.anchor) + 1),
                path,
                f"anchors (&{event.anchor}) are not used here",
                "use vars",
            )
        tag = getattr(event, "tag", None)
        if tag is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            hint = "remove it, or quote what should be text"
            self.problem(self._place(event, len(shown)), path, f"tags ({shown}) are not used here", hint)

    def _scalar(self, event: yaml.ScalarEvent, path: _Path) -> Scalar:
        text: str = event.value
        place = self._place(event)
        if event.style:
            if not text.isascii() and _SURROGATE.search(text):
                self.problem(place, path, "half of a surrogate pair", "write the character itself")
            return Scalar(text, place, path, text)
        if self._cut_lines:
            self._check_cut(event, place, path)
        try:
            return Scalar(core_value(text), place, path, text)
        except NumberError as error:
            hint = f"quote it: {quoted(text)}" if len(text) <= _LONGEST_SHOWN else "put it in quotes"
            self.problem(place, path, str(error), hint)
            return Scalar(text, place, path, text)

    def _check_cut(self, event: yaml.ScalarEvent, start: Place, path: _Path) -> None:
        """Look whether the value ends at a ` #` that was meant as text."""
        row, column = _end(event)
        if row not in self._cut_lines:
            return
        line = self._line(row + 1)
        found = _TIGHT_COMMENT.search(line, column)
        if not found or line[column : found.start()].strip():
            return
        value: str = event.value
        comment = line[found.start() :].rstrip()
        begins = start.column - 1 if value and start.line == row + 1 else found.start()
        hint = f"if it belongs to the value, write {mended(line, begins, line[begins:].rstrip())}"
        place = Place(self._file, row + 1, found.start() + 1, len(comment))
        # An empty value, or half a template, is never what was meant; a short comment behind a value may be.
        if not value or value.count("{{") != value.count("}}"):
            self.problem(place, path, f"everything from {comment.split()[0]} on is a comment", hint)
        elif isinstance(_value_or_none(value), str):
            self._warn(
                place,
                path,
                f"everything from {comment.split()[0]} on is a comment",
                f"{hint}; if not, put a blank behind #",
            )

    def syntax_error(self, error: yaml.MarkedYAMLError) -> None:
        mistake = explain_syntax_error(error, self._lines)
        # `{{ x }} y` is an odd key and then a syntax error: one mistake, one message.
        known = [problem for problem in self._findings.problems[self._first :] if problem.severity == "error"]
        if any(problem.place and problem.place.line == mistake.line for problem in known):
            return
        place = Place(self._file, mistake.line, mistake.column, mistake.length)
        self.problem(place, (), mistake.message, mistake.hint)

    def _line(self, number: int) -> str:
        return self._lines[number - 1] if 1 <= number <= len(self._lines) else ""

    def _place(self, event: yaml.Event, length: int | None = None) -> Place:
        start: Any = event.start_mark  # never None in an event that a parser made
        row, column = start.line, start.column
        if length is None:
            end: Any = event.end_mark
            length = end.column - column if end.line == row else 1
        return Place(self._file, row + 1, column + 1, length or 1)

    def problem(self, place: Place, path: _Path, message: str, hint: str | None = None) -> None:
        self._findings.problems.append(Problem(place=place, path=dotted(path), message=message, hint=hint))
        if len(self._findings.problems) >= self._most_problems:
            raise _StopReadingError

    def _warn(self, place: Place, path: _Path, message: str, hint: str) -> None:
        if len(self._findings.problems) + 1 >= self._most_problems:
            return
        self._findings.problems.append(
            Problem(place=place, path=dotted(path), message=message, hint=hint, severity="warning")
        )


def _end(event: yaml.Event) -> tuple[int, int]:
    mark: Any = event.end_mark
    return mark.line, mark.column


def _value_or_none(text: str) -> bool | int | float | str | None:
    """Return the value of a plain text, None if it is null or a number that cannot be read."""
    try:
        return core_value(text)
    except NumberError:
        return None
