"""What came of rule tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hookline.rules import Event, Json, Place, Problem
from hookline.rules.problem import one_line
from hookline.rules.rule_test import ExpectedStep, RuleTest
from hookline.rules.rule_test_compare import Compared

#: `error`: it could not be run.
Status = Literal["passed", "failed", "error", "updated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WouldSend:
    """A delivery that the rules ask for."""

    #: Of the destination, or the action in place.
    name: str
    #: Rendered, secrets masked.
    options: Mapping[str, Json]
    #: Why it would fail; None if it would not.
    problem: str | None
    is_dry_run: bool
    #: The rule; "" for a fallback.
    rule: str
    #: Where the rule stands.
    place: Place
    #: The options that the rule writes, unrendered.
    written: Mapping[str, Json]
    event: Event

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "options": dict(self.options),
            "problem": self.problem,
            "dry_run": self.is_dry_run,
            "rule": self.rule,
            "file": self.place.file,
            "line": self.place.line,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one test."""

    test: RuleTest
    status: Status
    #: Of an `error`: what is wrong, and where.
    problem: Problem | None = None
    #: How deliveries differ from `expect`; None if they were not compared.
    steps: Compared[WouldSend] | None = None
    #: All that the rules ask for.
    done: tuple[WouldSend, ...] = ()
    #: Names of all rules that matched, fallbacks apart, in order.
    matched: tuple[str, ...] = ()
    #: What may explain the failure, by a name: of a destination that got nothing, or of a rule.
    hints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Seconds.
    duration: float = 0.0

    @property
    def rules_differ(self) -> bool:
        """Whether other rules matched than those that `rules` names."""
        return self.test.rules is not None and set(self.test.rules) != set(self.matched)

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON."""
        said: dict[str, Json] = {
            "file": self.test.place.file,
            "line": self.test.place.line,
            "name": self.test.name,
            "status": self.status,
            "matched": list(self.matched),
        }
        if self.problem is not None:
            said["problem"] = str(self.problem)
        if self.status in ("failed", "updated"):
            expect, rules = self.test.expect, self.test.rules
            said["expected"] = {
                "expect": None if expect is None else [_step_json(step) for step in expect],
                "rules": None if rules is None else list(rules),
            }
            said["got"] = [one.to_json() for one in self.done]
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What came of one file's tests."""

    path: Path
    #: As messages call it.
    name: str
    #: As it was read.
    data: bytes
    #: What is wrong in it, and what is probably not meant.
    problems: tuple[Problem, ...]
    results: tuple[Result, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What keeps its tests from being run; none are if there is any."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def _step_json(step: ExpectedStep) -> Json:
    return {step.name: dict(step.options)} if step.options else step.name


def said_by(rule: str, place: Place) -> str:
    """Name a rule with its place."""
    return f"{f'{chr(34)}{one_line(rule)}{chr(34)}' if rule else 'the fallback'} ({place.file}:{place.line})"
