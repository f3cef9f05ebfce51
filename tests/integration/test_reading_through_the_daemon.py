"""Commands that only look: through the daemon where one runs, else in the store's file, and they say the same."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from click.testing import CliRunner, Result

from hookline.daemon.api.client import ApiClient, ApiError, ApiReader, NoAnswerError
from hookline.daemon.commands import cli
from hookline.daemon.commands.opening import TOKEN as VARIABLE
from hookline.daemon.commands.opening import reading
from hookline.daemon.config.load import load_settings
from hookline.daemon.config.settings import Address
from hookline.daemon.store.sqlite.reader import SqliteReader
from tests.integration.living import CONFIG, TOKEN, Living, living

pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True)
class House:
    """A daemon, and the configurations that people have who look at it."""

    daemon: Living
    event: str
    dead: str
    #: Its own, but that nobody answers there: the file is read.
    by_file: Path
    #: Of somebody who sees the daemon, and no store.
    by_daemon: Path


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("reading")
    async with living(folder) as daemon:
        await daemon.send({"event": "order.paid", "id": "o-1", "tenant": "acme", "total": 5})
        event = await daemon.send({"event": "order.paid", "id": "o-2", "total": 5000, "text": "\ud800 \u202e"})
        await daemon.settled()
        (dead,) = (await daemon.ask("/deliveries?state=dead")).json["deliveries"]
        by_file = folder / "by-file.yaml"
        by_file.write_text(_config(f"127.0.0.1:{_closed_port()}"))
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        shutil.copytree(folder / "rules", elsewhere / "rules")
        by_daemon = elsewhere / "hookline.yaml"
        by_daemon.write_text(_config(f"127.0.0.1:{daemon.admin}"))
        yield House(daemon, event, dead["id"], by_file, by_daemon)


def _config(admin: str, token: str = f"token: {TOKEN}") -> str:
    return CONFIG.replace(
        'admin: {listen: "127.0.0.1:0", token: an-admin-token-of-some-length, hosts: [hookline.example.com]}',
        f'admin: {{listen: "{admin}"{", " + token if token else ""}}}',
    )


def _closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def run(words: list[str], config: Path, **environ: str) -> Result:
    def invoke() -> Result:
        return CliRunner().invoke(cli, [*words, "-c", str(config)], env=environ)

    return await anyio.to_thread.run_sync(invoke)


def timeless(text: str) -> str:
    """Take out ages, and the widths of columns, which depend on them."""
    return re.sub(r"\d+ (s|ms|min) ago|in \d+ (s|ms|min)|-c \S+| {2,}", "…", text)


@pytest.mark.parametrize(
    "words",
    [
        ["events"],
        ["events", "--source", "shop", "--limit", "1"],
        ["events", "--json"],
        ["events", "--type", "nothing"],
        ["events", "show", "{event}"],
        ["events", "show", "{event}", "--json"],
        ["events", "show", "{event}", "--raw"],
        ["events", "show", "evt_0000000000000"],
        ["deliveries"],
        ["deliveries", "--json", "--status", "dead"],
        ["deliveries", "show", "{dead}"],
        ["deliveries", "show", "{dead}", "--json"],
        ["dead"],
        ["dead", "--json"],
        ["explain", "{event}"],
        ["rules"],
        ["audit"],
    ],
    ids=" ".join,
)
async def test_what_a_command_says_does_not_depend_on_how_it_looks(house: House, words: list[str]) -> None:
    asked = [word.format(event=house.event, dead=house.dead) for word in words]
    ran = [await run(asked, config) for config in (house.by_file, house.by_daemon)]
    by_file, by_daemon = ((timeless(one.output), one.exit_code) for one in ran)
    assert by_file[0].replace(str(house.by_file.parent), "…") == by_daemon[0].replace(str(house.by_daemon.parent), "…")
    assert by_file[1] == by_daemon[1] == (1 if "evt_0000000000000" in words else 0)


async def test_the_daemon_is_asked_where_it_answers(house: House) -> None:
    async with reading(load_settings(house.by_daemon, environ={})) as reader:
        assert isinstance(reader, ApiReader)
    async with reading(load_settings(house.by_file, environ={})) as own:
        assert isinstance(own, SqliteReader)


async def test_the_environments_token_goes_before_the_others(house: House) -> None:
    config = house.by_daemon.with_name("no-token.yaml")
    config.write_text(_config(f"127.0.0.1:{house.daemon.admin}", token=""))
    assert "No store at" in (await run(["events"], config)).output
    assert (await run(["events"], config, **{VARIABLE: TOKEN})).exit_code == 0
    made = await house.daemon.ask("/tokens", method="POST", body={"name": "looker", "scope": "read"})
    token = made.json["token"]
    assert (await run(["events"], config, **{VARIABLE: token})).exit_code == 0
    refused = await run(["replay", house.dead, "--yes"], config, **{VARIABLE: token})
    assert refused.exit_code == 1
    assert "scope" in refused.output


async def test_a_wrong_token_leaves_the_file(house: House) -> None:
    config = house.by_file.with_name("wrong-token.yaml")
    config.write_text(_config(f"127.0.0.1:{house.daemon.admin}", token="token: another-token-of-some-length"))
    async with reading(load_settings(config, environ={})) as reader:
        assert isinstance(reader, SqliteReader)


async def test_a_kept_connection_that_ended_is_made_again_for_what_only_reads(house: House) -> None:
    client = ApiClient(Address(host="127.0.0.1", port=house.daemon.admin), TOKEN, user="ada")
    await anyio.to_thread.run_sync(client.ask, "GET", "status")
    connection = client._connection
    assert connection is not None
    connection.sock.shutdown(socket.SHUT_RDWR)
    assert (await anyio.to_thread.run_sync(client.ask, "GET", "status"))["ready"] is True
    client.close()


async def test_what_the_daemon_refuses_and_who_is_none_are_told_apart(house: House) -> None:
    client = ApiClient(Address(host="127.0.0.1", port=house.daemon.admin), TOKEN, user="ada")
    with pytest.raises(ApiError, match="Not found: no event evt_0000000000000") as refused:
        await anyio.to_thread.run_sync(client.ask, "GET", "events/evt_0000000000000")
    assert refused.value.status == 404
    client.close()
    nobody = ApiClient(Address(host="127.0.0.1", port=_closed_port()), TOKEN, user="ada")
    with pytest.raises(NoAnswerError):
        await anyio.to_thread.run_sync(nobody.ask, "GET", "status")


async def test_a_listener_that_is_no_daemon_is_left_alone(house: House) -> None:
    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        config = house.by_file.with_name("another.yaml")
        config.write_text(_config(f"127.0.0.1:{port}"))
        async with reading(load_settings(config, environ={})) as reader:
            assert isinstance(reader, SqliteReader)
        tasks.cancel_scope.cancel()
