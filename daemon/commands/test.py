"""`hookline test`: run the tests that stand beside the rules."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import click

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, open_settings
from hookline.daemon.commands.output import (
    EXIT_FINDINGS,
    EXIT_USAGE,
    fail,
    print_json,
    print_problems,
    styled,
)
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.daemon.rehearsal.preview import Previewer
from hookline.daemon.reload.live_rules import check_rules
from hookline.daemon.rule_files import is_rule_test_file, rule_test_files
from hookline.daemon.rule_tests.coverage import Coverage
from hookline.daemon.rule_tests.junit import junit_xml
from hookline.daemon.rule_tests.names import names_of
from hookline.daemon.rule_tests.report import coverage_lines, coverage_sentence, result_lines
from hookline.daemon.rule_tests.result import FileResult, Result
from hookline.daemon.rule_tests.run import RuleTests
from hookline.daemon.rule_tests.update import update_file
from hookline.daemon.secrets import Secrets
from hookline.rules import RulesError, RuleSet
from hookline.rules.suggestion import suggest

_MARKS = {
    "passed": ("ok   ", "good"),
    "failed": ("FAIL ", "bad"),
    "error": ("ERROR", "bad"),
    "updated": ("new  ", "warn"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What was asked for on the command line."""

    only_rule: str | None
    is_update: bool
    has_coverage: bool


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@config_option
@json_option
@click.option("--rule", help="Only tests whose event this rule is about.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML into this file too.")
@click.option("--update", is_flag=True, help="Write what the rules do now into tests that fail.")
@click.option("--coverage", is_flag=True, help="Name rules that no test met, and conditions never true or never false.")
def test(
    paths: tuple[Path, ...],
    config_path: Path | None,
    rule: str | None,
    junit: Path | None,
    *,
    as_json: bool,
    update: bool,
    coverage: bool,
) -> None:
    """Run rule tests, *.test.yaml beside the rules or in PATH: what would the rules do with an event? Sends nothing.

    Needs no secrets and no daemon. Exit code 0 if all passed, 1 if not or if there are none, 78 for a configuration
    that is wrong. docs/testing-rules.md says what a test looks like.
    """
    settings = open_settings(config_path, offline=True)
    files = _files(paths) if paths else rule_test_files(settings.rules)
    wanted = _Wanted(only_rule=rule, is_update=update, has_coverage=coverage)
    loaded = _Loaded()
    try:
        anyio.run(_load, settings, loaded)
    except RulesError as error:
        print_problems(error.problems, {}, stream=sys.stderr)
        fail(f"The rules cannot be tested while they are wrong: {again('check', config_path)}")
    results, seen = _run(settings, loaded, files, wanted)
    is_whole = not paths and rule is None
    if junit is not None:
        _write_junit(junit, results)
    if as_json:
        _print_json(results, seen if coverage or is_whole else None)
    else:
        _print(results, seen, wanted, is_whole=is_whole)
    ran = [result for file in results for result in file.results]
    if not ran and not any(file.errors for file in results):
        about = f' about events of "{rule}"' if rule is not None else ""
        fail(f"No tests{about}. Write some beside the rules, as in rules/NAME.test.yaml: docs/testing-rules.md")
    if any(file.errors for file in results) or any(one.status in ("failed", "error") for one in ran):
        sys.exit(EXIT_FINDINGS)


def _files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are named, those of folders, and for a file of rules the tests beside it."""
    found: dict[Path, None] = {}
    for path in paths:
        beside = [path.with_name(f"{path.stem}.test{suffix}") for suffix in (".yaml", ".yml")]
        if path.is_dir():
            found.update(dict.fromkeys(rule_test_files([path])))
        elif path.is_file() and is_rule_test_file(path):
            found[path] = None
        elif path.is_file() and any(one.is_file() for one in beside):
            found.update((one, None) for one in beside if one.is_file())
        else:
            why = "is no file of tests: their names end in .test.yaml" if path.exists() else "does not exist"
            fail(f"{path} {why}", EXIT_USAGE)
    return list(found)


class _Loaded:
    """The rules, and what renders their steps."""

    rules: RuleSet
    previewer: Previewer


async def _load(settings: Settings, loaded: _Loaded) -> None:
    # Not returned: asyncio writes a task's result out with `repr` when it ends, which takes long for many rules.
    secrets = Secrets(os.environ, folder=settings.path.parent)
    runner = LocalRunner(settings, secrets, is_offline=True)
    try:
        loaded.rules = (await check_rules(settings, secrets, runner, is_offline=True, is_start=True)).rules
        loaded.previewer = Previewer(settings, secrets, runner)
    finally:
        await runner.close()


def _run(
    settings: Settings, loaded: _Loaded, files: Sequence[Path], wanted: _Wanted
) -> tuple[list[FileResult], Coverage]:
    rules = loaded.rules
    names = names_of(settings, rules)
    if wanted.only_rule is not None and wanted.only_rule not in names.rules:
        hint = suggest(wanted.only_rule, names.rules, what="rules")
        fail(f'No rule "{wanted.only_rule}"{f"; {hint}" if hint else ""}', EXIT_USAGE)
    seen = Coverage(rules, has_conditions=wanted.has_coverage)
    tests = RuleTests(settings, rules, loaded.previewer, only_rule=wanted.only_rule, coverage=seen)
    results = [tests.run_file(path, names) for path in files]
    return [_updated(file) for file in results] if wanted.is_update else results, seen


def _updated(file: FileResult) -> FileResult:
    try:
        return update_file(file)
    except ValueError as error:
        click.echo(str(error), err=True)
        return file


def _print(files: Sequence[FileResult], seen: Coverage, wanted: _Wanted, *, is_whole: bool) -> None:
    for file in files:
        if file.problems:
            texts = {file.name: file.data.decode("utf-8", "replace")}
            print_problems(file.problems, texts, stream=sys.stdout)
        if file.errors:
            count = len(file.errors)
            click.echo(
                f"{count} mistake{'s' * (count > 1)} in {printable(file.name)}: none of its tests was run.", err=True
            )
        if file.results:
            click.echo(printable(file.name))
        for result in file.results:
            _print_result(result)
    if wanted.has_coverage:
        click.echo("coverage")
        for line in coverage_lines(seen):
            click.echo(f"  {line}")
    results = [result for file in files for result in file.results]
    if results:
        tail = f" {coverage_sentence(seen, has_names=not wanted.has_coverage)}." if is_whole else ""
        click.echo(f"{_sentence(results)}{tail}")


def _print_result(result: Result) -> None:
    mark, style = _MARKS[result.status]
    click.echo(f"  {styled(mark, style)} {printable(result.test.name)}")
    if result.status != "passed":
        for line in result_lines(result):
            click.echo(f"          {line}")


def _sentence(results: Sequence[Result]) -> str:
    bad = sum(result.status in ("failed", "error") for result in results)
    new = sum(result.status == "updated" for result in results)
    said = f"{bad} of {len(results)} failed." if bad else f"{len(results) - new} passed."
    return (
        f"{said} {new} now expect{'s' * (new == 1)} what the rules do: read them before you keep them." if new else said
    )


def _write_junit(path: Path, files: Sequence[FileResult]) -> None:
    try:
        path.write_bytes(junit_xml(files))
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")


def _print_json(files: Sequence[FileResult], seen: Coverage | None) -> None:
    results = [result for file in files for result in file.results]
    print_json(
        {
            "tests": [result.to_json() for result in results],
            "problems": [str(problem) for file in files for problem in file.problems],
            "passed": sum(result.status == "passed" for result in results),
            "failed": sum(result.status in ("failed", "error") for result in results),
            "updated": sum(result.status == "updated" for result in results),
            "coverage": None if seen is None else seen.to_json(),
        }
    )
