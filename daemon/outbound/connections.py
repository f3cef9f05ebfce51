"""Connections out: HTTP for actions on aiohttp, and bare TCP, every dialled address checked."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import aiohttp
import anyio
from multidict import CIMultiDict
from yarl import URL

from hookline.daemon.outbound.addresses import AddressBlocked, AddressPolicy, IPAddress
from hookline.daemon.outbound.pools import Pools
from hookline.daemon.outbound.progress import Progress
from hookline.daemon.outbound.resolver import Resolver
from hookline.plugins import PermanentError, Reply, Tls, TransientError

#: Of an answer, this much is read; then the connection is closed.
MAX_ANSWER_BYTES = 64 * 1024
#: How long one address has to take a connection.
CONNECT_SECONDS = 5.0
#: How long the rest of an answer may take once its status is known; what has come by then is the answer.
BODY_SECONDS = 5.0
#: Idle connections are dropped before common servers drop them (Node and Hypercorn at 5 s): a request sent into
#: a connection that is being closed has to be sent again.
KEEPALIVE_SECONDS = 4.0
#: How often a request goes into a pooled connection that turns out to be closed, before it is tried again later.
MAX_STALE = 3

_HEADERS = {"User-Agent": "Hookline", "Accept": "*/*", "Accept-Encoding": "identity"}
# aiohttp would guess one; to leave headers out costs a copy of them all, so it is asked only where none is given.
_WITHOUT_CONTENT_TYPE = ("Content-Type",)

Listeners = Callable[[], Iterable[tuple[str, int]]]


_progress: contextvars.ContextVar[Progress] = contextvars.ContextVar("hookline_outbound_progress")


class _NotedRequest(aiohttp.ClientRequest):
    """Notes that it was sent: a tracer would tell as well, and costs as much as a tenth of the request."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        progress = _progress.get()
        progress.note_sending(conn.transport)
        response = await super().send(conn)
        progress.was_sent = True
        return response


class Outbound:
    """Owns every connection that actions make. One pool for each policy: strict requests never reuse a lax one's."""

    def __init__(self, *, listeners: Listeners = tuple) -> None:
        """Open nothing yet. `listeners`: our own addresses and ports at this moment; never dialed."""
        self._listeners = listeners
        self._pools = Pools(self._new_session)
        self._resolver = Resolver()

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._pools.close()
        await self._resolver.close()

    async def request(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        url: URL,
        *,
        headers: CIMultiDict[str],
        content: bytes | None,
        policy: AddressPolicy,
        progress: Progress,
        tls: Tls | None = None,
    ) -> Reply:
        """Send one request; URL and headers have been checked. Raises as `Http.request` does."""
        pool = self._pools.current(policy, tls) or await self._pools.renew(policy, tls)
        token = _progress.set(progress)
        try:
            for sent in range(1, MAX_STALE + 1):
                try:
                    return await _ask(pool.session, method, url, headers, content)
                except (aiohttp.ClientError, OSError, ValueError) as error:
                    # A server may close an idle connection while a request is on its way into it (RFC 9112, 9.3.1).
                    is_stale = not progress.dialed and progress.was_refused_whole(error)
                    if not is_stale or sent == MAX_STALE:
                        raise explain_failure(error, url, progress) from error
                progress.was_sent = False
        finally:
            _progress.reset(token)
            progress.close()
            pool.users -= 1
            if pool.is_over:
                await pool.session.close()
        raise AssertionError  # the last round returned or raised

    async def connect(self, host: str, port: int, *, policy: AddressPolicy) -> socket.socket:
        """Open a TCP connection, non-blocking. Raises as `Http.request` does."""
        loop = asyncio.get_running_loop()
        try:
            found = await self._resolver.look_up(host, port)
        except (OSError, UnicodeError) as error:
            raise TransientError(f"cannot find the host {host}: {_reason(error)}") from error
        failures: list[OSError] = []
        for info in found:
            try:
                # The check stands between the look-up and the dialling, so the address checked is the one dialled.
                connection = self._open(info, policy)
            except OSError as error:
                failures.append(error)
                continue
            try:
                connection.setblocking(False)
                with anyio.fail_after(CONNECT_SECONDS):
                    await loop.sock_connect(connection, info[4])
            except OSError as error:
                connection.close()
                failures.append(error)
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        if failures and all(isinstance(failure, AddressBlocked) for failure in failures):
            raise PermanentError(f"blocked address: {failures[0]}")
        reasons = "; ".join(dict.fromkeys(_reason(failure) for failure in failures)) or "it has no address"
        raise TransientError(f"cannot connect to {host} port {port}: {reasons}")

    def _new_session(self, policy: AddressPolicy, trust: ssl.SSLContext | None) -> aiohttp.ClientSession:
        def open_checked(info: Any) -> socket.socket:
            return self._open(info, policy)

        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=open_checked,
                resolver=self._resolver,
                ssl=True if trust is None else trust,
                # How many run at one time is the lanes' business.
                limit=0,
                keepalive_timeout=KEEPALIVE_SECONDS,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers=_HEADERS,
            request_class=_NotedRequest,
            # The whole attempt has one deadline, the runner's.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )
        # aiohttp would send a PUT or DELETE again whose answer did not come, which is for `retry_unknown` to say.
        session._retry_connection = False  # noqa: SLF001 - there is no option for it
        return session

    def _open(self, info: Any, policy: AddressPolicy) -> socket.socket:
        family, kind, protocol, _, (address, port, *_) = info
        listeners = frozenset((ip_address(host), own_port) for host, own_port in self._listeners())
        judge = replace(policy, forbidden=listeners) if listeners else policy
        refusal = judge.refusal(address, port, is_own=is_own_address)
        progress = _progress.get(None)
        if progress is not None:
            progress.dialed.append(refusal)
        if refusal is not None:
            raise AddressBlocked(refusal)
        return socket.socket(family, kind, protocol)


async def _ask(
    session: aiohttp.ClientSession, method: str, url: URL, headers: CIMultiDict[str], content: bytes | None
) -> Reply:
    async with session.request(
        method,
        url,
        data=content,
        headers=headers,
        skip_auto_headers=None if "Content-Type" in headers else _WITHOUT_CONTENT_TYPE,
        allow_redirects=False,
    ) as response:
        body = await _read_bounded(response)
        return Reply(
            status=response.status,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
        )


def is_own_address(ip: IPAddress) -> bool:
    """Whether an address is this machine's: the kernel lets only those be bound."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True


def explain_failure(  # noqa: PLR0911 - a table
    error: Exception, url: URL, progress: Progress
) -> TransientError | PermanentError:
    """Say what went wrong in terms of the host alone: path and query of a URL may be secret."""
    where = f"{url.host} port {url.port}"
    refused = [reason for reason in progress.dialed if reason is not None]
    match error:
        case aiohttp.InvalidURL():
            return PermanentError(f"the URL cannot be requested: {url.host} is not a host name or a usual address")
        case aiohttp.ClientConnectorDNSError():
            return TransientError(f"cannot find the host {url.host}: {_reason(error.os_error)}")
        case aiohttp.ClientConnectorError() if refused and len(refused) == len(progress.dialed):
            return PermanentError(f"blocked address: {refused[0]}")
        case aiohttp.ClientConnectorCertificateError():
            return TransientError(f"the certificate of {where} is not valid: {_reason(error.certificate_error)}")
        case aiohttp.ClientConnectorError():
            return TransientError(f"cannot connect to {where}: {_reason(error.os_error)}")
        case aiohttp.ConnectionTimeoutError():
            return TransientError(f"cannot connect to {where}: no answer within {CONNECT_SECONDS:g} s")
        case aiohttp.ClientResponseError():
            return TransientError(f"{where} answered with what is not HTTP", is_unknown=progress.was_sent)
        case _ if progress.was_sent and progress.was_refused_whole(error):
            return TransientError(f"{where} closed the connection before it had the whole request")
        case _ if progress.was_sent:
            return TransientError(f"{where} closed the connection without an answer", is_unknown=True)
        case aiohttp.ClientError() | OSError():
            return TransientError(f"the request to {where} was not sent: {_reason(error)}")
        case _:
            return PermanentError(f"the request to {where} cannot be made: {_reason(error)}")


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read at most `MAX_ANSWER_BYTES`. The status is known, so a body that breaks off or drips is cut, no failure."""
    content = response.content
    if content.is_eof():
        # All of it came with the headers, as small answers do: no timer needed.
        body = b"" if content.at_eof() else content.read_nowait(MAX_ANSWER_BYTES)
        if content.at_eof():
            return body
    else:
        body = b""
    with anyio.move_on_after(BODY_SECONDS):
        try:
            while len(body) < MAX_ANSWER_BYTES:
                chunk = await content.read(MAX_ANSWER_BYTES - len(body))
                if not chunk:
                    break
                body += chunk
        except (aiohttp.ClientError, OSError):
            response.close()
    if not content.at_eof():
        response.close()
    return body


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
