from __future__ import annotations

import io
import json
import logging
import os
import tempfile
import threading
import unicodedata
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.log import (
    adopt_level,
    configure_logging,
    flush_log,
    get_logger,
    hide_in_log,
    log_faults,
    printable,
)

#: Line and paragraph separators, and what turns the direction of reading.
BIDI = "\u2028\u2029\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    yield
    configure_logging(stream=io.StringIO())
    structlog.reset_defaults()
    logging.getLogger().handlers, logging.getLogger().level = handlers, level


@pytest.fixture
def stream() -> io.StringIO:
    out = io.StringIO()
    configure_logging(stream=out)
    return out


@given(st.text())
def test_what_is_printable_is_one_line_without_controls(text: str) -> None:
    shown = printable(text)
    assert shown.splitlines() in ([], [shown])
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    shown.encode("utf-8")


def test_an_event_type_cannot_forge_a_line(stream: io.StringIO) -> None:
    get_logger().info("event.received", event_type='paid"}\n{"event": "forged', note="\x1b[31m\u202e\ud800")
    (line,) = stream.getvalue().splitlines()
    read = json.loads(line)
    assert read["event"] == "event.received"
    assert read["note"] == "\\x1b[31m\\u202e\\ud800"


@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_that_a_plugin_says_can_forge_a_line_either(form: str) -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, form=form)
    evil = 'x\n\x1b[31m\u202e"'
    get_logger().info(evil, deep={evil: [evil, {evil: evil}]}, **{evil: 1, "level": "forged"})
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()


def test_text_is_a_line_of_key_and_value() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, form="text")
    get_logger().warning("destination.held", lane="erp", reason="410 Gone", of=[1, "a"], why="")
    assert stream.getvalue().partition(" ")[2] == (
        'warning destination.held lane=erp reason="410 Gone" of=[1, "a"] why=""\n'
    )


def test_a_line_carries_its_priority_in_the_journal_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w+") as journal, (tmp_path / "other").open("w+") as other:
        there = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino}")
        for stream in (journal, other):
            configure_logging(stream=stream)
            get_logger().warning("destination.held")
            get_logger().error("reload.fault", exc_info=ValueError("two\nlines"))
            assert flush_log()
    warned, failed = (tmp_path / "journal").read_text().splitlines()
    # All of a traceback is one line, so all of it has its priority.
    assert (warned[:4], failed[:4]) == ("<4>{", "<3>{")
    assert "ValueError: two\nlines" in json.loads(failed[3:])["exception"]
    assert (tmp_path / "other").read_text().startswith('{"timestamp"')


def test_other_libraries_warnings_come_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("aiohttp").warning("one\ntwo %s", 3)
    logging.getLogger("asyncio").info("nobody needs it")
    (line,) = stream.getvalue().splitlines()
    read = json.loads(line)
    assert (read["event"], read["logger"], read["what"]) == ("library.said", "aiohttp", "one\\x0atwo 3")


def test_other_libraries_cannot_flood_it(stream: io.StringIO) -> None:
    for number in range(1_000):
        logging.getLogger("asyncio").error("socket.accept() out of system resource %s", number)
    logging.getLogger("aiohttp").warning("another")
    flush_log()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["logger"] for line in lines] == ["asyncio"] * 10 + ["aiohttp", "asyncio"]
    assert (lines[-1]["event"], lines[-1]["what"], lines[-1]["count"]) == ("log.left_out", "library.said", 990)


@given(st.text() | st.characters().map(lambda character: f"a{character}"))
def test_what_is_escaped_is_just_what_could_forge(text: str) -> None:
    escaped = any(unicodedata.category(character) in {"Cc", "Cs"} or character in BIDI for character in text)
    assert (printable(text) != text) == escaped


def test_what_json_does_not_know_is_written_as_text(stream: io.StringIO) -> None:
    get_logger().info("daemon.started", since=timedelta(seconds=1), name="é")
    read = json.loads(stream.getvalue())
    assert (read["since"], read["name"]) == ("0:00:01", "é")
    assert "é" in stream.getvalue()


def test_a_level_changes_for_loggers_that_are_bound_already(stream: io.StringIO) -> None:
    log = get_logger()
    bound = log.bind(worker=1)
    log.debug("first.hidden")
    adopt_level("debug")
    assert log.is_enabled_for(logging.DEBUG)
    log.debug("second.shown")
    bound.debug("third.shown")
    adopt_level("warning")
    assert not bound.is_enabled_for(logging.INFO)
    bound.info("fourth.hidden")
    log.warning("fifth.shown")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "second.shown",
        "third.shown",
        "fifth.shown",
    ]


def test_a_level_that_was_typed_is_not_changed_by_a_file() -> None:
    configure_logging(stream=io.StringIO(), level="warning", is_pinned=True)
    adopt_level("debug")
    assert not get_logger().is_enabled_for(logging.INFO)


def test_fields_and_lines_are_cut(stream: io.StringIO) -> None:
    log = get_logger()
    log.info("one.field", long="x" * 5_000)
    log.info("many.fields", event_id="evt_1", **{f"f{number}": "\U0001f600" * 1_900 for number in range(50)})
    log.info("countless.fields", event_id="evt_2", **{f"f{number}": "y" * 190 for number in range(500)})
    one, many, countless = map(json.loads, stream.getvalue().splitlines())
    assert one["long"] == "x" * 2_000 + "… (5000 characters)"
    assert (many["event_id"], many["is_cut"]) == ("evt_1", True)
    assert countless == {"timestamp": countless["timestamp"], "level": "info", "event": "countless.fields",
                         "event_id": "evt_2", "is_cut": True}  # fmt: skip
    assert all(len(line.encode()) <= 16 << 10 for line in stream.getvalue().splitlines()[2:])


def test_a_long_traceback_keeps_its_end(stream: io.StringIO) -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise ValueError("x" * 9_000 + "\u202e\x1b the end")

    try:
        deep(3)
    except ValueError as error:
        get_logger().error("connection.fault", exc_info=error)
    assert stream.getvalue().rstrip("\n").isprintable()
    told = json.loads(stream.getvalue())["exception"]
    assert len(told) < 8_100
    assert told.endswith("the end")


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_hidden_wherever_they_stand_and_however_they_are_written(form: str) -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, form=form)
    secret = 'canary/"\u202e123'
    hide_in_log([secret, "short"])
    get_logger().info(f"said.{secret}", plain=secret, deep=[{secret: secret}], url="https://a/canary%2F%22%E2%80%AE123")
    get_logger().error("reload.fault", shorter="short", exc_info=ValueError(secret))
    text = stream.getvalue()
    assert "canary" not in text
    assert text.count("***") >= 6
    assert "short" in text


def test_what_nobody_caught_is_a_line(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    log_faults()
    thread = threading.Thread(target=lambda: 1 / 0, name="worker")
    thread.start()
    thread.join()
    error = KeyError("main")
    sys.excepthook(KeyError, error, None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["where"]) for line in lines] == [
        ("process.fault", "critical", "worker"),
        ("process.fault", "critical", "main"),
    ]
    assert "ZeroDivisionError" in lines[0]["exception"]


def test_everything_is_written_in_order_through_a_descriptor() -> None:
    with tempfile.TemporaryFile("w+") as out:
        configure_logging(stream=out)
        log = get_logger()
        threads = [
            threading.Thread(
                target=lambda who: [log.info("own.line", who=who, n=n, event_id="evt_1") for n in range(500)],
                args=(who,),
            )
            for who in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert flush_log()
        out.seek(0)
        lines = [json.loads(line) for line in out]
    assert [[line["n"] for line in lines if line["who"] == who] for who in range(4)] == [list(range(500))] * 4
