"""Logging: one line an event, JSON in a pipe and key=value on a terminal, with nothing in it that forges another."""

from __future__ import annotations

import atexit
import json
import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import timedelta
from typing import Any, Final, TextIO

import structlog
from structlog.typing import FilteringBoundLogger

from hookline.daemon.log_floods import Floods
from hookline.daemon.log_lines import PRIORITIES, renderer, traceback_text
from hookline.daemon.log_writer import LineWriter, StreamWriter

# What a sender writes may stand in a field. Control characters and direction overrides are shown, not obeyed.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}"
    for code in (0x2028, 0x2029, *range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_LONGEST_FIELD: Final = 2_000
#: Shorter ones stand in ordinary words, and would show where they are.
_SHORTEST_SECRET: Final = 8
_HIDDEN: Final = "***"
#: Methods that a level turns on and off.
_LEVELED: Final = ("debug", "info", "warning", "warn", "error", "exception", "critical", "log", "is_enabled_for",
                   "get_effective_level")  # fmt: skip


def printable(text: str) -> str:
    """Escape control characters and lone surrogates, and cut what is too long for a log line."""
    if len(text) > _LONGEST_FIELD:
        text = f"{text[:_LONGEST_FIELD]}… ({len(text)} characters)"
    if text.isprintable():
        # Most text: all that is escaped is what Python does not call printable.
        return text
    return _without_controls(text)


def _without_controls(text: str) -> str:
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode("utf-8")


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    if isinstance(value, Mapping):
        return {printable(str(name)): _escaped(item) for name, item in value.items()}
    return value if value is None or isinstance(value, int | float) else printable(str(value))


class _Logger(structlog.make_filtering_bound_logger(logging.DEBUG)):  # type: ignore[misc]
    """What `get_logger` returns; `_set_level` changes all that there are."""


def _set_level(number: int) -> None:
    """Let every logger, those that are bound already too, write from this level on."""
    # One that is off does nothing at all, as structlog has it; there the level is a class, and cannot be changed.
    model = structlog.make_filtering_bound_logger(number)
    for name in _LEVELED:
        setattr(_Logger, name, getattr(model, name))
    logging.getLogger().setLevel(max(number, logging.WARNING))


class _Log:
    """How this process logs: its form, its bounds, and where the lines go."""

    def __init__(self, stream: TextIO, form: str) -> None:
        self.floods = Floods()
        #: What is hidden in every line, the longest first.
        self.secrets: tuple[str, ...] = ()
        self.is_pinned = False
        self._stamp: tuple[int, str] = (0, "")
        self._told_dropped = 0
        self._render = renderer(stream, form)
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):  # It is a buffer.
            self.writer: LineWriter | StreamWriter = StreamWriter(stream, hide=self._hide, on_written=self._more)
        else:
            self.writer = LineWriter(
                descriptor, hide=self._hide, on_written=self._more, is_waited_for=lambda: self.floods.is_waiting
            )

    def process(self, _logger: Any, method: str, fields: MutableMapping[str, Any]) -> str:
        """Return the line; structlog's whole chain. Raises `DropEvent` where there are too many."""
        if not self.floods.admits(method, fields):
            self.writer.wake()
            raise structlog.DropEvent
        return self.line(method, fields)

    def line(self, level: str, fields: MutableMapping[str, Any]) -> str:
        """Render a line that is written whatever there was before."""
        level = {"exception": "error", "warn": "warning"}.get(level, level)
        whole: dict[str, Any] = {"timestamp": self._now(), "level": level, "event": printable(str(fields.pop("event")))}
        raised = fields.pop("exc_info", None)
        for name, value in fields.items():
            whole[name if name.isidentifier() else printable(name)] = _escaped(value)
        if raised:
            # It is many lines, and no more than these: an exception may quote what a sender wrote.
            whole["exception"] = "\n".join(map(_without_controls, traceback_text(raised).split("\n")))
        return self._render(whole)

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if self._stamp[0] != second:
            self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp[1]}.{int((now - second) * 1_000_000):06d}Z"

    def _hide(self, text: str) -> str:
        for secret in self.secrets:
            if secret in text:
                text = text.replace(secret, _HIDDEN)
        return text

    def _more(self, dropped: int) -> str | None:
        """Return what is to be said about lines that nobody sees."""
        lines: list[str] = []
        if dropped > self._told_dropped:
            count, self._told_dropped = dropped - self._told_dropped, dropped
            step = "see what reads the log, or make room where it is written"
            lines.append(self.line("warning", {"event": "log.dropped", "count": count, "next_step": step}))
        lines += [self.line("warning", {"event": "log.left_out", **told}) for told in self.floods.take()]
        return "\n".join(lines) if lines else None

    def flush(self, seconds: float) -> bool:
        """Write everything, so long."""
        for told in self.floods.take(all_of_it=True):
            self.writer.write(self.line("warning", {"event": "log.left_out", **told}))
        return self.writer.flush(seconds)


class _Sink:
    """What structlog calls a logger: takes rendered lines."""

    def __init__(self, log: _Log) -> None:
        self.msg = self.debug = self.info = self.warning = self.warn = log.writer.write
        self.error = self.exception = self.critical = self.fatal = self.failure = self.log = log.writer.write


class _Handler(logging.Handler):
    """What other libraries log, as lines of ours."""

    def __init__(self, log: _Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, with the logger's name."""
        method = record.levelname.lower() if record.levelname.lower() in PRIORITIES else "warning"
        # The event is what is alike in all of a kind: asyncio writes addresses into the rest.
        fields = {"event": "library.said", "logger": record.name, "what": record.getMessage()}
        if record.exc_info:
            fields["exc_info"] = record.exc_info  # type: ignore[assignment]
        try:
            self._log.writer.write(self._log.process(None, method, fields))
        except structlog.DropEvent:
            return


_log: _Log | None = None


def configure_logging(
    *, level: str = "info", form: str = "auto", stream: TextIO | None = None, is_pinned: bool = False
) -> None:
    """Set logging up for the whole process. Call it when a command that logs begins.

    `form` is `json`, `text` (key=value), or `auto`: text on a terminal, JSON elsewhere. Into the journal each line
    carries its priority. With `is_pinned` `adopt_level` changes nothing: who started it has chosen.
    """
    global _log  # noqa: PLW0603 - a process has one log
    if _log is not None:
        _log.writer.close()
    else:
        atexit.register(flush_log)
    _log = log = _Log(stream or sys.stderr, form)
    log.is_pinned = is_pinned
    structlog.configure(
        processors=[log.process],
        wrapper_class=_Logger,
        logger_factory=lambda *_: _Sink(log),
        cache_logger_on_first_use=False,
    )
    logging.getLogger().handlers = [_Handler(log)]
    _set_level(logging.getLevelNamesMapping()[level.upper()])


def adopt_level(level: str) -> None:
    """Log from this level on, as the configuration now says; nothing if the command line has said it."""
    if _log is not None and not _log.is_pinned:
        _set_level(logging.getLevelNamesMapping()[level.upper()])


def hide_in_log(secrets: Iterable[str]) -> None:
    """Hide these in every line from now on, in each form that they are written in; the very short stay."""
    from hookline.daemon.actions.masking import forms_of  # noqa: PLC0415 - it is heavy, and most commands log nothing

    if _log is not None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in forms_of(secret)}
        shown = {form for one in forms for form in (one, printable(one))}
        written = {form for one in shown for form in (one, json.dumps(one, ensure_ascii=False)[1:-1])}
        _log.secrets = tuple(sorted(written, key=len, reverse=True))


def flush_log(limit: timedelta = timedelta(seconds=1)) -> bool:
    """Write what waits to be written; return whether all is. Call it before `os._exit`; elsewhere it is done."""
    return _log is None or _log.flush(limit.total_seconds())


def dropped_lines() -> int:
    """Return how many lines could not be written since the start."""
    return 0 if _log is None else _log.writer.dropped


def log_faults() -> None:
    """Log what nobody caught, in the main thread and in others, as one line each."""

    def note(kind: type[BaseException], error: BaseException | None, trace: Any, where: str) -> None:
        if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
            get_logger().critical("process.fault", where=where, exc_info=(kind, error, trace))

    sys.excepthook = lambda kind, error, trace: note(kind, error, trace, "main")
    threading.excepthook = lambda caught: note(
        caught.exc_type, caught.exc_value, caught.exc_traceback, caught.thread.name if caught.thread else "thread"
    )


def get_logger() -> FilteringBoundLogger:
    """Return the logger that `configure_logging` set up; call it after that.

    It is bound here: structlog's own `get_logger` returns a proxy that binds anew for each line, also for those that
    are filtered out.
    """
    log: FilteringBoundLogger = structlog.get_logger().bind()
    return log
