"""`hookline rules`: where each rule stands, and how often it matched."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Invoice = Callable[..., dict[str, Any]]

RULES = """\
rules:
  - {name: large, owner: finance, description: Large ones, when: {$.data.total: {gte: 1000}}, do: crm}
  - {name: every, aside: true, dry_run: true, do: crm}
  - {name: half, on: a, stop: true, do: [crm, {erp: {}, dry_run: true}]}
  - {name: off, enabled: false, do: crm}
fallback:
  - do: crm
"""


def rows(text: str) -> dict[str, str]:
    lines = [re.split("  +", line) for line in text.splitlines()[1:]]
    return {line[0]: " | ".join(line[1:]) for line in lines}


def test_each_rule_with_its_counts(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    house.receive(invoice(5000), invoice(2000), invoice(1))
    told = house.run("rules")
    assert told.exit_code == 0, told.stderr
    assert rows(told.stdout) == {
        "large": "rules/a.yaml:2 | 2 | 5 min ago | finance | Large ones",
        "every": "rules/a.yaml:3 | 3 | 5 min ago | dry run, aside",
        "half": "rules/a.yaml:4 | 0 | never | dry run in part, stop",
        "off": "rules/a.yaml:5 | 0 | never | off",
        "(fallback)": "rules/a.yaml:7 | 1 | 5 min ago",
    }
    assert re.search(r"5 rules, counted since \S+ \S+Z; what matched before is not known\.", told.stderr)


def test_unused_ones_alone_and_in_a_time(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    house.now = datetime.now(UTC) - timedelta(days=3)
    house.receive(invoice(5000))
    house.now = datetime.now(UTC) - timedelta(hours=3)
    house.receive(invoice(1))
    assert list(rows(house.run("rules", "--unused").stdout)) == ["half", "off"]
    lately = house.run("rules", "--unused", "--since", "1d")
    assert rows(lately.stdout)["large"] == "rules/a.yaml:2 | 0 | 3 d ago | finance | Large ones"
    assert "every" not in rows(lately.stdout)
    assert "not known" not in lately.stderr
    # Further back than anything is known.
    assert "what matched before is not known" in house.run("rules", "--since", "30d").stderr


def test_nothing_is_known_from_before_what_retention_keeps(house: Any, invoice: Invoice) -> None:
    config = house.folder / "hookline.yaml"
    config.write_text(f"{config.read_text()}retention: {{events: 1d}}\n")
    house.rules(RULES)
    house.now = datetime.now(UTC) - timedelta(days=3)
    house.receive(invoice(5000))
    known_since = datetime.fromisoformat(house.json("rules")["known_since"])
    assert timedelta(hours=23) < datetime.now(UTC) - known_since < timedelta(hours=25)


def test_a_renamed_rule_begins_anew_and_the_old_name_is_kept(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    house.receive(invoice(5000))
    house.rules(RULES.replace("name: large", "name: big"))
    assert rows(house.run("rules").stdout)["big"].startswith("rules/a.yaml:2 | 0 | never")
    assert "large" not in rows(house.run("rules").stdout)
    assert rows(house.run("rules", "--all").stdout)["large"] == "not on disk | 1 | 5 min ago"
    document = house.json("rules", "--all")
    assert [(one["rule"], one["matched"]) for one in document["gone"]] == [("large", 1)]


def test_the_document_for_programs(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(5000))
    document = house.json("rules")
    large, every, half, off, fallback = document["rules"]
    assert datetime.fromisoformat(large.pop("last_matched_at")) < datetime.now(UTC)
    assert large == {
        "rule": "large", "file": "rules/a.yaml", "line": 2, "owner": "finance", "description": "Large ones",
        "from": [], "on": [], "destinations": ["crm"], "enabled": True, "dry_run": [False], "aside": False,
        "stop": False, "fallback": False, "matched": 1, "last_event": event,
    }  # fmt: skip
    assert (every["dry_run"], half["dry_run"], half["stop"]) == ([True], [False, True], True)
    assert (off["enabled"], off["matched"], off["last_event"]) == (False, 0, None)
    assert (fallback["fallback"], fallback["matched"]) == (True, 0)
    assert document["gone"] == []
    assert document["since"] == document["known_since"]


def test_before_the_first_start_there_are_no_counts(house: Any) -> None:
    house.rules(RULES)
    told = house.run("rules")
    assert told.exit_code == 0
    assert rows(told.stdout)["large"] == "rules/a.yaml:2 | finance | Large ones"
    assert "No counts: the daemon has not run yet." in told.stderr
    assert house.json("rules")["rules"][0]["matched"] is None
    assert list(rows(house.run("rules", "--unused").stdout)) == ["large", "every", "half", "off", "(fallback)"]


def test_bad_rules_are_said(house: Any) -> None:
    house.rules("rules: [{name: a, do: nowhere}]")
    told = house.run("rules")
    assert (told.exit_code, told.stdout) == (1, "")
    assert "rules/a.yaml:1" in told.stderr
    assert "hookline check" in told.stderr
