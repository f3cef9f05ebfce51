"""W3C Trace Context, Level 1: https://www.w3.org/TR/trace-context-1/."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.plugins.trace import child_headers, trace_id, without_bad_trace

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        (GOOD, "01"),
        (f"00-{TRACE}-{SPAN}-00", "00"),
        # The second bit (Level 2: the id is random) goes on; those that nobody has given a meaning are sent as 0.
        (f"00-{TRACE}-{SPAN}-03", "03"),
        (f"00-{TRACE}-{SPAN}-ff", "03"),
        # A later version is read as far as it is known, and answered with ours.
        (f"cc-{TRACE}-{SPAN}-01", "01"),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", "01"),
        (f"fe-{TRACE}-{SPAN}-01-", "01"),
    ],
)
def test_what_is_valid_goes_on_as_a_child(said: str, flags: str) -> None:
    assert trace_id({"traceparent": said}) == TRACE
    children = [child_headers({"traceparent": said})["traceparent"] for _ in range(2)]
    for child in children:
        assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-{flags}", child)
        assert child.split("-")[2] not in {SPAN, "0" * 16}
    assert children[0] != children[1]


@pytest.mark.parametrize(
    "said",
    [
        "",
        "00",
        GOOD.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f" {GOOD}",
        f"{GOOD}\n",
        f"0-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 300}",
        # Two of them: as they are joined.
        f"{GOOD}, {GOOD}",
        "\u0660\u0660-" + GOOD[3:],
    ],
)
def test_what_is_not_valid_is_as_if_it_had_not_come(said: str) -> None:
    headers = {"traceparent": said, "tracestate": "a=1", "x-other": "kept"}
    assert (trace_id(headers), child_headers(headers)) == (None, {})
    without_bad_trace(headers)
    assert headers == {"x-other": "kept"}


@given(st.text())
def test_nothing_that_is_said_raises_or_comes_through(said: str) -> None:
    headers = {"traceparent": said, "tracestate": said}
    child = child_headers(headers)
    without_bad_trace(headers)
    assert set(child) == set(headers)


@pytest.mark.parametrize(
    ("state", "is_kept"),
    [
        ("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", True),
        ("a=1 ,\tb=2", True),
        (",".join(f"k{number}=v" for number in range(32)), True),
        (",".join(f"k{number}=v" for number in range(33)), False),
        ("a=" + "x" * 1_000, True),
        ("a=" + "x" * 1_100, False),
        ("", False),
        ("  ", False),
        ("a=1\x1b", False),
        ("a=\xe9", False),
    ],
)
def test_the_state_goes_on_unchanged_if_it_is_bounded(state: str, is_kept: bool) -> None:
    headers = {"traceparent": GOOD, "tracestate": state}
    assert child_headers(headers).get("tracestate") == (state if is_kept else None)
    without_bad_trace(headers)
    assert headers == {"traceparent": GOOD} | ({"tracestate": state} if is_kept else {})


def test_a_state_alone_means_nothing() -> None:
    headers = {"tracestate": "a=1"}
    assert child_headers(headers) == {}
    without_bad_trace(headers)
    assert headers == {}
