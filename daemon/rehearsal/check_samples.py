"""Holds rules against samples: paths and templates that name what no sample has, values of another kind.

What is found is a note, as the samples that come with Hookline are made up in parts. It is a warning where every kind
of event has a sample of the user's, and the mistake shows: a name that differs by one slip, a value of another type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any as Anything
from typing import Final, Literal

from hookline.daemon.rehearsal.known_samples import KnownSamples, RuleSamples
from hookline.daemon.rehearsal.preview import Previewer
from hookline.rules import Event, Problem, RuleSet, Step
from hookline.rules.condition import All, Any, Condition, Named, Not, Test
from hookline.rules.evaluate import evaluate
from hookline.rules.event import Json
from hookline.rules.explanation import near_miss
from hookline.rules.path import Path
from hookline.rules.path_grammar import Name
from hookline.rules.rule import Rule
from hookline.rules.subject import Subject

# As templates say it; `path_progress` and `sandbox` suggest names that are much less alike, too.
_MISSING: Final = re.compile(r'has no "([^"]+)".*did you mean "([^"]+)"\?')
_SHORTEST_NAME: Final = 4
# Nobody knows what else may stand in what is empty.
_UNTOLD: Final = (" is null, so", "(it has 0)", "(it is empty)")
_MOST_EVENTS: Final = 20
_MOST_KINDS: Final = 3


def check_samples(rules: RuleSet, samples: KnownSamples, previewer: Previewer) -> list[Problem]:
    """Return what samples show to be wrong with rules; of rules that may see what there is no sample of, nothing."""
    found: list[Problem] = []
    for rule in (*rules.rules, *rules.fallback):
        known = samples.of_rule(rule) if rule.is_enabled else None
        if known is not None:
            found += _RuleCheck(rule, known).problems(previewer)
    # Named conditions and defaults speak in several rules.
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a condition is asked of."""

    subjects: Sequence[Subject]
    #: Whether it must hold for the rule to match; else another may hold in its place.
    is_sure: bool = True
    #: Where its paths begin, if not at the payload: ` in $.data.lines[*]`.
    within: str = ""


@dataclass(frozen=True, slots=True)
class _RuleCheck:
    """A rule, beside samples of all that it may see."""

    rule: Rule
    samples: RuleSamples

    def problems(self, previewer: Previewer) -> Iterator[Problem]:
        subjects = [Subject(event) for event in self.samples.events[:_MOST_EVENTS]]
        for condition in self.rule.conditions:
            yield from self._of_condition(condition, _Asked(subjects))
        matching = [
            subject.event
            for subject in subjects
            if all(evaluate(condition, subject) for condition in self.rule.conditions)
        ]
        for step in self.rule.steps:
            yield from self._of_step(step, matching, previewer)

    def _of_condition(self, condition: Condition, asked: _Asked) -> Iterator[Problem]:
        match condition:
            case Test():
                yield from self._of_test(condition, asked)
            case Named(condition=inner):
                yield from self._of_condition(inner, asked)
            case Not(test=inner):
                yield from self._of_condition(inner, replace(asked, is_sure=False))
            case All(tests=tests):
                for test in tests:
                    yield from self._of_condition(test, asked)
            case Any(tests=tests):
                for test in tests:
                    yield from self._of_condition(test, replace(asked, is_sure=asked.is_sure and len(tests) == 1))

    def _of_test(self, test: Test, asked: _Asked) -> Iterator[Problem]:
        there = [subject for subject in asked.subjects if subject.values(test.look)]
        if not there:
            yield from self._of_missing(test, asked)
            return
        if asked.is_sure and not any(evaluate(test, subject) for subject in there):
            misses = [near_miss(test, subject) for subject in there]
            if all(misses):
                is_plain = "differs in case" not in misses[0]
                yield self._problem(test, f"{test.look.text}{asked.within}: {misses[0]}", is_plain=is_plain)
        for inner in (test.where, test.every):
            if inner is not None:
                inside = [subject.inside(value) for subject in there for value in subject.values(test.look)]
                within = f" in {test.look.text}{asked.within}"
                yield from self._of_condition(inner, _Asked(inside[:_MOST_EVENTS], asked.is_sure, within))

    def _of_missing(self, test: Test, asked: _Asked) -> Iterator[Problem]:
        """Say what a path names that no sample has; where its absence may be meant, only if it looks like a slip."""
        path = test.look.path
        if path is None:
            return
        ends: list[_End] = []
        for subject in asked.subjects:
            is_envelope = test.look.text.startswith("envelope")
            end = _end_of(path, subject.event.envelope if is_envelope else subject.document)
            if end is None:
                return
            ends.append(end)
        slip = next((end for end in ends if end.is_slip), None)
        is_needed = bool(test.present) or test.where is not None or test.every is not None
        if slip is not None or (ends and asked.is_sure and is_needed):
            message = f"no sample of {self._kinds} has {test.look.text}{asked.within}: {(slip or ends[0]).why}"
            yield self._problem(test, message, is_plain=slip is not None)

    def _of_step(self, step: Step, matching: Sequence[Event], previewer: Previewer) -> Iterator[Problem]:
        """Render the step for the samples that the rule matches; if it matches none, for all of them."""
        if step.destination is None and not _has_template(step.options):
            return
        wrong: list[str] = []
        for event in matching or self.samples.events[:_MOST_EVENTS]:
            rendered = previewer.render_now(event, step)
            if rendered.problem is None or rendered.options or any(each in rendered.problem for each in _UNTOLD):
                return
            wrong.append(rendered.problem)
        slip = next((problem for problem in wrong if _names_slip(problem)), None)
        if wrong and (matching or slip is not None):
            message = f"{step.label} would fail for every sample of {self._kinds}: {slip or wrong[0]}"
            severity = self._severity(is_plain=slip is not None)
            yield Problem(place=step.place or self.rule.place, path="", message=message, severity=severity)

    def _problem(self, test: Test, message: str, *, is_plain: bool) -> Problem:
        severity = self._severity(is_plain=is_plain)
        return Problem(place=test.place or self.rule.place, path="", message=message, severity=severity)

    def _severity(self, *, is_plain: bool) -> Literal["warning", "note"]:
        return "warning" if is_plain and self.samples.is_own else "note"

    @property
    def _kinds(self) -> str:
        kinds = self.samples.kinds
        more = f" and {len(kinds) - _MOST_KINDS} more" if len(kinds) > _MOST_KINDS else ""
        return ", ".join(kinds[:_MOST_KINDS]) + more


@dataclass(frozen=True, slots=True)
class _End:
    """Where a path ends in a sample."""

    why: str
    #: Whether what is meant shows: a name that differs by one slip, or an element of an array.
    is_slip: bool


def _end_of(path: Path, document: Json) -> _End | None:
    """Return where a path ends that selects nothing; None if what stands there cannot show what may."""
    reached: list[Json] = [document]
    for number, segment in enumerate(path.segments, 1):
        selected = path.select_until(number, document)
        if selected:
            reached = selected
            continue
        match segment.selectors:
            case (Name(name=name),) if not segment.is_descendant and all(
                value not in (None, [], {}) for value in reached
            ):
                is_array = all(isinstance(value, list) for value in reached)
                known = {key for value in reached if isinstance(value, dict) for key in value}
                return _End(path.how_far(document), is_array or any(is_slip(name, key) for key in known))
        break
    return None


def is_slip(word: str, meant: str) -> bool:
    """Tell whether a name is another with one letter too many, left out, changed, or two swapped."""
    start = _common(word, meant)
    rest, other = word[start:][::-1], meant[start:][::-1]
    end = _common(rest, other)
    rest, other = rest[end:], other[end:]
    # Numbered names are different names, and short ones are too alike.
    if min(len(word), len(meant)) < _SHORTEST_NAME or any(letter.isdigit() for letter in rest + other):
        return False
    return max(len(rest), len(other)) <= 1 or (len(rest) == 2 and rest == other[::-1])


def _common(one: str, other: str) -> int:
    """Return how many letters two words begin with alike."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in pairs)


def _names_slip(problem: str) -> bool:
    found = _MISSING.search(problem)
    return found is not None and is_slip(found[1], found[2])


def _has_template(value: Anything) -> bool:
    match value:
        case str():
            return "{{" in value or "{%" in value
        case dict():
            return any(_has_template(each) for each in value.values())
        case list():
            return any(_has_template(each) for each in value)
        case _:
            return False
