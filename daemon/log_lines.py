"""From the fields of a log line, escaped already, to its text."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TextIO

import structlog

#: Of a traceback its end: there stands what went wrong.
_LONGEST_TRACEBACK: Final = 8_000
#: journald splits a line at 48 KiB.
LONGEST_LINE_BYTES: Final = 16 << 10
_SHORT_FIELD: Final = 200
_FIRST: Final = ("timestamp", "level", "event", "event_id", "delivery_id")
_JSON: Final = json.JSONEncoder(ensure_ascii=False, default=str)
# syslog(3): what journald takes a line's priority from when it stands in front as `<3>`.
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}

Fields = dict[str, Any]
Render = Callable[[Fields], str]
_Raised = tuple[type[BaseException], BaseException, TracebackType | None]


def renderer(stream: TextIO, form: str) -> Render:
    """Return what makes a line of fields: `json`, `text`, or `auto` by what the stream is.

    A line is one line, a traceback in it too, so that `grep` finds all of it and its priority is that of the whole;
    but on a terminal, where people read.
    """
    if form != "json" and stream.isatty():
        return _on_terminal()
    render = _text if form == "text" else _json
    if not _is_journal(stream):
        return lambda fields: _bounded(render, fields)
    return lambda fields: f"<{PRIORITIES.get(fields['level'], 6)}>{_bounded(render, fields)}"


def traceback_text(raised: Any) -> str:
    """Return the traceback of `exc_info` in each form that it is given in; "" if there is none."""
    if isinstance(raised, BaseException):
        lines = traceback.format_exception(raised)
    else:
        known: _Raised | tuple[None, None, None] = raised if isinstance(raised, tuple) else sys.exc_info()
        if known[1] is None:
            return ""
        lines = traceback.format_exception(*known)
    text = "".join(lines).rstrip("\n")
    return text if len(text) <= _LONGEST_TRACEBACK else f"… {text[-_LONGEST_TRACEBACK:]}"


def _json(fields: Fields) -> str:
    return _JSON.encode(fields)


def _text(fields: Fields) -> str:
    (_, time), (_, level), (_, event), *more = fields.items()
    return " ".join([time, f"{level:7}", event, *[f"{_value(name)}={_value(value)}" for name, value in more]])


def _value(value: Any) -> str:
    if isinstance(value, str) and value and not any(sign in ' "=\n' for sign in value):
        return value
    return _JSON.encode(value)


def _on_terminal() -> Render:
    console = structlog.dev.ConsoleRenderer(
        colors="NO_COLOR" not in os.environ, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )
    return lambda fields: console(None, fields["level"], fields)


def _bounded(render: Render, fields: Fields) -> str:
    line = render(fields)
    # No character takes more than four bytes.
    if len(line) * 4 > LONGEST_LINE_BYTES and len(line.encode("utf-8", "replace")) > LONGEST_LINE_BYTES:
        line = render({name: _cut(value) for name, value in fields.items()} | {"is_cut": True})
        if len(line.encode("utf-8", "replace")) > LONGEST_LINE_BYTES:
            line = render({name: fields[name] for name in _FIRST if name in fields} | {"is_cut": True})
    return line


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else _JSON.encode(value)
    return value if len(text) <= _SHORT_FIELD else f"{text[:_SHORT_FIELD]}…"


def _is_journal(stream: TextIO) -> bool:
    """Say whether the stream goes to the journal itself: `JOURNAL_STREAM` is inherited, also past a redirection."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        there = os.fstat(stream.fileno())
    except (OSError, ValueError):  # It is a buffer.
        return False
    return (device, inode) == (str(there.st_dev), str(there.st_ino))
