"""Writes a plug-in that runs as it is, with a test that passes as it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import click

from hookline.daemon.actions.local_runner import RESERVED_NAMES
from hookline.daemon.actions.registry import action_names
from hookline.daemon.commands.opening import again
from hookline.daemon.commands.output import EXIT_USAGE, fail
from hookline.daemon.config.settings import Settings

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")

_PLUGIN: Final = '''\
"""Post one line of text to a URL."""

from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from hookline.plugins import Address, Context, Delivery, raise_for_status


class Options(BaseModel):
    """What a rule may write under `{name}:`."""

    url: Annotated[SecretStr, Address] = Field(description="Where it is posted")
    text: str = Field(default="{{{{ event.type }}}} from {{{{ event.source }}}}", description="What is posted")


async def deliver(delivery: Delivery, options: Options, context: Context) -> str | None:
    """Post the text; what comes back as a failure is raised, and decides whether it is tried again."""
    url, headers = options.url.get_secret_value(), {{"Idempotency-Key": context.idempotency_key}}
    raise_for_status(await context.http.post(url, headers=headers, json={{"text": options.text}}))
    return f"posted {{delivery.event.type}}"
'''

_TEST: Final = '''\
"""The plug-in {name}: the promises of every action, and what it does besides."""

from pathlib import Path

import pytest

from hookline.plugins.testing import Check, FakeServer, checks, delivery, run

PLUGIN = Path(__file__).resolve().parent / {where} / "{name}.py"


@pytest.mark.parametrize("check", checks(PLUGIN, lambda url: {{"url": url}}), ids=str)
def test_it_keeps_the_promises_of_every_action(check: Check) -> None:
    check()


def test_it_posts_what_the_rule_words() -> None:
    with FakeServer() as server:
        options = {{"url": server.url, "text": "Order {{{{ payload.number }}}}"}}
        ran = run(PLUGIN, options, delivery({{"number": "A-17"}}))
    assert (ran.outcome, ran.note) == ("delivered", "posted example.created")
    assert server.requests[0].json == {{"text": "Order A-17"}}


def test_it_is_tried_again_when_the_other_side_is_down() -> None:
    with FakeServer(503) as server:
        ran = run(PLUGIN, {{"url": server.url}})
    assert ran.outcome == "transient"
'''


def write_plugin(settings: Settings, name: str, config_path: Path | None) -> None:
    """Write `NAME.py` into the plug-ins folder and `tests/test_NAME.py` beside the configuration, or say why not."""
    if not _NAME.fullmatch(name):
        fail(f"{name!r} cannot be an action's name: use small letters, digits and _.", EXIT_USAGE)
    if name in RESERVED_NAMES:
        fail(f"{name!r} is the name of a modifier: choose another.", EXIT_USAGE)
    home = settings.path.parent
    folder = settings.plugins or home / "plugins"
    plugin, test = folder / f"{name}.py", home / "tests" / f"test_{name}.py"
    present = [path for path in (plugin, test) if path.exists()]
    if present:
        fail(f"{', '.join(map(str, present))} is there already; nothing was written.")
    if name in settings.destinations:
        fail(f"{name!r} is the name of a destination: an action needs another.", EXIT_USAGE)
    if name in action_names(settings.plugins):
        fail(f"There is an action {name!r} already: {again(f'plugins {name}', config_path)}", EXIT_USAGE)
    _write(plugin, _PLUGIN.format(name=name))
    _write(test, _TEST.format(name=name, where=_from(test.parent, folder)))
    here = _shown(test)
    click.echo(
        f"""
Try it:        pip install pytest    (once, into this environment)
               pytest {here}
Check it:      {again("check", config_path)}
Use it:        destinations: {{chat: {{{name}: {{url: "${{CHAT_URL}}"}}}}}}
Its options:   {again(f"plugins {name}", config_path)}"""
    )


def _from(start: Path, folder: Path) -> str:
    """Return the way from a folder to another as Python writes it, so that both can be moved together."""
    return " / ".join(f'"{part}"' for part in Path(os.path.relpath(folder, start)).parts)


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not writable by others, whatever the umask: a plug-in runs with Hookline's rights.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
    click.echo(f"wrote {path}", err=True)
