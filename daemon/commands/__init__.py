"""The command line. Data goes to stdout, talk to stderr; each command is a module, imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path

import click

#: Command -> (module, function); loaded on use, so that `--help` answers at once.
_COMMANDS = {
    "init": "write a configuration, a rule and a plug-ins folder to start from",
    "run": "run the daemon",
    "check": "say everything that is wrong with configuration, rules and plug-ins",
    "test": "run the tests that stand beside the rules",
    "explain": "say of an event which rules match, and for each that does not, why",
    "diff": "say what the rules on disk would do differently to stored events",
    "rules": "list the rules with how often each matched, and those that never did",
    "send": "send a correctly signed sample to the running daemon",
    "subscribe": "have a source's vendor send events here, through its API",
    "sources": "say of each source what to paste where, what came last, and what was refused and why",
    "tail": "follow what happens in the running daemon",
    "events": "list events, or show one",
    "deliveries": "list deliveries, or show one with its attempts",
    "dead": "list what will not be tried again, with the reason and the next step",
    "replay": "make new deliveries from old ones",
    "cancel": "say no to deliveries that wait",
    "destinations": "say how each destination stands, show one, or test one",
    "hold": "let a destination's deliveries wait",
    "release": "let a held destination's deliveries go on",
    "nodes": "list the daemons that share the store",
    "reload": "let what is on disk go live, if all of it is well",
    "plugins": "list the actions there are, show the options of one, or write a new one",
    "backup": "make a verified copy of the store, while the daemon runs or not",
    "restore": "put a backup in the store's place",
    "recover": "save what can be read of a damaged store",
    "migrate-store": "move everything from a SQLite store into a PostgreSQL database",
    "vacuum": "write the store's file anew, with nothing left in it of what was removed",
    "token": "list who may ask the admin API, make a token, or drop one",
    "audit": "list what was done by hand, and what retention removed",
    "config": "show the effective configuration",
    "schema": "write JSON Schemas, for editors that complete and check rules and configuration",
    "doctor": "say what is wrong with this installation, and how to mend it",
    "service": "install, show or remove the systemd units that run the daemon",
    "demo": "run a bundled example with real signed samples",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        # hold and release are one thing and its opposite, and share a module.
        name = cmd_name.replace("-", "_")
        module = "hold" if name == "release" else name
        command = getattr(importlib.import_module(f"hookline.daemon.commands.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hookline", prog_name="hookline", message="%(prog)s %(version)s")
def cli() -> None:
    """Receive webhooks, decide by YAML rules what each one means, and see that it really happens.

    \b
    Start:   hookline init
             hookline run
    Look:    hookline events
             hookline explain EVT

    Exit codes: 0 fine, 1 findings or failure, 2 usage, 78 bad configuration.
    """  # noqa: D301 - click reads the backspace: keep these lines as they are


def main() -> None:
    """Run the command line."""
    # Scripts read our JSON: a pipe that is closed early is their business, and no traceback of ours.
    try:
        cli(prog_name="hookline")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="HOOKLINE_CONFIG",
    help="The configuration; else ./hookline.yaml, /etc/hookline/hookline.yaml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
