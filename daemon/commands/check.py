"""`hookline check`: everything that is wrong, before it goes live."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import click

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.commands import config_option
from hookline.daemon.commands.output import EXIT_CONFIG, EXIT_FINDINGS, print_problems
from hookline.daemon.config.load import ConfigError, find_config, load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.rehearsal.check_samples import check_samples
from hookline.daemon.rehearsal.check_tests import read_test_files
from hookline.daemon.rehearsal.known_samples import KnownSamples
from hookline.daemon.rehearsal.preview import Previewer
from hookline.daemon.reload.live_rules import check_rules
from hookline.daemon.rule_files import read_rule_texts
from hookline.daemon.secrets import Secrets
from hookline.rules import Problem, RulesError


@click.command()
@config_option
@click.option("--format", "form", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
def check(config_path: Path | None, *, form: str, strict: bool) -> None:
    """Say everything that is wrong with configuration, rules, rule tests and plug-ins. Changes nothing, sends nothing.

    Exit code 78 for the configuration, 1 for the rest, 0 if all is well. A note is worth a look, and never counts.
    """
    try:
        path = find_config(config_path, os.environ)
        settings = load_settings(path, environ=os.environ, offline=True)
    except ConfigError as error:
        _report(error.problems, error.sources, form, settings=None)
        sys.exit(EXIT_CONFIG)
    problems, texts = anyio.run(_check, settings)
    _report(problems, texts, form, settings=settings)
    if any(problem.severity == "error" or (strict and problem.severity == "warning") for problem in problems):
        sys.exit(EXIT_FINDINGS)


async def _check(settings: Settings) -> tuple[Sequence[Problem], Mapping[str, str]]:
    secrets = Secrets(os.environ, folder=settings.path.parent)
    runner = LocalRunner(settings, secrets, is_offline=True)
    texts: dict[str, str] = {}
    try:
        found = [*settings.warnings, *(await runner.inspect()).problems]
        try:
            checked = await check_rules(settings, secrets, runner, is_offline=True, is_start=True)
        except RulesError as error:
            found += error.problems
        else:
            found += checked.warnings
            tests = read_test_files(settings, checked.rules)
            samples = KnownSamples(settings)
            samples.read_own(tests.tests)
            found += [*tests.problems, *samples.problems]
            found += check_samples(checked.rules, samples, Previewer(settings, secrets, runner))
            texts |= tests.texts
    finally:
        await runner.close()
    with suppress(RulesError):  # It is among what was found.
        texts |= read_rule_texts(settings.rules, relative_to=settings.path.parent)
    once = {_said(problem): problem for problem in reversed(found)}
    return list(reversed(once.values())), texts | {str(settings.path): settings.text}


def _said(problem: Problem) -> str:
    """Return what is equal for what need be said but once."""
    # A destination's mistake shows in the configuration and in each rule that uses it.
    is_of_destination = problem.path.startswith("destinations.")
    return str(replace(problem, place=None) if is_of_destination else problem)


def _report(problems: Sequence[Problem], texts: Mapping[str, str], form: str, settings: Settings | None) -> None:
    if form == "json":
        click.echo(json.dumps([_as_json(problem) for problem in problems], indent=2, ensure_ascii=False))
        return
    if form == "github":
        for problem in problems:
            click.echo(_as_github(problem))
        return
    print_problems(problems, texts, stream=sys.stdout)
    counts = [(sum(problem.severity == word for problem in problems), word) for word in ("error", "warning", "note")]
    if problems:
        said = ", ".join(_count(number, word) for number, word in counts if number)
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
    level = "notice" if problem.severity == "note" else problem.severity
    return f"::{level}{where}::{text}"
