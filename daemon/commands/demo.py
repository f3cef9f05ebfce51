"""`hookline demo`: the whole way, on the bundled example, with real signed samples."""

from __future__ import annotations

import secrets
import shutil
import socket
import sys
import tempfile
from base64 import b64encode
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import anyio
import click

from hookline.daemon.admin_token import admin_token_file
from hookline.daemon.commands.output import EXIT_FINDINGS, fail, print_table, styled
from hookline.daemon.config.load import load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.demo.play import Played, Stage, play, rows, summary
from hookline.daemon.demo.stand_ins import StandIns, stand_ins
from hookline.daemon.log import configure_logging
from hookline.daemon.process import serve_until_told
from hookline.daemon.service import Service
from hookline.daemon.version import VERSION

#: The example's.
PUBLIC_PORT = 8080
ADMIN_PORT = 8081
#: Beside the packages in a checkout, and within the wheel.
_EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "hookline.yaml"


@click.command()
@click.option("--once", is_flag=True, help="End after the table; exit 0 only if all of it is right.")
def demo(*, once: bool) -> None:
    """Start the daemon on a bundled example, send it real signed samples, and show what arrived where and why.

    Everything stays on this machine: local stand-ins play the HTTP application, Slack and the mail server.
    """
    try:
        import aiosmtpd  # noqa: F401 - asked for early, to say what to do
    except ModuleNotFoundError:
        fail("The demo delivers to a mail server of its own: pip install 'hookline[demo]'")
    configure_logging(level="error")
    with ExitStack() as stack:
        if once:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "demo"
        else:
            folder = Path(".hookline/demo")
            if not _is_free(ADMIN_PORT) and (folder / "demo.db-wal").exists():
                fail("A demo seems to run in this folder already: end it first (Ctrl-C), or begin in another folder.")
            shutil.rmtree(folder, ignore_errors=True)
        played = anyio.run(_demo, folder, once)
    if not all(one.is_right for one in played):
        sys.exit(EXIT_FINDINGS)


async def _demo(folder: Path, once: bool) -> list[Played]:  # noqa: FBT001
    async with stand_ins() as ins:
        config = _lay_out(folder, ins, is_on_free_ports=once)
        settings = load_settings(config, environ={})
        service = Service(settings, environ={})
        played: list[Played] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve_until_told, service)
            await service.started.wait()
            played += await _show(service, settings, ins)
            if once:
                service.stop()
            else:
                _say_what_next(played, config)
    return played


def _lay_out(folder: Path, ins: StandIns, *, is_on_free_ports: bool) -> Path:
    """Copy the example into `folder`, with its secrets as files, so that every command works on it; return it."""
    folder.mkdir(parents=True)
    shutil.copytree(_EXAMPLE.parent / "rules", folder / "rules")
    (folder / "secrets").mkdir(mode=0o700)
    text = _EXAMPLE.read_text(encoding="utf-8")
    for name, value in _environ(ins).items():
        (folder / "secrets" / name).write_text(f"{value}\n", encoding="utf-8")
        text = text.replace(f"${{{name}}}", f"${{file:secrets/{name}}}")
    for port in (PUBLIC_PORT, ADMIN_PORT):
        is_taken = not _is_free(port)
        if is_taken and not is_on_free_ports:
            click.echo(f"Port {port} is taken; the demo takes another.", err=True)
        if is_taken or is_on_free_ports:
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{_free_port()}")
    config = folder / "hookline.yaml"
    config.write_text(text, encoding="utf-8")
    return config


def _say_what_next(played: list[Played], config: Path) -> None:
    unmatched = next((one.event_ids[0] for one in played if "" in one.matched), None)
    if unmatched:
        click.echo(f"Why did one not match?   hookline explain {unmatched} -c {config}")
    click.echo(f"Send one more:           hookline send agiled invoice.paid --set data.total=10 -c {config}")
    click.echo("Serving until Ctrl-C.", err=True)


async def _show(service: Service, settings: Settings, ins: StandIns) -> list[Played]:
    public, admin = service.addresses[0], service.addresses[-1]
    rules = service.live.current.rules
    token = admin_token_file(settings.state)
    click.echo(f"Hookline {VERSION} on http://{public}, dashboard http://{admin} (log in with what is in {token})")
    click.echo(
        f"examples/quickstart: {len(settings.sources)} sources, {len(rules.rules)} rules, "
        f"{len(settings.destinations)} destinations, store {settings.store}\n"
    )
    reader = service.store.reader()
    try:
        played = await play(Stage(settings=settings, url=f"http://{public}", ins=ins, reader=reader))
    finally:
        await reader.close()
    print_table(rows(played), ["sent", "answer", "rules that matched", "arrived", ""])
    is_right = all(one.is_right for one in played)
    click.echo(f"\n{styled(summary(played), 'good' if is_right else 'bad')}")
    return played


def _environ(ins: StandIns) -> Mapping[str, str]:
    """Return what the example asks for: fresh secrets, and where the stand-ins listen."""
    return {
        "AGILED_SECRET": secrets.token_hex(16),
        "AGAVE_TOKEN": secrets.token_hex(16),
        "SHOP_SECRET": secrets.token_hex(16),
        "PARTNER_SECRET": f"whsec_{b64encode(secrets.token_bytes(32)).decode()}",
        "ERP_SECRET": f"whsec_{b64encode(secrets.token_bytes(32)).decode()}",
        "ERP_URL": f"{ins.http}/erp",
        "SLACK_FINANCE": f"{ins.http}/slack/finance",
        "SLACK_SALES": f"{ins.http}/slack/sales",
        "SMTP_SERVER": ins.smtp,
    }


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
