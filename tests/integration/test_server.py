"""The server: bounds on what is open, and an end that loses nothing and never hangs."""

from __future__ import annotations

import asyncio
import http.client
import os
import resource
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import anyio
import pytest
import structlog
from hypercorn.utils import LifespanFailureError
from quart import Quart, make_response
from structlog.testing import capture_logs

from hookline.daemon.config.settings import Address
from hookline.daemon.http.connection import Deadlines
from hookline.daemon.http.listening import ListenError, bind
from hookline.daemon.http.server import Listener, serve

pytestmark = pytest.mark.anyio

_LOCAL = Address(host="127.0.0.1", port=0)
_GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


class Site:
    """A running server and the handle to stop it."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.port = listener.socket.getsockname()[1] if listener.socket.family != socket.AF_UNIX else 0
        self.stop = anyio.Event()
        self.is_draining = False
        self.took: float | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def running(
    app: Any,
    *,
    address: Address = _LOCAL,
    sock: socket.socket | None = None,
    drain: float = 0.0,
    grace: float = 5.0,
    **options: Any,
) -> AsyncIterator[Site]:
    site = Site(Listener(socket=sock or bind(address), app=app, **options))

    def note() -> None:
        site.is_draining = True

    async def run(*, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        stopped = asyncio.ensure_future(_when(site.stop))
        await serve(
            [site.listener],
            stop=site.stop,
            log=structlog.get_logger(),
            drain=timedelta(seconds=drain),
            grace=timedelta(seconds=grace),
            on_drain=note,
            task_status=task_status,
        )
        site.took = monotonic() - await stopped

    async with anyio.create_task_group() as group:
        await group.start(run)
        try:
            yield site
        finally:
            site.stop.set()


async def _when(event: anyio.Event) -> float:
    await event.wait()
    return monotonic()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds; fail if it does not within some seconds."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what it looks at is another thread's, or a counter
            await anyio.sleep(0.01)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request, after its body."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def _live(receive: Any, send: Any) -> None:
    for _ in range(2):
        await send({"type": f"{(await receive())['type']}.complete"})


async def stuck(scope: Any, receive: Any, send: Any) -> None:
    """Begin an answer and never end it, whatever happens."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await asyncio.Event().wait()


async def stubborn(scope: Any, receive: Any, send: Any) -> None:
    """Do as `stuck`, and not even end when cancelled, for a while."""
    try:
        await stuck(scope, receive, send)
    except asyncio.CancelledError:
        await asyncio.sleep(3)


class Load:
    """Clients in threads: they connect, send and wait while the server's loop does what it does."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered = 0
        self.lost: list[str] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._one, args=(kind,)) for kind in (False, False, False, True, True)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _one(self, is_kept_alive: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._end.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return  # Nothing was sent, and the sender knows: not lost.
            try:
                connection.request("POST", "/", body=b"x" * 500)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.lost.append(repr(error))
                connection.close()
                connection = None
                continue
            with self._lock:
                self.answered += 1
                if body != b"hello":
                    self.lost.append(repr(body))
            if not is_kept_alive or answer.getheader("connection") == "close":
                connection.close()
                connection = None
            if is_kept_alive:
                sleep(0.002)


@pytest.mark.parametrize("attempt", range(3))
async def test_no_request_is_lost_when_it_stops_under_load(attempt: int) -> None:
    async with running(hello, drain=0.3) as site:
        load = Load(site.port)
        load.start()
        try:
            await until(lambda: load.answered >= 200)
            site.stop.set()
            await until(lambda: site.took is not None)
        finally:
            await anyio.to_thread.run_sync(load.join)
    assert load.lost == []
    assert site.is_draining


async def test_connections_that_wait_to_be_accepted_are_answered() -> None:
    """They are in the kernel's queue, unseen, when the server is told to stop."""
    async with running(hello) as site:
        clients = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(150)]
        for client in clients:
            client.sendall(_GET)
        site.stop.set()
        # Not once has the loop had a turn to accept them.
        answers = [await anyio.to_thread.run_sync(_read_all, client) for client in clients]
    assert all(answer.endswith(b"hello") for answer in answers)
    assert all(b"connection: close" in answer for answer in answers)


def _read_all(client: socket.socket) -> bytes:
    with client:
        client.settimeout(5)
        data = b""
        while piece := client.recv(4096):
            data += piece
    return data


async def test_who_comes_while_it_drains_is_neither_accepted_nor_reset() -> None:
    async with running(hello, drain=0.3) as site:
        site.stop.set()
        await until(lambda: site.is_draining)
        with socket.socket() as late:
            late.settimeout(0.1)
            with pytest.raises(TimeoutError):
                await anyio.to_thread.run_sync(late.connect, ("127.0.0.1", site.port))
        await until(lambda: site.took is not None)
        assert site.listener.traffic.accepted == 0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", site.port)


async def test_an_inherited_socket_keeps_its_queue_for_the_next_server(tmp_path: Path) -> None:
    path = tmp_path / "hookline.sock"
    with bind(Address(unix=path)) as manager:
        for _ in range(2):
            async with running(hello, sock=manager.dup(), is_inherited=True) as site:
                reader, writer = await asyncio.open_unix_connection(str(path))
                writer.write(_GET)
                await reader.readuntil(b"hello")
                writer.close()
                site.stop.set()
                await until(lambda: site.took is not None)
            between = socket.socket(socket.AF_UNIX)
            between.connect(str(path))
            between.sendall(_GET)
            async with running(hello, sock=manager.dup(), is_inherited=True) as site:
                await until(lambda: site.listener.traffic.accepted == 1)
            assert (await anyio.to_thread.run_sync(_read_all, between)).endswith(b"hello")


async def test_idle_connections_are_closed_at_once() -> None:
    async with running(hello, grace=30) as site:
        reader, writer = await site.connect()
        writer.write(_GET)
        await reader.readuntil(b"hello")
        site.stop.set()
        assert await reader.read() == b""
        writer.close()
    assert site.took is not None
    assert site.took < 15


async def test_a_request_that_has_begun_is_finished() -> None:
    async with running(hello) as site:
        reader, writer = await site.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n")
        await until(lambda: site.listener.traffic.accepted == 1)
        await anyio.sleep(0.05)
        site.stop.set()
        await anyio.sleep(0.1)
        writer.write(b"\r\nabc")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


@pytest.mark.parametrize("what", ["stalled upload", "stuck answer", "stubborn application", "unread answer"])
async def test_nothing_open_keeps_it_from_ending(what: str) -> None:
    app = {"stuck answer": stuck, "stubborn application": stubborn, "unread answer": endless}.get(what, hello)
    async with running(app, grace=0.3) as site:
        reader, writer = await site.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc" if app is hello else _GET)
        if what == "stalled upload":
            await anyio.sleep(0.1)
        else:
            await reader.readuntil(b"first")
        with capture_logs() as lines:
            site.stop.set()
            await until(lambda: site.took is not None)
        writer.close()
    assert site.took is not None
    assert site.took < 15
    assert ("connections.cut_off", 1) in [(line["event"], line.get("count")) for line in lines]


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """Write as long as anyone lets it."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"first" * 20000, "more_body": True})


async def test_who_does_not_read_the_answer_is_cut_off() -> None:
    deadlines = Deadlines(write=timedelta(seconds=0.2))
    async with running(endless, deadlines=deadlines) as site:
        reader, writer = await site.connect()
        writer.write(_GET)
        await reader.readuntil(b"first")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: not site.listener.traffic.open)
        writer.transport.abort()


async def test_an_application_that_reads_no_body_does_not_keep_its_connection() -> None:
    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with running(deaf) as site:
        reader, writer = await site.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000)
        async with asyncio.timeout(30):
            answer = await reader.read()
            writer.close()
            await until(lambda: not site.listener.traffic.open)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


async def test_a_sender_that_hangs_up_is_noticed_by_the_application() -> None:
    told = asyncio.Event()

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        while (await receive())["type"] != "http.disconnect":
            pass
        assert (await receive())["type"] == "http.disconnect"
        told.set()

    async with running(listening) as site:
        _, writer = await site.connect()
        writer.write(_GET)
        await anyio.sleep(0.05)
        writer.close()
        async with asyncio.timeout(30):
            await told.wait()


async def test_connections_over_the_limit_are_turned_away_and_counted() -> None:
    async with running(hello, connections=2) as site:
        kept = [await site.connect() for _ in range(2)]
        for reader, writer in kept:
            writer.write(_GET)
            await reader.readuntil(b"hello")
        with capture_logs() as lines:
            for _ in range(20):
                reader, writer = await site.connect()
                answer = await reader.read()
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1" in answer
                writer.close()
        assert {line["event"] for line in lines} == {"connection.refused"}
        assert (site.listener.traffic.refused, site.listener.traffic.open) == (20, 2)
        for reader, writer in kept:
            writer.write(_GET)
            await reader.readuntil(b"hello")
            writer.close()
        await until(lambda: not site.listener.traffic.open)
        reader, writer = await site.connect()
        writer.write(_GET)
        await reader.readuntil(b"hello")
        writer.close()


@contextmanager
def _few_descriptors(spare: int) -> Iterator[None]:
    """Leave the process only so many file descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
    free = [number for number in range(max(used) + spare + 2) if number not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[spare], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_running_out_of_file_descriptors_is_logged_and_passes() -> None:
    async with running(hello) as site:
        clients = []
        with capture_logs() as lines:
            with _few_descriptors(spare=8):
                for _ in range(6):
                    client = socket.socket()
                    client.setblocking(False)
                    client.connect_ex(("127.0.0.1", site.port))
                    clients.append(client)
                await until(lambda: site.listener.traffic.accept_errors >= 3)
            assert {line["event"] for line in lines} == {"connection.not_accepted"}
            await until(lambda: site.listener.traffic.accepted >= 6)
        for client in clients:
            client.close()
        # It rested in between: the loop did not spin.
        assert site.listener.traffic.accept_errors < 20


async def test_a_unix_socket_is_served_with_a_narrow_mode_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "hookline.sock"
    async with running(hello, address=Address(unix=path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(_GET)
        await reader.readuntil(b"hello")
        writer.close()
        with pytest.raises(ListenError, match="another program listens there"):
            bind(Address(unix=path))
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "hookline.sock"
    first = bind(Address(unix=path))
    first.close()
    assert path.exists()
    bind(Address(unix=path)).close()
    other = tmp_path / "file"
    other.touch()
    with pytest.raises(ListenError, match="a file that is no socket is there; move it away"):
        bind(Address(unix=other))
    assert other.exists()


def test_an_address_in_use_is_refused_with_the_next_step() -> None:
    with bind(_LOCAL) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as refused:
            bind(Address(host="127.0.0.1", port=port))
    assert str(refused.value) == (
        f"cannot listen on 127.0.0.1:{port}: address already in use; "
        "another program listens there: stop it, or choose another port"
    )


async def test_ipv6_is_served() -> None:
    try:
        probe = bind(Address(host="::1", port=0))
    except ListenError:
        pytest.skip("this machine has no IPv6")
    probe.close()
    async with running(hello, address=Address(host="::1", port=0)) as site:
        reader, writer = await asyncio.open_connection("::1", site.port)
        writer.write(_GET)
        await reader.readuntil(b"hello")
        writer.close()


async def test_two_listeners_have_an_application_each() -> None:
    public, admin = Quart("public"), Quart("admin")
    seen: list[str] = []

    def named(app: Quart, name: str) -> Callable[[], Any]:
        @app.get("/")
        async def index() -> str:
            return name

        @app.before_serving
        async def begin() -> None:
            seen.append(f"{name} begins")

        @app.after_serving
        async def end() -> None:
            seen.append(f"{name} ends")

        return index

    named(public, "public")
    named(admin, "admin")
    stop = anyio.Event()
    sockets = [bind(_LOCAL) for _ in range(3)]
    listeners = [Listener(socket=sock, app=app) for sock, app in zip(sockets, (public, admin, public), strict=True)]
    ports = [sock.getsockname()[1] for sock in sockets]
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(anyio.create_task_group())

        async def run(*, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
            await serve(listeners, stop=stop, log=structlog.get_logger(), drain=timedelta(), task_status=task_status)

        await group.start(run)
        assert seen == ["public begins", "admin begins"]
        for port, name in zip(ports, (b"public", b"admin", b"public"), strict=True):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(name)
            writer.close()
        stop.set()
    assert sorted(seen[2:]) == ["admin ends", "public ends"]


async def test_a_start_up_that_fails_is_raised_and_lets_go_of_the_sockets() -> None:
    app = Quart("broken")

    @app.before_serving
    async def begin() -> None:
        raise ZeroDivisionError

    sock = bind(_LOCAL)
    with pytest.raises(LifespanFailureError):
        await serve([Listener(socket=sock, app=app)], stop=anyio.Event(), log=structlog.get_logger())
    assert sock.fileno() == -1


async def test_an_sse_stream_of_quart_ends_with_its_client_and_does_not_hold_up_the_end() -> None:
    app = Quart("stream")
    ended = asyncio.Event()

    @app.get("/")
    async def stream() -> Any:
        async def lines() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"data: first\n\n"
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        response = await make_response(lines(), {"content-type": "text/event-stream"})
        response.timeout = None  # type: ignore[union-attr]
        return response

    async with running(app, grace=0.3) as site:
        reader, writer = await site.connect()
        writer.write(_GET)
        await reader.readuntil(b"first")
        writer.close()
        async with asyncio.timeout(30):
            await ended.wait()
        reader, writer = await site.connect()
        writer.write(_GET)
        await reader.readuntil(b"first")
        site.stop.set()
        await until(lambda: site.took is not None)
        writer.close()
    assert site.took is not None
    assert site.took < 15


async def test_cancelling_it_lets_go_of_everything() -> None:
    sock = bind(_LOCAL)
    port = sock.getsockname()[1]
    listener = Listener(socket=sock, app=stuck)
    async with anyio.create_task_group() as group:

        async def run(*, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
            await serve([listener], stop=anyio.Event(), log=structlog.get_logger(), task_status=task_status)

        await group.start(run)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_GET)
        await reader.readuntil(b"first")
        group.cancel_scope.cancel()
    await until(lambda: not listener.traffic.open)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    writer.close()
