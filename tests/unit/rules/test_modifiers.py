"""Modifiers."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest

from hookline.rules import Changed, Digest, Modifiers, Once, RetryPolicy
from hookline.rules.document import Findings
from hookline.rules.modifiers import BOUND_NAMES, DEFAULT_RETRY, MODIFIER_NAMES, parse_modifiers
from hookline.rules.reader import read_document
from hookline.rules.units import parse_duration


def parse(text: str, *, is_destination: bool = False) -> tuple[Modifiers, list[str]]:
    findings = Findings()
    document: Any = read_document(text, "f", findings)
    assert document is not None
    assert not findings.problems
    return parse_modifiers(document.entries, findings, is_destination=is_destination), [
        str(p) for p in findings.problems
    ]


@pytest.mark.parametrize(
    ("text", "modifiers"),
    [
        ("timeout: 15s", Modifiers(timeout=timedelta(seconds=15))),
        ("dry_run: true", Modifiers(dry_run=True)),
        ("dry_run: false", Modifiers(dry_run=False)),
        ("retry: none", Modifiers(retry=RetryPolicy(schedule=()))),
        ("retry: []", Modifiers(retry=RetryPolicy(schedule=()))),
        ("retry: [5s, 1m]", Modifiers(retry=RetryPolicy(schedule=(timedelta(seconds=5), timedelta(minutes=1))))),
        (
            "retry: {schedule: [5s], jitter: 12.5%, retry_unknown: never}",
            Modifiers(retry=RetryPolicy(schedule=(timedelta(seconds=5),), jitter=0.125, retry_unknown=False)),
        ),
        (
            "retry: {jitter: 0%}",
            Modifiers(retry=RetryPolicy(schedule=DEFAULT_RETRY.schedule, jitter=0.0)),
        ),
        ("{}", Modifiers()),
    ],
)
def test_modifiers_are_read(text: str, modifiers: Modifiers) -> None:
    assert parse(text) == (modifiers, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("timeout: 15", 'f:1:10: timeout: "15" is not a duration: it has no unit; write 15s for seconds'),
        ("timeout: 0s", "f:1:10: timeout: 0s is out of bounds; write more than 0s and at most 1h"),
        ("timeout: 2h", "f:1:10: timeout: 2h is out of bounds; write more than 0s and at most 1h"),
        ("timeout: [1s]", "f:1:10: timeout: not a duration; write it as in 250ms, 10s, 5m, 2h30m or 7d"),
        ("timeout: true", "f:1:10: timeout: not a duration; write it as in 250ms, 10s, 5m, 2h30m or 7d"),
        ("dry_run: yes", "f:1:10: dry_run: dry_run is true or false"),
        (
            "retry: often",
            "f:1:8: retry: not a retry policy; write {schedule: [5s, 5m, 1h]}, or none to give up at once",
        ),
        (
            "retry: {schedule: 5s}",
            "f:1:19: retry.schedule: not a list of durations; write the waits between attempts, as in [5s, 5m, 1h]",
        ),
        (
            "retry: {schedule: [5s, 5]}",
            'f:1:24: retry.schedule[1]: "5" is not a duration: it has no unit; write 5s for seconds',
        ),
        ("retry: {jitter: 0.2}", "f:1:17: retry.jitter: not a share; write 0% to 100%, as in 20%"),
        ("retry: {jitter: 101%}", "f:1:17: retry.jitter: not a share; write 0% to 100%, as in 20%"),
        (
            "retry: {retry_unknown: maybe}",
            (
                "f:1:24: retry.retry_unknown: retry_unknown is always or never; "
                "it decides when a delivery was sent and no answer came"
            ),
        ),
        ("retry: {shedule: [5s]}", 'f:1:9: retry: unknown key "shedule"; did you mean "schedule"?'),
        (
            "concurrency: 2",
            'f:1:14: concurrency: "concurrency" limits a destination as a whole; set it on the destination in hookline.yaml',
        ),
        ("tiemout: 5s", 'f:1:10: tiemout: unknown modifier "tiemout"; did you mean "timeout"?'),
    ],
)
def test_a_mistake_is_named_with_the_next_step(text: str, problem: str) -> None:
    assert parse(text)[1] == [problem]


def test_too_long_a_schedule_is_refused() -> None:
    assert parse(f"retry: [{', '.join(['1s'] * 101)}]")[1] == ["f:1:8: retry: 101 waits; a schedule may have 100"]


def test_the_default_makes_ten_attempts_over_about_three_days() -> None:
    assert len(DEFAULT_RETRY.schedule) == 9
    assert timedelta(days=3) < sum(DEFAULT_RETRY.schedule, timedelta()) < timedelta(days=3, hours=6)


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("{first: 5s, factor: 2, max: 1m, attempts: 7}", "5s 10s 20s 40s 1m 1m"),
        ("{first: 5s, attempts: 3}", "5s 10s"),
        ("{first: 1h, factor: 1, attempts: 4}", "1h 1h 1h"),
        # To the millisecond, each from what the one before really was.
        ("{first: 5s, factor: 1.5, attempts: 6}", "5s 7s500ms 11s250ms 16s875ms 25s312ms"),
        ("{first: 20d, factor: 2, attempts: 4}", "20d 30d 30d"),
    ],
)
def test_exponential_is_unrolled_into_a_schedule(text: str, schedule: str) -> None:
    policy = RetryPolicy(schedule=tuple(parse_duration(wait) for wait in schedule.split()))
    assert parse(f"retry: {{exponential: {text}}}") == (Modifiers(retry=policy), [])


def test_the_longest_exponential_has_as_many_waits_as_a_schedule_may_have() -> None:
    modifiers, problems = parse("retry: {exponential: {first: 1ms, attempts: 101}}")
    assert problems == []
    assert modifiers.retry
    assert len(modifiers.retry.schedule) == 100
    assert parse("retry: {exponential: {first: 1ms, attempts: 102}}")[1] == [
        "f:1:45: retry.exponential.attempts: 102 is out of bounds; write 2 to 101"
    ]


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "modifiers"),
    [
        ("delay: 5m", Modifiers(delay=timedelta(minutes=5))),
        ("order_by: $.data.id", Modifiers(order_by=("$.data.id",))),
        ("order_by: [tenant, header.X-Shop]", Modifiers(order_by=("tenant", "header.X-Shop"))),
        (
            "order_by: [type, source, subject, sender_id, client_ip, occurred_at, query.a, envelope.$.b]",
            Modifiers(
                order_by=(
                    "type", "source", "subject", "sender_id", "client_ip", "occurred_at", "query.a", "envelope.$.b"
                )
            ),
        ),
        ("once: {per: tenant, within: 1h}", Modifiers(once=Once(per=("tenant",), within=HOUR))),
        (
            "once: {per: [$.a, $.b], within: 1h, summary: true}",
            Modifiers(once=Once(per=("$.a", "$.b"), within=HOUR, summary=True)),
        ),
        ("digest: {every: 1h}", Modifiers(digest=Digest(every=HOUR))),
        (
            "digest: {every: 1h, per: tenant, max: 2, on_stop: flush}",
            Modifiers(digest=Digest(every=HOUR, per=("tenant",), max=2, flush_on_stop=True)),
        ),
        ("digest: {every: 1h, on_stop: keep}", Modifiers(digest=Digest(every=HOUR))),
        ("changed: {of: $.a, per: $.b}", Modifiers(changed=Changed(of="$.a", per=("$.b",)))),
        (
            "changed: {of: type, per: [$.b, tenant], from: won, to: [1, null, true, [x], {y: 1.5}]}",
            Modifiers(
                changed=Changed(
                    of="type", per=("$.b", "tenant"), from_=("won",), to=(1, None, True, ["x"], {"y": 1.5})
                )
            ),
        ),
        (
            "changed: {of: $.a, per: $.b, first: true, to: false}",
            Modifiers(changed=Changed(of="$.a", per=("$.b",), first=True, to=(False,))),
        ),
        ("during: sat UTC", Modifiers(during=("sat UTC",))),
        ("during: [sat UTC, sun 10:00-12:00 Europe/Berlin]", Modifiers(
            during=("sat UTC", "sun 10:00-12:00 Europe/Berlin"))),
        (
            "retry: {on: [429, 500-599], give_up_after: 3d}",
            Modifiers(
                retry=RetryPolicy(
                    schedule=DEFAULT_RETRY.schedule, on=((429, 429), (500, 599)), give_up_after=timedelta(days=3)
                )
            ),
        ),
        ("retry: {schedule: [1s], on: 503}", Modifiers(retry=RetryPolicy(
            schedule=(timedelta(seconds=1),), on=((503, 503),)))),
        # Changed decides what the digest collects.
        (
            "{changed: {of: $.a, per: $.b}, digest: {every: 1h}}",
            Modifiers(changed=Changed(of="$.a", per=("$.b",)), digest=Digest(every=HOUR)),
        ),
    ],
)  # fmt: skip
def test_what_waits_joins_or_orders_is_read(text: str, modifiers: Modifiers) -> None:
    assert parse(text) == (modifiers, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("order_by: [$.a, [$.b]]", "f:1:17: order_by[1]: not a path or a field; write a path into the payload ($.data.id), or a field (tenant)"),
        ("order_by: ''", "f:1:11: order_by: not a path or a field; write a path into the payload ($.data.id), or a field (tenant)"),
        ("order_by: payload.a", 'f:1:11: order_by: "payload.a" is neither a path nor a field of the event; write $.a'),
        ("order_by: [$.a, $.b, $.c, $.d, $.e, $.f, $.g, $.h, $.i]", "f:1:11: order_by: 9 paths and fields; write 8 at most"),
        ("once: {per: tenant, within: 0s}", "f:1:29: once.within: 0s is out of bounds; write more than 0s and at most 30d"),
        ("once: {per: tenant, within: 1h, summary: yes}", "f:1:42: once.summary: summary is true or false"),
        ("digest: {every: 1h, max: many}", "f:1:26: digest.max: max is a whole number; write 2 to 10000"),
        ("digest: {every: 1h, max: true}", "f:1:26: digest.max: max is a whole number; write 2 to 10000"),
        ("changed: {of: [$.a], per: $.b}", "f:1:15: changed.of: not a path or a field; write a path into the payload ($.data.id), or a field (tenant)"),
        ("changed: {of: $.a, per: $.b, to: []}", "f:1:34: changed.to: a list of 0 values; write 1 to 100, or leave it out for any"),
        ("changed: {of: $.a, per: $.b, to: [x, $.c]}", "f:1:38: changed.to[1]: $.c is a path, and values are compared here; write what it should be"),
        ("during: []", 'f:1:9: during: the list holds no window; write "mon-fri 07:00-22:00 Europe/Berlin"'),
        ("during: 5", 'f:1:9: during: not a window; write it as in "mon-fri 07:00-22:00 Europe/Berlin"'),
        ("retry: {on: []}", "f:1:13: retry.on: the list holds no status; leave it out for the usual: [408, 425, 429, 500-599]"),
        ("retry: {on: [5xx]}", "f:1:14: retry.on[0]: not a status, or a range of them; write statuses from 300 to 599, as in [429, 500-599]"),
        ("retry: {on: 599-500}", "f:1:13: retry.on: not a status, or a range of them; write statuses from 300 to 599, as in [429, 500-599]"),
        ("retry: {exponential: {first: 5s, max: 1s, attempts: 2}}", "f:1:22: retry.exponential: the first wait of 5s is longer than max; write a longer max, or a shorter first"),
        ("retry: {exponential: {first: 5s, factor: true, attempts: 2}}", "f:1:42: retry.exponential.factor: not a factor; write a number from 1 to 100: each wait is as many times longer"),
        ("retry: {exponential: 5s}", "f:1:22: retry.exponential: exponential is a mapping; write exponential: {first: 5s, factor: 2, max: 1h, attempts: 12}"),
    ],
)  # fmt: skip
def test_a_mistake_in_what_waits_joins_or_orders_is_named(text: str, problem: str) -> None:
    assert parse(text)[1] == [problem]


def test_what_bounds_a_destination_is_passed_over_there_and_refused_in_a_rule() -> None:
    for name in BOUND_NAMES:
        assert parse(f"{name}: 5", is_destination=True) == (Modifiers(), [])
        where = f"f:1:{len(name) + 3}: {name}: "
        message = f'"{name}" limits a destination as a whole; set it on the destination in hookline.yaml'
        assert parse(f"{name}: 5")[1] == [where + message]


def test_what_is_said_comes_before_the_defaults_and_nothing_else_does() -> None:
    defaults = Modifiers(dry_run=True, delay=HOUR, order_by=("tenant",))
    assert Modifiers(dry_run=False, once=Once(per=("type",), within=HOUR)).over(defaults) == Modifiers(
        dry_run=False, delay=HOUR, order_by=("tenant",), once=Once(per=("type",), within=HOUR)
    )
    assert Modifiers().over(defaults) is defaults


@pytest.mark.parametrize("text", ["retry: none", "timeout: 5s", "dry_run: true", "{}"])
def test_a_delivery_may_begin_at_once_that_nothing_keeps(text: str) -> None:
    assert parse(text)[0].is_plain


@pytest.mark.parametrize(
    "text",
    [
        "delay: 5s",
        "order_by: tenant",
        "once: {per: tenant, within: 1h}",
        "digest: {every: 1h}",
        "changed: {of: $.a, per: $.b}",
        "during: sat UTC",
    ],
)
def test_a_delivery_may_not_begin_at_once_that_waits_joins_or_stands_in_an_order(text: str) -> None:
    assert not parse(text)[0].is_plain


def test_every_modifier_of_the_language_is_known() -> None:
    names = (
        "retry timeout dry_run delay order_by once digest changed during rate hold breaker failure_budget concurrency"
    )
    assert frozenset(names.split()) == MODIFIER_NAMES
    assert {one.name for one in fields(Modifiers)} == MODIFIER_NAMES - BOUND_NAMES
