"""HTTP/1.1 as Hypercorn speaks it, made strict: what is parsed, what is answered, and what an application receives."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from time import time
from typing import Any, Final

import h11
from hypercorn.asyncio.task_group import TaskGroup, _handle
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import H11SendableEvent

from hookline.daemon.http.framing import StrictConnection
from hookline.daemon.http.refusal import FramingError, error_body

#: ASGI extension: a function that returns what `receive` would without waiting, or None.
TAKE: Final = "hookline.take"
#: Messages an application has not taken yet; each holds at most what one read brought.
_INBOX_MESSAGES: Final = 2


class ServerConfig(Config):
    """Hypercorn's configuration, as this server always wants it."""

    def __init__(self) -> None:
        """Turn off what Hypercorn does on its own: banners, access log, closing after so many requests."""
        super().__init__()
        # The access log writes what the sender wrote, line ends and all; ours is `event.received`.
        self.accesslog = None
        self.errorlog = logging.getLogger("hookline.http")
        self.include_server_header = False
        self.keep_alive_max_requests = 1_000_000_000
        self.startup_timeout = 30
        self.shutdown_timeout = 5
        self._date: tuple[int, list[tuple[bytes, bytes]]] = (0, [])

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """Return the headers of every response; made once a second."""
        now = int(time())
        if self._date[0] != now:
            self._date = (now, super().response_headers(protocol))
        return self._date[1]


class Inbox:
    """What an application has yet to receive. Unlike a queue, giving to one that nobody reads ends with the request."""

    __slots__ = ("_before_wait", "_changed", "_ended", "_messages")

    def __init__(self, before_wait: Callable[[], None]) -> None:
        """`before_wait` is called when the application waits for what has not come."""
        self._before_wait = before_wait
        self._messages: deque[Any] = deque()
        self._changed: asyncio.Future[None] | None = None
        self._ended = False

    async def put(self, message: Any) -> None:
        """Give a message; waits for room, but never once the request has ended."""
        if message["type"] == "http.disconnect":
            self._ended = True
        else:
            while len(self._messages) >= _INBOX_MESSAGES and not self._ended:
                await self._change()
            self._messages.append(message)
        self._notify()

    def take(self) -> Any:
        """Take the next message if one is there, else None; without the cost of waiting."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._notify()
        return message

    async def get(self) -> Any:
        """Take the next message; after the last one, `http.disconnect` as often as asked."""
        while not self._messages:
            if self._ended:
                return {"type": "http.disconnect"}
            self._before_wait()
            await self._change()
        return self.take()

    def _notify(self) -> None:
        if self._changed is not None:
            if not self._changed.done():
                self._changed.set_result(None)
            self._changed = None

    async def _change(self) -> None:
        # Giver and taker never wait at the same time: one waits for room, the other for anything.
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed


class Tasks(TaskGroup):
    """A connection's tasks: one application call at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, before_wait: Callable[[], None]) -> None:
        super().__init__(loop)
        self._before_wait = before_wait

    async def spawn_app(
        self, app: Any, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Start the application on a request; returns where to put what it receives."""
        inbox = Inbox(self._before_wait)
        scope["extensions"][TAKE] = inbox.take
        self.spawn(_handle, app, config, scope, inbox.get, send, None, None)
        return inbox.put


#: Gets the refusal and the peer's address, "" if it has none.
OnRefused = Callable[[FramingError, str], None]


class Protocol(H11Protocol):
    """HTTP/1.1 and nothing else: no upgrade to anything, no HTTP/2, and refusals that say why."""

    connection: StrictConnection

    def __init__(self, *args: Any) -> None:
        """Take what Hypercorn's protocol takes, and put the strict parser in."""
        super().__init__(*args)
        self.connection = StrictConnection()
        #: Told of each request that is refused before anyone reads it.
        self.on_refused: OnRefused | None = None
        self._held = b""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        return self.stream is None

    @property
    def has_partial_head(self) -> bool:
        """Whether a request has begun to come."""
        return self.stream is None and bool(self.connection.trailing_data[0])

    @property
    def expects_more(self) -> bool:
        """Whether the peer may be in the middle of a request."""
        return self.connection.their_state in {h11.SEND_BODY, h11.ERROR}

    # The next two do what Hypercorn's do, without its upgrades and without a 100 before anyone wants the body. They
    # look at exact types: the events are abstract base classes, and ten `isinstance` a request cost as much as reading
    # its headers.
    async def _handle_events(self) -> None:
        connection = self.connection
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    await self._send_error_response(error.error_status_hint)
                await self.send(Closed())
                return
            kind = type(event)
            if kind is h11.Request:
                await self.send(Updated(idle=False))
                await self._create_stream(event)
            elif event is h11.PAUSED:
                await self.can_read.clear()
                await self.can_read.wait()
            elif self.stream is None or event is h11.NEED_DATA or kind is h11.ConnectionClosed:
                return
            elif kind is h11.Data:
                await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
            else:
                await self.stream.handle(EndBody(stream_id=STREAM_ID))

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what the stream says; Hypercorn's streams call it."""
        kind = type(event)
        if kind is Body:
            await self._send_h11_event(h11.Data(data=event.data))  # type: ignore[attr-defined]
        elif kind is EndBody:
            await self._send_h11_event(h11.EndOfMessage())
        elif kind is StreamClosed:
            await self._maybe_recycle()
        else:
            await super().stream_send(event)

    async def _create_stream(self, request: h11.Request) -> None:
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        # Hypercorn would make any spelling of a method upper case; RFC 9110 says they differ.
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode("ascii"),
                method=request.method.decode("ascii"),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """Send, the head together with the first of the body: one packet and system call for a small answer."""
        if isinstance(event, h11.Response) and self.connection.their_state is h11.SEND_BODY:
            # Answered before the body came: what is left of it is not waited for.
            headers = [pair for pair in event.headers if pair[0] != b"connection"]
            headers.append((b"connection", b"close"))
            event = h11.Response(status_code=event.status_code, headers=headers)
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            # The application goes on answering a request that was refused meanwhile.
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            self._held = data
        elif held := self._held + data:
            self._held = b""
            await self.send(RawData(data=held))

    async def _send_error_response(self, status_code: int) -> None:
        refused = self.connection.refused
        if refused is not None and self.on_refused is not None:
            self.on_refused(refused, self.client[0] if self.client else "")
        body = error_body(refused.error, refused.detail) if refused else b""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        if status_code == 405:
            headers.append((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())
