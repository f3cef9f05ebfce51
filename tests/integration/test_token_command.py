"""`hookline token` and a daemon that answers it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from click.testing import CliRunner, Result

from hookline.daemon.commands import cli
from tests.acceptance.conftest import free_port
from tests.integration.living import CONFIG, TOKEN, Living, living

pytestmark = pytest.mark.anyio

Command = Callable[..., Any]


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Living]:
    config = CONFIG.replace('admin: {listen: "127.0.0.1:0"', f'admin: {{listen: "127.0.0.1:{free_port()}"')
    async with living(tmp_path, config=config) as made:
        yield made


@pytest.fixture
def run(tmp_path: Path) -> Command:
    """Return what runs a command beside the daemon, whose loop goes on meanwhile."""

    async def run(*arguments: str, code: int = 0, **environ: str) -> Result:
        def invoke() -> Result:
            line = ["token", *arguments, "-c", str(tmp_path / "hookline.yaml")]
            return CliRunner().invoke(cli, line, env=environ)

        result = await anyio.to_thread.run_sync(invoke)
        assert result.exit_code == code, result.output
        return result

    return run


async def test_a_token_is_made_used_listed_and_dropped(daemon: Living, run: Command) -> None:
    assert "No tokens were made. Make one: hookline token add NAME --scope read" in (await run()).stderr
    made = await run("add", "ci", "--scope", "operate", "--expires", "90d")
    token = made.stdout.strip()
    assert token.startswith("hookline_")
    assert "ci has operate until" in made.stderr
    assert (await daemon.ask("/tokens", token=token)).status == 403
    assert (await daemon.ask("/status", token=token)).status == 200
    listed = await run()
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [["token", "scope"], ["ci", "operate"]]
    assert token not in listed.stdout
    (one,) = json.loads((await run("--json")).stdout)
    assert (one["name"], one["scope"], one["last_used_at"]) == ("ci", "operate", None)
    assert "good no more" in (await run("drop", "ci")).stdout
    assert (await daemon.ask("/status", token=token)).status == 401
    assert "no token 'ci' was made" in (await run("drop", "ci", code=1)).stderr


async def test_what_cannot_be_made_is_told(daemon: Living, run: Command) -> None:
    assert "Missing option '--scope'" in (await run("add", "ci", code=2)).stderr
    assert "letters, digits" in (await run("add", "a b", "--scope", "read", code=1)).stderr
    assert "expires_in" in (await run("add", "ci", "--scope", "read", "--expires", "soon", code=1)).stderr
    made = json.loads((await run("add", "ci", "--scope", "read", "--json")).stdout)
    refused = await run("add", "more", "--scope", "admin", code=1, HOOKLINE_TOKEN=made["token"])
    assert "this needs the scope admin; the token 'ci" in refused.stderr
    assert (await daemon.ask("/tokens", token=TOKEN)).json["tokens"][0]["expires_at"] is None


async def test_without_a_daemon_they_are_listed_and_not_changed(tmp_path: Path, run: Command) -> None:
    config = CONFIG.replace('admin: {listen: "127.0.0.1:0"', f'admin: {{listen: "127.0.0.1:{free_port()}"')
    async with living(tmp_path, config=config):
        await run("add", "ci", "--scope", "read")
    assert (await run()).stdout.splitlines()[1].startswith("ci ")
    assert "Is it running?" in (await run("drop", "ci", code=1)).stderr
