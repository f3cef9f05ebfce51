"""`hookline run`: the daemon, in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from hookline.daemon.commands import config_option
from hookline.daemon.commands.opening import open_settings
from hookline.daemon.commands.output import EXIT_CONFIG, EXIT_FINDINGS, fail, print_problems
from hookline.daemon.http.listening import ListenError
from hookline.daemon.log import configure_logging
from hookline.daemon.rule_files import read_rule_texts
from hookline.daemon.store.port import StoreError
from hookline.rules import RulesError


@click.command()
@config_option
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info", show_default=True)
def run(config_path: Path | None, log_level: str) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. SIGHUP reloads the rules.

    Logs go to stderr. Exit code 78 for a bad configuration, or bad rules where none were good before.
    """
    from hookline.daemon.process import run_service
    from hookline.daemon.service import Service

    settings = open_settings(config_path)
    configure_logging(level=log_level)
    try:
        run_service(Service(settings, environ=os.environ))
    except RulesError as error:
        try:
            texts = read_rule_texts(settings.rules, relative_to=settings.path.parent)
        except RulesError:
            texts = {}
        print_problems(error.problems, texts, stream=sys.stderr)
        fail("The rules cannot go live, and none were good before. All of it: hookline check", EXIT_CONFIG)
    except StoreError as error:
        fail(f"The store cannot be opened: {error}", EXIT_FINDINGS)
    except ListenError as error:
        fail(f"{str(error)[0].upper()}{str(error)[1:]}.", EXIT_FINDINGS)
