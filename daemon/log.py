"""Logging: one line an event, JSON in a pipe and key=value on a terminal, with nothing in it that forges another."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

# What a sender writes may stand in a field. Control characters and direction overrides are shown, not obeyed.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}"
    for code in (0x2028, 0x2029, *range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_LONGEST_FIELD = 2_000
_JSON = json.JSONEncoder(ensure_ascii=False, default=str)
# syslog(3): what journald takes a line's priority from when it stands in front as `<3>`.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def printable(text: str) -> str:
    """Escape control characters and lone surrogates, and cut what is too long for a log line."""
    if len(text) > _LONGEST_FIELD:
        text = f"{text[:_LONGEST_FIELD]}… ({len(text)} characters)"
    if text.isprintable():
        # Most text: all that is escaped is what Python does not call printable.
        return text
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode("utf-8")


def _escape(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    for name, value in fields.items():
        # A traceback is ours and has lines.
        if isinstance(value, str) and name != "exception":
            fields[name] = printable(value)
        elif isinstance(value, list | tuple):
            fields[name] = [printable(item) if isinstance(item, str) else item for item in value]
    return fields


def _prefix_priority(_logger: Any, method: str, line: Any) -> Any:
    return f"<{_PRIORITIES.get(method, 6)}>{line}"


def _render_json(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
    return _JSON.encode(fields)


def configure_logging(*, level: str = "info", stream: TextIO | None = None) -> None:
    """Set logging up for the whole process. Call once, at the start of a command that logs.

    On a terminal `key=value`; elsewhere JSON. Under systemd (`JOURNAL_STREAM`) each line carries its priority.
    """
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _escape,
    ]
    if out.isatty():
        render: list[Any] = [structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ)]
    else:
        render = [_render_json]
        if "JOURNAL_STREAM" in os.environ:
            render.append(_prefix_priority)
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(number, logging.WARNING))


def get_logger() -> Any:
    """Return the logger that `configure_logging` set up; call it after that.

    It is bound here: structlog's own `get_logger` returns a proxy that binds anew for each line, also for those that
    are filtered out.
    """
    return structlog.get_logger().bind()
