"""`hookline events save`: a stored event as a fixture and a test that passes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.commands.opening import again, reading
from hookline.daemon.commands.output import EXIT_FINDINGS, EXIT_USAGE, fail, print_problems
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.daemon.regular_file import read_regular
from hookline.daemon.rehearsal.event_fixture import Fixture, FixtureMaker, Redaction, body_text
from hookline.daemon.rehearsal.fixture_request import CannotSaveError
from hookline.daemon.rehearsal.preview import Previewer
from hookline.daemon.rehearsal.sample_events import SampleReader
from hookline.daemon.rehearsal.saved_test import TESTS_FILE, fixture_file, lines_of_test, name_of_test, with_test
from hookline.daemon.reload.live_rules import check_rules
from hookline.daemon.rule_files import MAX_FILE_BYTES
from hookline.daemon.rule_tests.coverage import Coverage
from hookline.daemon.rule_tests.names import names_of
from hookline.daemon.rule_tests.run import RuleTests
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.stored import DAMAGED, StoredEvent
from hookline.rules import EventId, RulesError, RuleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for."""

    event_id: EventId
    #: Where to write; None: the folder of the rules.
    folder: Path | None
    #: Of the test; None: one is made up.
    name: str | None
    redaction: Redaction
    #: Whether what is there already gives way.
    is_forced: bool


async def save_event(settings: Settings, wanted: Wanted, config_path: Path | None) -> None:
    """Write the fixture and the test, run the test, and say what was redacted."""
    async with reading(settings) as reader:
        stored = await reader.event(wanted.event_id)
    if stored is None:
        fail(f"No event {wanted.event_id} in {settings.store}.")
    if stored.is_damaged:
        fail(f"{wanted.event_id}: {DAMAGED}.")
    secrets = Secrets(os.environ, folder=settings.path.parent)
    runner = LocalRunner(settings, secrets, is_offline=True)
    try:
        rules = (await check_rules(settings, secrets, runner, is_offline=True, is_start=True)).rules
        previewer = Previewer(settings, secrets, runner)
        fixture = FixtureMaker(SampleReader(settings), rules, previewer).make(stored, wanted.redaction)
        paths = _Paths.of(settings, stored, wanted)
        paths.write(stored, fixture, is_forced=wanted.is_forced)
        _run(settings, rules, previewer, paths)
    except RulesError as error:
        print_problems(error.problems, {}, stream=sys.stderr)
        fail("The rules on disk are bad: hookline check", EXIT_FINDINGS)
    except CannotSaveError as error:
        fail(printable(str(error)), EXIT_USAGE if wanted.redaction.redact or wanted.redaction.keep else EXIT_FINDINGS)
    finally:
        await runner.close()
    click.echo(str(paths.fixture))
    click.echo(str(paths.tests))
    _tell(fixture, again(f"test {paths.tests}", config_path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paths:
    """Where it is written."""

    fixture: Path
    tests: Path
    #: Of the test.
    name: str
    #: The file of tests before, None if there was none.
    before: bytes | None

    @classmethod
    def of(cls, settings: Settings, stored: StoredEvent, wanted: Wanted) -> _Paths:
        first = settings.rules[0]
        folder = wanted.folder or (first.parent if first.is_file() else first)
        tests = folder / TESTS_FILE
        try:
            before = read_regular(tests, limit=MAX_FILE_BYTES) if tests.exists() else None
        except ValueError as error:
            fail(str(error))
        name = wanted.name or name_of_test(stored.event)
        return cls(fixture=folder / fixture_file(stored.event), tests=tests, name=name, before=before)

    def write(self, stored: StoredEvent, fixture: Fixture, *, is_forced: bool) -> None:
        """Write both files. Raises `CannotSaveError`."""
        if self.fixture.exists() and not is_forced:
            raise CannotSaveError(f"{self.fixture} is there already: --force replaces it.")
        try:
            text = (self.before or b"").decode()
        except UnicodeDecodeError:
            raise CannotSaveError(f"{self.tests} is not UTF-8: save it so, or save elsewhere with --to.") from None
        lines = lines_of_test(self.name, stored.event.source, fixture_file(stored.event), fixture)
        text = with_test(text, self.name, lines, replaces=is_forced)
        try:
            self.fixture.parent.mkdir(parents=True, exist_ok=True)
            self.fixture.write_bytes(body_text(fixture.body))
            _replace(self.tests, text.encode())
        except OSError as error:
            raise CannotSaveError(f"{error.filename} cannot be written: {error.strerror}.") from error

    def undo(self, why: str) -> NoReturn:
        """Take back what was written, and fail."""
        if self.before is None:
            self.tests.unlink()
        else:
            _replace(self.tests, self.before)
        fail(f"The test would not pass, so {self.tests} was left as it was: {why}")


def _run(settings: Settings, rules: RuleSet, previewer: Previewer, paths: _Paths) -> None:
    """Run the test that was written, as `hookline test` would."""
    names = names_of(settings, rules)
    tests = RuleTests(settings, rules, previewer, only_rule=None, coverage=Coverage(rules, has_conditions=False))
    ran = tests.run_file(paths.tests, names)
    if ran.problems:
        paths.undo(str(ran.problems[0]))
    (result,) = [one for one in ran.results if one.test.name == paths.name]
    if result.status != "passed":
        paths.undo(str(result.problem or "the rules make something else of it"))


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    if path.exists():
        temporary.chmod(path.stat().st_mode & 0o7777)
    temporary.replace(path)


def _tell(fixture: Fixture, run_it: str) -> None:
    """Say on stderr what was made of the event: places, never values."""
    for what, paths in (
        ("redacted", fixture.redacted),
        ("kept, as other rules would match without it", fixture.kept),
    ):
        if paths:
            click.echo(f"{what}:", err=True)
            for path in paths:
                click.echo(f"  {printable(path)}", err=True)
    for rule in fixture.changed:
        click.echo(f'With what --redact names replaced, "{printable(rule)}" has another answer.', err=True)
    for step in fixture.steps or ():
        if step.problem is not None:
            click.echo(
                f"{step.destination} would fail, so only rules: is compared: {printable(step.problem)}", err=True
            )
    matched = ", ".join(map(printable, fixture.rules)) or "no rule"
    if not fixture.redacted:
        click.echo("Nothing was redacted: look at it before you commit it.", err=True)
    click.echo(f"It passes: {matched}. Run it again: {run_it}", err=True)
