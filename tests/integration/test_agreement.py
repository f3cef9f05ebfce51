"""match, explain, test and diff agree, whatever the rules and whatever the event: they ask one evaluator."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.config.load import load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.rehearsal.preview import Previewer
from hookline.daemon.rehearsal.rule_diff import RulesComparison
from hookline.daemon.rehearsal.sample_events import read_events
from hookline.daemon.rule_tests.coverage import Coverage
from hookline.daemon.rule_tests.run import RuleTests
from hookline.daemon.secrets import Secrets
from hookline.rules import RuleSet, World, load_rules
from hookline.rules.rule_test import TestNames
from hookline.rules.world import NoLookup

NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)
CONFIG = """\
version: 1
sources:
  try: {type: generic, verify: none, path_token: "0123456789abcdef", event: {type: $.event}}
destinations:
  erp: {forward: {url: "https://erp.example.com/hooks"}}
"""
VALUES: st.SearchStrategy[Any] = st.sampled_from([1, 2, 1.0, True, "1", "paid", "open", None, [1], {"a": 1}])
ITEMS = st.lists(st.fixed_dictionaries({"a": VALUES}), max_size=3)
PAYLOADS = st.fixed_dictionaries(
    {"event": st.sampled_from(["order.paid", "order.sent"])}, optional={"a": VALUES, "b": VALUES, "items": ITEMS}
)
SCALARS = st.sampled_from([1, 2, True, "1", "paid", "open"])
TESTS = st.one_of(
    SCALARS,
    st.lists(SCALARS, min_size=1, max_size=3),
    st.builds(lambda value: {"ne": value}, SCALARS),
    st.builds(lambda value: {"gte": value}, st.sampled_from([1, 2, "open"])),
    st.builds(lambda value: {"exists": value}, st.booleans()),
    st.builds(lambda value: {"matches": value}, st.sampled_from(["^p", "en$", "1"])),
)
WHENS = st.dictionaries(st.sampled_from(["$.a", "$.b", "$.items[*].a", "$.none"]), TESTS, min_size=1, max_size=2)
CONDITIONS = WHENS | st.builds(lambda when: {"not": [when]}, WHENS) | st.builds(lambda *w: {"any": [*w]}, WHENS, WHENS)
ONES = st.fixed_dictionaries(
    {"on": st.sampled_from(["order.paid", "order.*", "*"]), "do": st.just("erp")},
    optional={"when": CONDITIONS, "stop": st.booleans(), "aside": st.booleans(), "enabled": st.booleans()},
)
COUNT = 4
SETS = st.lists(ONES, min_size=COUNT, max_size=COUNT)


class House:
    """A configuration with one source and one destination."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hookline.yaml").write_text(CONFIG)
        self.settings: Settings = load_settings(folder / "hookline.yaml", environ={})
        secrets = Secrets({}, folder=folder)
        self.previewer = Previewer(self.settings, secrets, LocalRunner(self.settings, secrets))

    @staticmethod
    def load(ones: list[dict[str, Any]]) -> RuleSet:
        named = [{"name": f"rule {number}", **one} for number, one in enumerate(ones)]
        world = World(
            sources={"try": None},
            destinations={"erp": "forward"},
            actions={"forward", "log"},
            vars={},
            lookup=NoLookup(),
            version="1",
        )
        return load_rules({"a.yaml": json.dumps({"rules": named})}, world)

    def passes(self, rules: RuleSet, payload: Any, expected: list[str]) -> bool:
        """Run a rule test that expects these rules to match."""
        test = {"name": "one", "from": "try", "event": payload, "rules": expected, "at": NOW.isoformat()}
        path = self.folder / "a.test.yaml"
        path.write_text(json.dumps({"tests": [test]}))
        names = TestNames(
            sources=frozenset({"try"}),
            steps=frozenset({"erp", "forward", "log"}),
            rules=frozenset(rule.name for rule in rules.rules),
        )
        tests = RuleTests(
            self.settings, rules, self.previewer, only_rule=None, coverage=Coverage(rules, has_conditions=True)
        )
        found = tests.run_file(path, names)
        assert not found.problems
        (result,) = found.results
        return result.status == "passed"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SETS, SETS, PAYLOADS)
def test_match_explain_test_and_diff_agree(house: House, then: Any, now: Any, payload: Any) -> None:
    old, new = house.load(then), house.load(now)
    (event,) = read_events(house.settings, "try", json.dumps(payload).encode(), received_at=NOW)
    matched = [match.rule for match in old.match(event).matches]
    assert [one.rule for one in old.explain(event).matched] == matched
    assert house.passes(old, payload, matched)
    assert not house.passes(old, payload, [name for name in matched if name != matched[0]] if matched else ["rule 0"])
    comparison = RulesComparison(new, house.previewer)
    comparison.compare(event, old)
    found = comparison.finish()
    newly = {name for name, one in found.rules.items() if one.newly.events}
    gone = {name for name, one in found.rules.items() if one.no_longer.events}
    matches_now = {match.rule for match in new.match(event).matches}
    assert newly == matches_now - set(matched)
    assert gone == set(matched) - matches_now
