"""Fetching: bounded in size, time, number and place. The server is a real one, on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from hookline.daemon.sources import outside
from hookline.daemon.sources.outside import MAX_AT_ONE_TIME, MAX_BYTES, HttpOutside
from hookline.daemon.sources.port import RequestRejected

pytestmark = pytest.mark.anyio

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET_QUERY = "?Token=2336412f37"


def anywhere(_address: str, _port: int) -> str | None:
    return None


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def serve(handler: Handler, certificate: tuple[str, str]) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    runner = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    runner.app.router.add_route("*", "/{tail:.*}", handler)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    assert site._server is not None
    try:
        yield f"https://localhost:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    finally:
        await runner.cleanup()


def trusting(certificate: tuple[str, str], clock: Clock | None = None) -> HttpOutside:
    return HttpOutside(anywhere, tls=ssl.create_default_context(cafile=certificate[0]), clock=clock or Clock())


async def refused(fetcher: HttpOutside, url: str) -> str:
    with pytest.raises(RequestRejected) as caught:
        await fetcher.fetch(url)
    assert (caught.value.reason, caught.value.status) == ("certificate", 503)
    assert "2336412f37" not in caught.value.detail
    return caught.value.detail


async def test_what_stands_there_is_returned(certificate: tuple[str, str]) -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(body=b"x" * MAX_BYTES, headers={"Set-Cookie": "a=b"})

    async with serve(handler, certificate) as url:
        fetcher = trusting(certificate)
        assert await fetcher.fetch(f"{url}/a.pem") == b"x" * MAX_BYTES
        assert await fetcher.fetch(f"{url}/a.pem") == b"x" * MAX_BYTES
    assert [request.method for request in seen] == ["GET", "GET"]
    assert [request.headers["User-Agent"] for request in seen] == ["Hookline"] * 2
    assert all("Cookie" not in request.headers for request in seen)


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (lambda: web.Response(body=b"x" * (MAX_BYTES + 1)), "it answered with more than 64 KiB"),
        (lambda: web.Response(status=302, headers={"Location": "https://127.0.0.1/"}), "it answered 302"),
        (lambda: web.Response(status=404, text="no"), "it answered 404"),
        (lambda: web.Response(status=204), "it answered 204"),
    ],
)
async def test_any_other_answer_is_503(
    answer: Callable[[], web.Response], detail: str, certificate: tuple[str, str]
) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return answer()

    async with serve(handler, certificate) as url:
        said = await refused(trusting(certificate), f"{url}/a.pem{SECRET_QUERY}")
        assert said == f"what is needed from localhost cannot be had now: {detail}"


async def test_a_failure_is_not_tried_again_for_a_minute(certificate: tuple[str, str]) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=500 if len(asked) == 1 else 200, text="now")

    clock = Clock()
    async with serve(handler, certificate) as url:
        fetcher = trusting(certificate, clock)
        assert "it answered 500" in await refused(fetcher, f"{url}/a.pem")
        clock.now += 59
        assert "it failed less than 60 s ago" in await refused(fetcher, f"{url}/a.pem")
        assert await fetcher.fetch(f"{url}/b.pem") == b"now"
        clock.now += 1
        assert await fetcher.fetch(f"{url}/a.pem") == b"now"
    assert asked == ["/a.pem", "/b.pem", "/a.pem"]


async def test_failures_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "MAX_FAILURES", 2)
    fetcher = HttpOutside(lambda _address, _port: "no", clock=Clock())
    for name in ("a", "b", "c"):
        await refused(fetcher, f"https://127.0.0.1/{name}")
    assert "less than 60 s ago" in await refused(fetcher, "https://127.0.0.1/b")
    assert "less than 60 s ago" not in await refused(fetcher, "https://127.0.0.1/a")


async def test_no_more_than_two_run_at_one_time(certificate: tuple[str, str]) -> None:
    running = 0
    most = 0
    many = asyncio.Event()
    go_on = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == MAX_AT_ONE_TIME:
            many.set()
        await go_on.wait()
        running -= 1
        return web.Response(text="x")

    async with serve(handler, certificate) as url, asyncio.TaskGroup() as group:
        fetcher = trusting(certificate)
        fetches = [group.create_task(fetcher.fetch(f"{url}/{number}")) for number in range(6)]
        await many.wait()
        go_on.set()
        assert [await fetch for fetch in fetches] == [b"x"] * 6
    assert most == MAX_AT_ONE_TIME


async def test_who_asks_for_what_is_being_fetched_waits_for_that(certificate: tuple[str, str]) -> None:
    asked = 0
    arrived = asyncio.Event()
    go_on = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        arrived.set()
        await go_on.wait()
        return web.Response(text="x")

    async with serve(handler, certificate) as url, asyncio.TaskGroup() as group:
        fetcher = trusting(certificate)
        fetches = [group.create_task(fetcher.fetch(f"{url}/a.pem")) for _ in range(5)]
        await arrived.wait()
        fetches[1].cancel()
        go_on.set()
        assert [await fetch for fetch in (fetches[0], *fetches[2:])] == [b"x"] * 4
    assert asked == 1


async def test_if_who_fetches_goes_away_the_others_are_told(certificate: tuple[str, str]) -> None:
    arrived = asyncio.Event()
    for_ever = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        arrived.set()
        await for_ever.wait()
        return web.Response()

    async with serve(handler, certificate) as url, asyncio.TaskGroup() as group:
        fetcher = trusting(certificate)
        first = group.create_task(fetcher.fetch(f"{url}/a.pem"))
        await arrived.wait()
        second = group.create_task(refused(fetcher, f"{url}/a.pem"))
        await asyncio.sleep(0)
        first.cancel()
        assert "the fetch was given up" in await second
        for_ever.set()


async def test_a_slow_answer_is_503(certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "FETCH_SECONDS", 0.05)
    for_ever = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        await for_ever.wait()
        return web.Response()

    async with serve(handler, certificate) as url:
        assert "no answer within 0.05 s" in await refused(trusting(certificate), f"{url}/a.pem")
        for_ever.set()


async def test_an_address_that_may_not_be_dialled_is_not(certificate: tuple[str, str]) -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise AssertionError("reached")

    dialled: list[tuple[str, int]] = []

    def inside(address: str, port: int) -> str:
        dialled.append((address, port))
        return f"{address} is not a public address"

    async with serve(handler, certificate) as url:
        fetcher = HttpOutside(inside, tls=ssl.create_default_context(cafile=certificate[0]))
        assert "127.0.0.1 is not a public address" in await refused(fetcher, url.replace("localhost", "127.0.0.1"))
    assert dialled == [("127.0.0.1", int(url.rpartition(":")[2]))]


async def test_a_certificate_that_nobody_trusts_is_503(certificate: tuple[str, str]) -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise AssertionError("reached")

    async with serve(handler, certificate) as url:
        assert "certificate verify failed" in await refused(HttpOutside(anywhere, clock=Clock()), f"{url}/a.pem")


async def test_no_proxy_of_the_environment_is_used(
    certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(text="direct")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serve(handler, certificate) as url:
        assert await trusting(certificate).fetch(f"{url}/a.pem") == b"direct"


@pytest.mark.parametrize(
    "url",
    ["http://localhost/a.pem", "ftp://localhost/", "file:///etc/passwd", "https://u:p@localhost/", "https://", "", "https://[", "/a"],
)  # fmt: skip
async def test_only_https_is_fetched(url: str) -> None:
    dialled: list[str] = []
    await refused(HttpOutside(lambda address, _port: dialled.append(address), clock=Clock()), url)
    assert dialled == []
