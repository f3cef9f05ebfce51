"""Tokens, sessions, the guard and its brake, on a store in memory and a clock that is set."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from structlog.typing import FilteringBoundLogger

from hookline.daemon.access.brake import MOST_WRONG, Brake
from hookline.daemon.access.guard import Asking, Guard, host_name
from hookline.daemon.access.session import Sessions
from hookline.daemon.access.tokens import CONFIGURED, TokenNameError, Tokens, digest_of
from hookline.daemon.api.caller import Caller, Scope
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.ids import Ids
from hookline.daemon.log import get_logger
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.memory.store import MemoryStore

pytestmark = pytest.mark.anyio

ADMIN = "an-admin-token"


@dataclass
class Clock:
    now: datetime = field(default_factory=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now


@dataclass
class House:
    clock: Clock
    store: MemoryStore
    tokens: Tokens
    sessions: Sessions
    log: FilteringBoundLogger


@asynccontextmanager
async def house(configured: str = ADMIN, *, store: MemoryStore | None = None) -> AsyncIterator[House]:
    clock = Clock()
    kept = store or MemoryStore(clock=clock, ids=Ids(clock))
    commit = GroupCommit(kept)
    log = get_logger()
    if store is None:
        await kept.open()
    tokens = Tokens(configured, store=kept, commit=commit, clock=clock, log=log)
    await tokens.load()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commit.run)
        yield House(clock, kept, tokens, Sessions(tokens, configured=configured, clock=clock), log)
        await commit.close()


async def test_the_configured_token_is_admin() -> None:
    async with house() as made:
        assert made.tokens.caller_of(ADMIN) == Caller(name=CONFIGURED, scope="admin")
        for wrong in ("", ADMIN + " ", ADMIN.upper(), digest_of(ADMIN), "\ud800"):
            assert made.tokens.caller_of(wrong) is None


@pytest.mark.parametrize("scope", ["read", "operate", "admin"])
async def test_a_made_token_has_its_scope_until_it_is_dropped_or_over(scope: Scope) -> None:
    async with house() as made:
        token = (await made.tokens.make("ci", scope, expires_in=timedelta(days=1))).token
        assert made.tokens.caller_of(token) == Caller(name="ci", scope=scope)
        made.clock.now += timedelta(days=1) - timedelta(seconds=1)
        assert made.tokens.caller_of(token) is not None
        made.clock.now += timedelta(seconds=1)
        assert made.tokens.caller_of(token) is None
        assert await made.tokens.drop("ci")
        assert not await made.tokens.drop("ci")


async def test_tokens_last_as_long_as_the_store() -> None:
    async with house() as before:
        token = (await before.tokens.make("ci", "read")).token
        async with house(store=before.store) as after:
            assert after.tokens.caller_of(token) == Caller(name="ci", scope="read")


async def test_a_name_is_had_once_and_the_configured_ones_never() -> None:
    async with house() as made:
        await made.tokens.make("ci", "read")
        for name in ("ci", CONFIGURED):
            with pytest.raises(TokenNameError) as raised:
                await made.tokens.make(name, "read")
            assert raised.value.is_taken
        for name in ("", " ", "-x", "x y", "x" * 65, "é", "x\n"):
            with pytest.raises(TokenNameError):
                await made.tokens.make(name, "read")
        assert not await made.tokens.drop(CONFIGURED)
        assert made.tokens.caller_of(ADMIN) is not None


async def test_use_is_noted_once_an_hour() -> None:
    async with house() as made:
        token = (await made.tokens.make("ci", "read")).token
        made.tokens.caller_of(token)
        await made.tokens.note_used()
        first = (await made.tokens.list())[0].last_used_at
        assert first is not None
        made.clock.now += timedelta(minutes=50)
        made.tokens.caller_of(token)
        await made.tokens.note_used()
        assert (await made.tokens.list())[0].last_used_at == first
        made.clock.now += timedelta(minutes=20)
        made.tokens.caller_of(token)
        await made.tokens.note_used()
        assert (await made.tokens.list())[0].last_used_at == first + timedelta(hours=1)


async def test_a_session_ends_after_twelve_hours() -> None:
    async with house() as made:
        cookie = made.sessions.open(ADMIN)
        assert cookie is not None
        assert made.sessions.caller_of(cookie) == Caller(name=CONFIGURED, scope="admin")
        made.clock.now += made.sessions.lasts - timedelta(seconds=1)
        assert made.sessions.caller_of(cookie) is not None
        made.clock.now += timedelta(seconds=1)
        assert made.sessions.caller_of(cookie) is None
        assert made.sessions.open("wrong") is None


async def test_a_session_ends_with_its_token() -> None:
    async with house() as made:
        token = (await made.tokens.make("ci", "operate", expires_in=timedelta(hours=1))).token
        cookie = made.sessions.open(token) or ""
        assert made.sessions.caller_of(cookie) == Caller(name="ci", scope="operate")
        await made.tokens.drop("ci")
        assert made.sessions.caller_of(cookie) is None
        # Another token of that name is another token.
        again = (await made.tokens.make("ci", "admin", expires_in=timedelta(hours=1))).token
        assert made.sessions.caller_of(cookie) is None
        cookie = made.sessions.open(again) or ""
        made.clock.now += timedelta(hours=1)
        assert made.sessions.caller_of(cookie) is None


async def test_sessions_end_when_the_configured_token_changes() -> None:
    async with house() as before:
        token = (await before.tokens.make("ci", "read")).token
        cookies = [before.sessions.open(one) or "" for one in (ADMIN, token)]
        async with house("another-admin-token", store=before.store) as after:
            assert [after.sessions.caller_of(one) for one in cookies] == [None, None]
            assert after.sessions.cookie != before.sessions.cookie
            assert after.sessions.open(token) is not None


async def test_a_forged_session_is_none() -> None:
    async with house() as made:
        await made.tokens.make("ci", "read")
        cookie = made.sessions.open(ADMIN) or ""
        name, until, chance, mac = cookie.split(".")
        later = str(int(until) + 1)
        for forged in (
            "", ".", "...", "a.b.c.d", "\ud800", "x" * 10_000, cookie[:-1], cookie + "0", cookie.upper(),
            f"{name}.{later}.{chance}.{mac}", f"Y2k.{until}.{chance}.{mac}", f"{name}.{until}.x.{mac}",
            f"{name}.{until}.{chance}.{'é' * 64}", f"{name}.{until}.{chance}.x.{mac}", f"é.{until}.{chance}.{mac}",
        ):  # fmt: skip
            assert made.sessions.caller_of(forged) is None, forged
        other = made.sessions.open(ADMIN) or ""
        assert made.sessions.csrf_of(cookie) != made.sessions.csrf_of(other)
        assert made.sessions.csrf_of(cookie) == made.sessions.csrf_of(cookie)
        assert made.sessions.csrf_of(cookie) not in cookie


async def test_a_cookie_is_for_https_where_the_browser_came_by_it() -> None:
    async with house() as made:
        assert made.sessions.is_secure({"X-Forwarded-Proto": "https"})
        assert not made.sessions.is_secure({})


def brake_of(times: list[float]) -> tuple[Brake, list[None]]:
    wrong: list[None] = []
    return Brake(monotonic=lambda: times[0], log=get_logger(), on_wrong=lambda: wrong.append(None)), wrong


def test_the_brake_stops_the_eleventh_wrong_token_of_a_minute() -> None:
    now = [100.0]
    brake, wrong = brake_of(now)
    for _ in range(MOST_WRONG):
        assert brake.wait("192.0.2.1") is None
        brake.failed("192.0.2.1")
    assert brake.wait("192.0.2.1") == timedelta(seconds=60)
    assert brake.wait("192.0.2.2") is None
    now[0] += 59.5
    assert brake.wait("192.0.2.1") == timedelta(seconds=0.5)
    now[0] += 0.5
    assert brake.wait("192.0.2.1") is None
    assert len(wrong) == MOST_WRONG


def test_the_brake_takes_a_network_of_version_six_for_one() -> None:
    brake, _ = brake_of([1.0])
    for number in range(MOST_WRONG):
        brake.failed(f"2001:db8::{number}")
    assert brake.wait("2001:db8::ffff%eth0") is not None
    assert brake.wait("2001:db8:0:1::1") is None


def test_the_brake_forgets_the_oldest_address() -> None:
    brake, _ = brake_of([1.0])
    for _ in range(MOST_WRONG):
        brake.failed("192.0.2.1")
    for number in range(5_000):
        brake.failed(f"10.0.{number // 250}.{number % 250}")
    assert brake.wait("192.0.2.1") is None


def test_guessing_is_logged_once_a_minute() -> None:
    now = [1.0]
    brake, _ = brake_of(now)
    with capture_logs() as lines:
        for _ in range(200):
            brake.failed("192.0.2.1")
        now[0] += 61
        for _ in range(200):
            brake.failed("192.0.2.7")
    assert [(line["event"], line["client_ip"]) for line in lines] == [
        ("admin.guessing", "192.0.2.1"),
        ("admin.guessing", "192.0.2.7"),
    ]


def asking(**changes: Any) -> Asking:
    facts: dict[str, Any] = {
        "method": "GET", "host": "localhost:8081", "headers": {}, "query": "", "cookies": {}, "address": "192.0.2.1",
    }  # fmt: skip
    return Asking(**facts | changes)


def guard_of(made: House) -> Guard:
    brake = Brake(monotonic=lambda: 1.0, log=made.log)
    return Guard(tokens=made.tokens, sessions=made.sessions, brake=brake, hosts=frozenset({"localhost"}))


def status_of(guard: Guard, asked: Asking) -> int:
    try:
        guard.admit(asked)
    except ProblemError as error:
        return error.status
    return 200


async def test_whoever_guesses_waits_and_a_good_token_never_does() -> None:
    async with house() as made:
        guard = guard_of(made)
        wrong = asking(headers={"Authorization": "Bearer guess"})
        good = asking(headers={"Authorization": f"Bearer {ADMIN}"})
        assert [status_of(guard, wrong) for _ in range(12)] == [401] * 10 + [429] * 2
        with pytest.raises(ProblemError) as raised:
            guard.admit(wrong)
        assert raised.value.headers == {"Retry-After": "60"}
        assert status_of(guard, good) == 200
        # To come without any is no guess.
        assert status_of(guard, asking()) == 401
        assert status_of(guard, asking(headers=wrong.headers, address="192.0.2.2")) == 401


async def test_a_session_reads_and_does_not_write() -> None:
    async with house() as made:
        guard = guard_of(made)
        cookies = {made.sessions.cookie: made.sessions.open(ADMIN) or ""}
        statuses = {
            method: status_of(guard, asking(method=method, cookies=cookies))
            for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE")
        }
        assert statuses == {"GET": 200, "HEAD": 200, "OPTIONS": 200, "POST": 401, "DELETE": 401}
        assert status_of(guard, asking(cookies={"other": "x", made.sessions.cookie: "forged"})) == 401


async def test_an_admission_ends_with_its_token() -> None:
    async with house() as made:
        guard = guard_of(made)
        token = (await made.tokens.make("ci", "read")).token
        by_token = guard.admit(asking(headers={"Authorization": f"Bearer {token}"}))
        by_cookie = guard.admit(asking(cookies={made.sessions.cookie: made.sessions.open(token) or ""}))
        assert by_token.is_good()
        assert by_cookie.is_good()
        await made.tokens.drop("ci")
        assert not by_token.is_good()
        assert not by_cookie.is_good()


@pytest.mark.parametrize(
    ("host", "name"),
    [("localhost:8081", "localhost"), ("[::1]:8081", "::1"), ("[::1]", "::1"), ("A.Example.", "a.example"), ("", "")],
)
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name


async def test_any_header_is_admitted_or_refused_and_nothing_else_happens() -> None:
    async with house() as made:
        guard = guard_of(made)
        text = st.text(max_size=60)

        @given(authorization=text, origin=text, site=st.none() | text, host=text, query=text, cookie=text)
        def ask(authorization: str, origin: str, site: str | None, host: str, query: str, cookie: str) -> None:
            headers = {"Authorization": authorization, "Origin": origin}
            if site is not None:
                headers["Sec-Fetch-Site"] = site
            asked = asking(
                method="POST", headers=headers, host=host, query=query, cookies={made.sessions.cookie: cookie}
            )
            for check in (guard.check_name, guard.check_origin):
                with contextlib.suppress(ProblemError):
                    check(asked)
            assert status_of(guard, asked) in {401, 429}

        ask()
