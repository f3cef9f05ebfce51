"""Reads the rule tests that stand beside the rules without running them: their form, and the events that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hookline.daemon.config.settings import Settings
from hookline.daemon.regular_file import read_regular
from hookline.daemon.rule_files import MAX_FILE_BYTES, rule_test_files, shown_name
from hookline.daemon.rule_tests.names import names_of
from hookline.rules import Place, Problem, RuleSet
from hookline.rules.document import Findings
from hookline.rules.rule_test import RuleTest
from hookline.rules.rule_test_reader import read_tests


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTests:
    """What the files of rule tests say."""

    #: Those without a mistake, each with the folder that its event's file is relative to.
    tests: tuple[tuple[RuleTest, Path], ...]
    problems: tuple[Problem, ...]
    #: Text of each file by its name as messages call it.
    texts: Mapping[str, str]


def read_test_files(settings: Settings, rules: RuleSet) -> ReadTests:
    """Read every file of rule tests; what is wrong is among the problems."""
    names = names_of(settings, rules)
    findings = Findings()
    tests: list[tuple[RuleTest, Path]] = []
    texts: dict[str, str] = {}
    for path in rule_test_files(settings.rules):
        name = shown_name(path, settings.path.parent)
        try:
            texts[name] = read_regular(path, limit=MAX_FILE_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            said, hint = f"is not UTF-8 (byte {error.start})", "save it as UTF-8"
            findings.problems.append(Problem(place=Place(name, 1), path="", message=said, hint=hint))
        except ValueError as error:
            findings.problems.append(Problem(place=Place(name, 1), path="", message=str(error)))
        else:
            tests += [(test, path.parent) for test in read_tests(texts[name], name, names, findings)]
    return ReadTests(tests=tuple(tests), problems=tuple(findings.problems), texts=texts)
