"""`hookline check`: everything that is wrong, before it goes live."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import click

from hookline.daemon.commands import config_option
from hookline.daemon.commands.output import EXIT_CONFIG, EXIT_FINDINGS, print_problems
from hookline.daemon.config.load import ConfigError, find_config, load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.delivery.local_runner import LocalRunner
from hookline.daemon.live_rules import check_rules
from hookline.daemon.rule_files import read_rule_texts
from hookline.daemon.secrets import Secrets
from hookline.rules import Problem, RulesError


@click.command()
@config_option
@click.option("--format", "form", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
def check(config_path: Path | None, *, form: str, strict: bool) -> None:
    """Say everything that is wrong with configuration, rules and plug-ins. Changes nothing, sends nothing.

    Exit code 78 for the configuration, 1 for rules and plug-ins, 0 if all is well.
    """
    try:
        path = find_config(config_path, os.environ)
        settings = load_settings(path, environ=os.environ, offline=True)
    except ConfigError as error:
        _report(error.problems, error.sources, form, settings=None)
        sys.exit(EXIT_CONFIG)
    problems, texts = anyio.run(_check, settings)
    _report(problems, texts, form, settings=settings)
    if any(problem.severity == "error" or strict for problem in problems):
        sys.exit(EXIT_FINDINGS)


async def _check(settings: Settings) -> tuple[Sequence[Problem], Mapping[str, str]]:
    secrets = Secrets(os.environ, folder=settings.path.parent)
    runner = LocalRunner(settings, secrets, is_offline=True)
    try:
        found = [*settings.warnings, *(await runner.inspect()).problems]
        try:
            checked = await check_rules(settings, secrets, runner, is_offline=True, is_start=True)
        except RulesError as error:
            found += error.problems
        else:
            found += checked.warnings
    finally:
        await runner.close()
    try:
        texts = read_rule_texts(settings.rules, relative_to=settings.path.parent)
    except RulesError:
        texts = {}
    # A destination's mistake shows in the configuration and in each rule that uses it: once is enough.
    once = {str(replace(problem, place=None)): problem for problem in reversed(found)}
    return list(reversed(once.values())), texts | {str(settings.path): settings.text}


def _report(problems: Sequence[Problem], texts: Mapping[str, str], form: str, settings: Settings | None) -> None:
    if form == "json":
        click.echo(json.dumps([_as_json(problem) for problem in problems], indent=2, ensure_ascii=False))
        return
    if form == "github":
        for problem in problems:
            click.echo(_as_github(problem))
        return
    print_problems(problems, texts, stream=sys.stdout)
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    if problems:
        said = ", ".join(_count(number, word) for number, word in ((errors, "error"), (warnings, "warning")) if number)
        click.echo(f"{said}. Nothing was changed; a running daemon keeps its rules.", err=True)
    elif settings is not None:
        click.echo(
            f"{settings.path}: fine. {_count(len(settings.sources), 'source')}, "
            f"{_count(len(settings.destinations), 'destination')}.",
            err=True,
        )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _as_json(problem: Problem) -> dict[str, object]:
    place = problem.place
    return {
        "file": place and place.file,
        "line": place and place.line,
        "column": place and place.column,
        "severity": problem.severity,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }


def _as_github(problem: Problem) -> str:
    # GitHub's workflow commands: %, CR and LF are escaped in the message.
    text = f"{problem.path}: {problem.message}" if problem.path else problem.message
    text = f"{text}; {problem.hint}" if problem.hint else text
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    place = problem.place
    where = f" file={place.file},line={place.line},col={place.column}" if place else ""
    return f"::{problem.severity}{where}::{text}"
