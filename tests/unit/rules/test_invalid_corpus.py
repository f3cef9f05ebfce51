"""Warnings and rule tests, one mistake a file with its exact message beside it; and what each file takes to read."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hookline.rules.document import Findings
from hookline.rules.load import load_rules
from hookline.rules.rule_test import TestNames
from hookline.rules.rule_test_reader import read_tests

_WORLD = Path(__file__).with_name("rule_world.py")
_spec = importlib.util.spec_from_file_location("rule_world", _WORLD)
assert _spec
assert _spec.loader
rule_world: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule_world)

INVALID = Path(__file__).parents[2] / "data" / "invalid"
WARNINGS = sorted((INVALID / "warnings").glob("*.yaml"))
TESTS = sorted((INVALID / "rule_tests").glob("*.yaml"))
NAMES = TestNames(
    sources=frozenset(rule_world.WORLD.sources),
    steps=frozenset({*rule_world.WORLD.destinations, *rule_world.WORLD.actions}),
    rules=frozenset({"large"}),
)


def said(problems: Any, path: Path) -> tuple[str, str]:
    """Return what was said, and what should have been."""
    return "".join(f"{problem}\n" for problem in problems), path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WARNINGS, ids=lambda path: path.stem)
def test_what_is_probably_not_meant_has_its_warning(path: Path) -> None:
    rules = load_rules({f"rules/{path.name}": path.read_text(encoding="utf-8")}, rule_world.WORLD)
    found, expected = said(rules.warnings, path)
    assert found == expected
    assert expected.count("warning: ") == 1


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_mistake_in_a_rule_test_has_its_message(path: Path) -> None:
    findings = Findings()
    read_tests(path.read_text(encoding="utf-8"), f"rules/{path.stem}.test.yaml", NAMES, findings)
    found, expected = said(findings.problems, path)
    assert found == expected
    assert findings.has_errors


def test_every_file_has_its_message() -> None:
    for folder in ("warnings", "rule_tests", "rules"):
        files = {suffix: {path.stem for path in (INVALID / folder).glob(f"*.{suffix}")} for suffix in ("yaml", "txt")}
        assert files["yaml"] == files["txt"]
        assert files["yaml"]


_MEASURE = """
import importlib.util, json, resource, sys, time
from pathlib import Path
from hookline.daemon.config.load import ConfigError, load_settings
from hookline.rules import RulesError
from hookline.rules.load import load_rules

spec = importlib.util.spec_from_file_location("rule_world", sys.argv[1])
world = importlib.util.module_from_spec(spec)
spec.loader.exec_module(world)

def read(path):
    try:
        if path.parent.name == "invalid":
            load_settings(path, environ={}, actions={"log"})
        else:
            load_rules({path.name: path.read_text(encoding="utf-8")}, world.WORLD)
    except (ConfigError, RulesError):
        pass

read(Path(sys.argv[2]) / "alias.yaml")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = {}
for path in sorted(Path(sys.argv[2]).rglob("*.yaml")):
    start = time.process_time()
    read(path)
    seconds[str(path)] = time.process_time() - start
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"seconds": seconds, "grown_kib": grown}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_no_file_takes_long_or_much() -> None:
    # Apart, as the high-water mark of memory is a process's.
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(_WORLD), str(INVALID)], capture_output=True, text=True, check=True
    )
    measured = json.loads(ran.stdout)
    assert len(measured["seconds"]) > 200
    # A second each and 100 MB are promised; the time has room for a busy machine.
    assert max(measured["seconds"].values()) < 10, max(measured["seconds"].items(), key=lambda item: item[1])
    assert measured["grown_kib"] < 100 * 1024
