"""Run rule tests in this process: read the event, ask the rules, render what they ask for, compare."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hookline.daemon.config.settings import Settings
from hookline.daemon.regular_file import read_regular
from hookline.daemon.rehearsal.preview import Previewer
from hookline.daemon.rehearsal.sample_events import DEFAULT_MOMENT, Given, SampleEvent, SampleReader
from hookline.daemon.rule_files import MAX_FILE_BYTES, shown_name
from hookline.daemon.rule_tests.coverage import Coverage
from hookline.daemon.rule_tests.result import FileResult, Result, WouldSend, said_by
from hookline.daemon.sources.declared import UNREADABLE
from hookline.rules import Event, Json, Match, Place, Problem, RuleSet, Step
from hookline.rules.document import Findings
from hookline.rules.rule_test import EventFile, Payload, RuleTest, SampleName, TestNames
from hookline.rules.rule_test_compare import Compared, compare
from hookline.rules.rule_test_hints import unseen_changes, why_not
from hookline.rules.rule_test_reader import read_tests

#: A body may be this large.
MAX_BODY_BYTES = 16 << 20
# Of a destination that got nothing, so many rules are asked why.
_MOST_REASONS = 3


class RuleTests:
    """Runs the tests of one rule set."""

    def __init__(
        self, settings: Settings, rules: RuleSet, previewer: Previewer, *, only_rule: str | None, coverage: Coverage
    ) -> None:
        """`only_rule`: leave out tests whose events this rule is not about."""
        self._settings = settings
        self._rules = rules
        self._previewer = previewer
        self._coverage = coverage
        self._reader = SampleReader(settings)
        self._bodies: dict[Path, bytes] = {}
        self._by_place = {rule.place: rule for rule in (*rules.rules, *rules.fallback)}
        self._only = next((rule for rule in rules.rules if rule.name == only_rule), None)

    def run_file(self, path: Path, names: TestNames) -> FileResult:
        """Run the tests of a file; if something is wrong in it, none."""
        name = shown_name(path, self._settings.path.parent)
        findings = Findings()
        data, text = b"", ""
        try:
            data = read_regular(path, limit=MAX_FILE_BYTES)
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            findings.problems.append(_problem(Place(name, 1), f"is not UTF-8 (byte {error.start})", "save it as UTF-8"))
        except ValueError as error:
            findings.problems.append(_problem(Place(name, 1), str(error)))
        tests = () if findings.has_errors else read_tests(text, name, names, findings)
        if findings.has_errors:
            tests = ()
        results = [self._run(test, path.parent) for test in tests]
        return FileResult(
            path=path,
            name=name,
            data=data,
            problems=tuple(sorted(findings.problems, key=_position)),
            results=tuple(result for result in results if result is not None),
        )

    def _run(self, test: RuleTest, folder: Path) -> Result | None:
        started = time.perf_counter()
        try:
            events = [one.event for one in _checked(self._events(test, folder), test)]
        except ValueError as error:
            return Result(test=test, status="error", problem=_problem(test.body.place, str(error)))
        if self._only is not None and not any(self._only.admits(event.source, event.type) for event in events):
            return None
        done: list[WouldSend] = []
        matched: dict[str, None] = {}
        for event in events:
            routing = self._rules.match(event)
            self._coverage.saw(event, routing)
            matched.update((match.rule, None) for match in routing.matches if match.rule)
            done += [self._would_send(event, match, step) for match in routing.matches for step in match.steps]
        result = Result(
            test=test,
            status="passed",
            steps=None if test.expect is None else compare(test.expect, done),
            done=tuple(done),
            matched=tuple(matched),
        )
        if result.rules_differ or (result.steps is not None and not result.steps.is_same):
            result = replace(result, status="failed", hints=self._hints(result, events))
        return replace(result, duration=time.perf_counter() - started)

    def _events(self, test: RuleTest, folder: Path) -> tuple[SampleEvent, ...]:
        """Return the events of a test. Raises `ValueError` with a message for people."""
        given = Given(
            received_at=test.at or DEFAULT_MOMENT,
            type=test.type,
            tenant=test.tenant,
            sender_id=test.sender_id,
            client_ip=test.client_ip or Given().client_ip,
            headers=test.headers,
            query=test.query,
            content_type=_content_type(test),
            changes=test.changes,
        )
        match test.body:
            case SampleName(name=name):
                return self._reader.read_sample(test.source, name, given)
            case Payload(value=value):
                return self._reader.read(test.source, _json(value), given)
            case EventFile(path=path):
                return self._reader.read(test.source, self._body(folder / path), given)

    def _body(self, path: Path) -> bytes:
        if path not in self._bodies:
            self._bodies[path] = read_regular(path, limit=MAX_BODY_BYTES)
        return self._bodies[path]

    def _would_send(self, event: Event, match: Match, step: Step) -> WouldSend:
        rendered = self._previewer.render_now(event, step)
        return WouldSend(
            name=rendered.destination,
            options=rendered.options,
            problem=rendered.problem,
            is_dry_run=rendered.dry_run,
            rule=match.rule,
            place=match.place,
            written=step.options,
            event=event,
        )

    def _hints(self, result: Result, events: list[Event]) -> dict[str, tuple[str, ...]]:
        """Say why a failed test may have failed, by the name of the destination or rule that it is about."""
        compared: Compared[WouldSend] = result.steps or Compared((), (), (), ())
        hints: dict[str, tuple[str, ...]] = {}
        for name in dict.fromkeys(step.name for step in compared.missing):
            labels = {rule.name for rule in self._rules.rules if any(step.label == name for step in rule.steps)}
            hints[f"no {name}"] = tuple(self._why_not(labels - set(result.matched), events))
        if result.rules_differ:
            for name in set(result.test.rules or ()) - set(result.matched):
                hints[f"not {name}"] = tuple(self._why_not({name}, events))
        for one in compared.surplus:
            unseen = unseen_changes(self._by_place[one.place], result.test.changes, one.event)
            # A fallback is asked because of what others did not see.
            if unseen and one.rule:
                hints[str(one.place)] = (f"no condition looks at {', '.join(unseen[:_MOST_REASONS])}",)
        return hints

    def _why_not(self, names: set[str], events: list[Event]) -> Iterator[str]:
        """Say of rules why none of them matched; first of those that are about such an event at all."""
        # A rule set of these and of those that may have come before them says the same as the whole, and sooner.
        asked = tuple(rule for rule in self._rules.rules if rule.name in names or rule.is_last)
        told: dict[str, bool] = {}
        for event in events[:_MOST_REASONS]:
            for rule in replace(self._rules, rules=asked, fallback=()).explain(event).rules:
                if rule.rule in names:
                    is_about = self._by_place[rule.place].admits(event.source, event.type)
                    told.setdefault(f"{said_by(rule.rule, rule.place)} says no: {why_not(rule)}", is_about)
        best = [line for line, is_about in told.items() if is_about] or list(told)
        yield from best[:_MOST_REASONS]


def _checked(read: tuple[SampleEvent, ...], test: RuleTest) -> tuple[SampleEvent, ...]:
    """Raise `ValueError` for what would go nowhere because it is no event, and so make a test pass for nothing."""
    if not read:
        raise ValueError("the body holds no event")
    for one in read:
        if one.why_unreadable is not None and test.type != UNREADABLE:
            hint = f"mend it, or write type: {UNREADABLE} if that is what is tested"
            raise ValueError(f"the event cannot be read: {one.why_unreadable}; {hint}")
    return read


def _position(problem: Problem) -> tuple[int, int]:
    return (problem.place.line, problem.place.column) if problem.place else (0, 0)


def _content_type(test: RuleTest) -> str | None:
    """Return the content type of a body that JSON and its first character do not tell."""
    if any(name.lower() == "content-type" for name, _ in test.headers):
        return None
    is_form = isinstance(test.body, EventFile) and test.body.path.endswith((".form", ".urlencoded"))
    return "application/x-www-form-urlencoded" if is_form else None


def _json(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _problem(place: Place, message: str, hint: str | None = None) -> Problem:
    return Problem(place=place, path="", message=message, hint=hint)
