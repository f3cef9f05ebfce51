"""Look up hosts: on threads of their own, in bounded time, and of many addresses a few."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
from aiohttp.abc import AbstractResolver, ResolveResult

#: How long a look-up may take; the thread that asks is left to itself.
LOOKUP_SECONDS = 5.0
#: Look-ups at one time: names whose servers are silent must not keep the others waiting.
MAX_LOOKUPS = 64
#: Of the addresses a name has in one family, this many are tried.
MAX_ADDRESSES = 4

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_AS_NUMBERS = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Resolver(AbstractResolver):
    """The system's resolver, for aiohttp and for `Outbound.connect`."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._threads = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="lookup")

    async def look_up(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[Any]:
        """Return what `getaddrinfo` says, of each family the first few. Raises `OSError` and `UnicodeError`."""
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        try:
            with anyio.fail_after(LOOKUP_SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except TimeoutError as error:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {LOOKUP_SECONDS:g} s") from error
        kept: dict[int, list[Any]] = {}
        for info in found:
            kept.setdefault(info[0], []).append(info)
        return [info for infos in kept.values() for info in infos[:MAX_ADDRESSES]]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As aiohttp asks for it."""
        return [
            ResolveResult(
                hostname=host, host=_as_text(info[4]), port=port, family=info[0], proto=info[2], flags=_NUMERIC
            )
            for info in await self.look_up(host, port, family)
        ]

    async def close(self) -> None:
        """Ask for nothing more; what is asked for is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _as_text(address: Any) -> str:
    # A link-local address is nothing without its interface.
    if len(address) == 4 and address[3]:
        return socket.getnameinfo(address, _AS_NUMBERS)[0]
    text: str = address[0]
    return text
