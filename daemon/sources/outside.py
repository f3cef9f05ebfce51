"""Fetch what a source needs before it can verify: bounded, over HTTPS, from hosts that its scheme pins."""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import anyio
from yarl import URL

from hookline.daemon.sources.port import RequestRejected

MAX_BYTES: Final = 64 * 1024
#: For all of it, waiting for other fetches included.
FETCH_SECONDS: Final = 5.0
MAX_AT_ONE_TIME: Final = 2
#: A URL that failed is not asked for again so soon: who sends what cannot be verified makes us do no work.
FAILURE_SECONDS: Final = 60.0
MAX_FAILURES: Final = 256

_HEADERS: Final = {"User-Agent": "Hookline", "Accept": "*/*", "Accept-Encoding": "identity"}

#: Says why an address may not be dialled at a port; None if it may.
Refusal = Callable[[str, int], str | None]


class HttpOutside:
    """Implements `Outside` on aiohttp: no redirects, no cookies, no proxies or credentials from the environment.

    The caller pins the host; here an address that `refusal` speaks against is not dialled, whatever the host's name
    leads to.
    """

    def __init__(
        self, refusal: Refusal, *, tls: ssl.SSLContext | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`tls` says which certificates are trusted, if not those that the system does."""
        self._refusal = refusal
        self._tls = tls
        self._clock = clock
        self._slots = asyncio.Semaphore(MAX_AT_ONE_TIME)
        self._under_way: dict[str, asyncio.Future[bytes]] = {}
        self._failed: dict[str, float] = {}

    async def fetch(self, url: str) -> bytes:
        """Return what stands at an HTTPS URL, at most 64 KiB.

        Who asks for what is being fetched waits for that. Raises `RequestRejected` (503, `certificate`) for anything
        else than a 200 within 5 s, and for 60 s after one such failure.
        """
        under_way = self._under_way.get(url)
        if under_way is not None:
            return await asyncio.shield(under_way)
        target = _parse(url)
        if self._clock() - self._failed.get(url, -math.inf) < FAILURE_SECONDS:
            raise _unavailable(target.host, f"it failed less than {FAILURE_SECONDS:g} s ago")
        mine = self._under_way[url] = asyncio.get_running_loop().create_future()
        try:
            data = await self._fetch(target)
            mine.set_result(data)
        except RequestRejected as refusal:
            self._note_failure(url)
            mine.set_exception(refusal)
            raise
        finally:
            del self._under_way[url]
            if not mine.done():  # who fetched for all of them has gone away
                mine.set_exception(_unavailable(target.host, "the fetch was given up"))
            mine.exception()  # or asyncio complains where nobody else waited
        return data

    async def _fetch(self, target: URL) -> bytes:
        try:
            with anyio.fail_after(FETCH_SECONDS):
                async with self._slots:
                    return await self._get(target)
        except TimeoutError as error:
            raise _unavailable(target.host, f"no answer within {FETCH_SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise _unavailable(target.host, reason or type(error).__name__) from error

    async def _get(self, target: URL) -> bytes:
        # A session for each: there are a few a year, and nothing is left to close.
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    socket_factory=self._open, force_close=True, ssl=True if self._tls is None else self._tls
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                headers=_HEADERS,
            ) as session,
            session.get(target, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise _unavailable(target.host, f"it answered {response.status}")
            data = b""
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) > MAX_BYTES:
                    raise _unavailable(target.host, f"it answered with more than {MAX_BYTES // 1024} KiB")
            return data

    def _open(self, info: Any) -> socket.socket:
        # Between the look-up and the dialling, so the address checked is the one dialled.
        family, kind, protocol, _, (address, port, *_) = info
        refusal = self._refusal(address, port)
        if refusal is not None:
            raise OSError(errno.EACCES, refusal)
        return socket.socket(family, kind, protocol)

    def _note_failure(self, url: str) -> None:
        self._failed.pop(url, None)
        self._failed[url] = self._clock()
        while len(self._failed) > MAX_FAILURES:
            del self._failed[next(iter(self._failed))]


def _parse(url: str) -> URL:
    try:
        target = URL(url)
    except ValueError as error:
        raise _unavailable(None, "it is no URL") from error
    if target.scheme != "https" or not target.host or target.user is not None or target.password is not None:
        raise _unavailable(target.host, "only https:// without user and password is fetched")
    return target


def _unavailable(host: str | None, reason: str) -> RequestRejected:
    # Of the URL, the host alone: there may be a token in its query.
    return RequestRejected("certificate", 503, f"what is needed from {host or 'outside'} cannot be had now: {reason}")
