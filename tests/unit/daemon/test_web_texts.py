"""How values are written on pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from hookline.daemon.web import texts
from hookline.daemon.web.places import back, local, login_url
from hookline.daemon.web.said import seal, unseal

NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, texts.NOTHING), (0, "0"), (1204, "1,204"), (4.25, "4.2"), (4.0, "4"), (1234.5, "1,234"), (0.04, "0.0")],
)
def test_numbers_are_read_at_a_glance(value: float | None, written: str) -> None:
    assert texts.number(value) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, texts.NOTHING), (0, "0 ms"), (0.0124, "12 ms"), (12.44, "12.4 s"), (3.0, "3 s"), (59.99, "60 s"), (61, "1 min 1 s"),
        (3600, "1 h"), (3661, "1 h 1 min"), (90_000, "1 d 1 h"), (-5, "-5 s"), (timedelta(minutes=2), "2 min"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float | timedelta | None, written: str) -> None:
    assert texts.duration(seconds) == written


@pytest.mark.parametrize(
    ("count", "written"),
    [(None, texts.NOTHING), (0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"),
     (15 << 20, "15 MiB"), (3 << 50, "3072 TiB")],
)  # fmt: skip
def test_sizes_are_in_the_largest_unit_that_fits(count: int | None, written: str) -> None:
    assert texts.size(count) == written


def test_shares_are_whole_only_where_nothing_is_missing() -> None:
    assert texts.percent(0, 0) == texts.NOTHING
    assert texts.percent(0, 9) == "0 %"
    assert texts.percent(9, 9) == "100 %"
    assert texts.percent(1, 100_000) == "<0.1 %"
    assert texts.percent(99_999, 100_000) == ">99.9 %"
    assert texts.percent(2, 3) == "66.7 %"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "now"), (4, "4 s ago"), (-7200, "in 2 h"), (90, "2 min ago"), (3 * 86_400, "3 d ago")],
)
def test_ages_are_rough(seconds: int, written: str) -> None:
    assert texts.ago((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == written


def test_times_are_written_in_utc_whatever_they_came_in() -> None:
    assert texts.absolute("2026-05-18T14:00:00+02:00") == "2026-05-18 12:00:00 UTC"
    assert texts.machine_time("2026-05-18T14:00:00.1234+02:00") == "2026-05-18T12:00:00.123Z"
    assert texts.ago(None, NOW) == "never"
    assert texts.absolute("not a time") == texts.NOTHING


def test_what_is_not_seen_is_written_out() -> None:
    assert texts.visible("a\u202eb\x00c\ud800d\u200be\x1b[31m") == "a\\u202eb\\u0000c\\ud800d\\u200be\\u001b[31m"
    assert (
        texts.visible("tab\tline\r\n\u0645\u0631\u062d\u0628\u0627 \U0001f600 \u00e9")
        == "tab\tline\r\n\u0645\u0631\u062d\u0628\u0627 \U0001f600 \u00e9"
    )


def test_markup_of_ours_and_form_fields_are_left_alone() -> None:
    assert texts.shown(Markup("<b>\u202e</b>")) == Markup("<b>\u202e</b>")
    assert texts.shown(texts.Exact("\u202e")) == "\u202e"
    assert texts.shown(5) == 5


@given(st.text())
def test_what_is_shown_can_always_be_sent(text: str) -> None:
    shown = texts.visible(text)

    assert shown.encode().decode() == shown
    assert texts.visible(shown) == shown


def test_links_leave_out_what_is_not_said() -> None:
    made = texts.link("/events", {"source": ["a b"], "type": None}, before="", unrouted=True, since=NOW)
    assert made == "/events?source=a+b&unrouted=true&since=2026-05-18T12%3A00%3A00.000Z"
    assert texts.link("/events") == "/events"
    assert texts.segment("erp / ä?") == "erp%20%2F%20%C3%A4%3F"


@pytest.mark.parametrize(
    "path",
    [None, "", "events", "https://evil.example/", "//evil.example", "/\\evil.example", "/\tx", "/ x", "/\x7f", "/login",
     "/logout", "\\\\evil.example", "/" + "x" * 3000, "javascript:alert(1)", "/\n//evil.example"],
)  # fmt: skip
def test_nobody_is_led_elsewhere(path: str | None) -> None:
    assert local(path) == "/"


def test_one_is_led_back_to_where_one_was() -> None:
    assert local("/events?type=a%2Fb") == "/events?type=a%2Fb"
    assert back("http://127.0.0.1:8081/events?type=x#here") == "/events?type=x"
    assert back("http://evil.example//evil.example/x") == "/"
    assert back("http://[") == "/"
    assert back(None) == "/"
    assert login_url("/") == "/login"
    assert login_url("/events?a=b&c=d") == "/login?next=%2Fevents%3Fa%3Db%26c%3Dd"


@given(st.text(max_size=40))
def test_no_path_that_is_taken_leaves_the_site(text: str) -> None:
    taken = local(text)
    assert taken.startswith("/")
    assert taken[1:2] not in {"/", "\\"}


def test_a_message_is_read_only_if_we_wrote_it() -> None:
    sealed = seal("Replayed: 2 deliveries. \ud800", b"key")

    assert unseal(sealed, b"key") == "Replayed: 2 deliveries. \\ud800"
    assert unseal(sealed, b"another") is None
    assert unseal("A" + sealed[1:], b"key") is None
    assert unseal("é not base64", b"key") is None
    assert unseal("", b"key") is None
    assert unseal(seal("x" * 900, b"key"), b"key") == "x" * 500
