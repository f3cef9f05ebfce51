from __future__ import annotations

import io
import json
import logging
import unicodedata
from collections.abc import Iterator
from datetime import timedelta

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.log import configure_logging, get_logger, printable

#: Line and paragraph separators, and what turns the direction of reading.
BIDI = "\u2028\u2029\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    out = io.StringIO()
    configure_logging(stream=out)
    yield out
    structlog.reset_defaults()
    logging.getLogger().handlers, logging.getLogger().level = handlers, level


@given(st.text())
def test_what_is_printable_is_one_line_without_controls(text: str) -> None:
    shown = printable(text)
    assert shown.splitlines() in ([], [shown])
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    shown.encode("utf-8")


def test_an_event_type_cannot_forge_a_line(stream: io.StringIO) -> None:
    get_logger().info("event.received", type='paid"}\n{"event": "forged', note="\x1b[31m\u202e\ud800")
    (line,) = stream.getvalue().splitlines()
    read = json.loads(line)
    assert read["event"] == "event.received"
    assert read["note"] == "\\x1b[31m\\u202e\\ud800"


def test_a_line_carries_its_priority_under_systemd(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    configure_logging(stream=stream)
    get_logger().warning("destination.held")
    assert stream.getvalue().startswith('<4>{"')


def test_other_libraries_warnings_come_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("aiohttp").warning("one\ntwo")
    assert json.loads(stream.getvalue())["event"] == "one\\x0atwo"


@given(st.text() | st.characters().map(lambda character: f"a{character}"))
def test_what_is_escaped_is_just_what_could_forge(text: str) -> None:
    escaped = any(unicodedata.category(character) in {"Cc", "Cs"} or character in BIDI for character in text)
    assert (printable(text) != text) == escaped


def test_what_json_does_not_know_is_written_as_text(stream: io.StringIO) -> None:
    get_logger().info("started", since=timedelta(seconds=1), name="é")
    read = json.loads(stream.getvalue())
    assert (read["since"], read["name"]) == ("0:00:01", "é")
    assert "é" in stream.getvalue()


def test_debug_is_left_out(stream: io.StringIO) -> None:
    get_logger().debug("detail")
    assert stream.getvalue() == ""
