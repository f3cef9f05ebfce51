"""`hookline run`: the daemon, in the foreground."""

from __future__ import annotations

import faulthandler
import os
import sys
from functools import partial
from pathlib import Path

import click

from hookline.daemon.commands import config_option
from hookline.daemon.commands.opening import open_settings
from hookline.daemon.commands.output import EXIT_CONFIG, EXIT_FINDINGS, fail, print_problems
from hookline.daemon.config.settings import Settings
from hookline.daemon.http.listening import ListenError
from hookline.daemon.log import configure_logging, log_faults
from hookline.daemon.rule_files import read_rule_texts
from hookline.daemon.store.port import NEEDS_A_PERSON, StoreError
from hookline.rules import RulesError


@click.command()
@config_option
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), help="Instead of what `log:` says.")
def run(config_path: Path | None, log_level: str | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. SIGHUP reloads the rules.

    Logs go to stderr. Exit code 0 when it was told to stop; 78 for a bad configuration, bad rules where none were good
    before, or a store that somebody has to see to; 1 for any other failure.
    """
    from hookline.daemon.process import run_service
    from hookline.daemon.service import Service
    from hookline.daemon.signals import Signals
    from hookline.daemon.systemd.manager import take_manager

    signals = Signals()
    signals.hold()
    # The service manager's watchdog ends a process that hangs with SIGABRT: then it is known where.
    faulthandler.enable()
    settings = open_settings(config_path)
    level = log_level or settings.log.level
    configure_logging(level=level, form=settings.log.format, is_pinned=log_level is not None)
    log_faults()
    try:
        manager = take_manager(os.environ, pid=os.getpid())
    except ListenError as error:
        fail(_sentence(error), EXIT_FINDINGS)
    try:
        service = Service(settings, environ=os.environ, manager=manager)
    except StoreError as error:
        sys.exit(_say(settings, error))
    run_service(service, signals, say=partial(_say, settings))


def _say(settings: Settings, error: BaseException) -> int:
    """Say what ended the daemon; return the exit code."""
    match error:
        case RulesError():
            try:
                texts = read_rule_texts(settings.rules, relative_to=settings.path.parent)
            except RulesError:
                texts = {}
            print_problems(error.problems, texts, stream=sys.stderr)
            click.echo("The rules cannot go live, and none were good before. All of it: hookline check", err=True)
            return EXIT_CONFIG
        case StoreError():
            click.echo(f"The store cannot be used: {error}", err=True)
            return EXIT_CONFIG if error.kind in NEEDS_A_PERSON else EXIT_FINDINGS
        case ListenError():
            click.echo(_sentence(error), err=True)
        case _:
            # A fault of ours: its traceback.
            sys.excepthook(type(error), error, error.__traceback__)
    return EXIT_FINDINGS


def _sentence(error: ListenError) -> str:
    return f"{str(error)[0].upper()}{str(error)[1:]}."
