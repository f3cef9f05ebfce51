"""`hookline diff`: the rules on disk against those that ran."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

RULES = """\
rules:
  - name: large
    from: agiled
    on: invoice.paid
    when: {$.data.total: {gte: 1000}}
    do: [finance: {text: "Paid: {{ payload.data.number }}"}, erp]
  - name: all
    aside: true
    do: crm
fallback:
  - do: [finance: {text: "Unmatched {{ event.type }}"}]
"""

Invoice = Callable[..., dict[str, Any]]


def test_no_difference(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    house.receive(invoice(5000), invoice(5))
    told = house.run("diff")
    assert told.exit_code == 0, told.output
    assert told.stdout.splitlines()[0].startswith("2 stored events since ")
    assert "No difference" in told.stdout
    assert told.stderr == "Nothing was sent.\n"
    # Other text, the same meaning.
    house.rules("# a comment\n" + RULES)
    told = house.run("diff")
    assert told.exit_code == 0, told.output
    assert " -> on disk (" in told.stdout


def test_newly_and_no_longer_matching(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    small, large, _ = house.receive(invoice(10), invoice(5000), invoice(6000))
    house.rules(RULES.replace("gte: 1000", "lt: 1000"))
    told = house.json("diff")
    (rule, fallback) = told["rules"]
    assert (rule["rule"], rule["file"], rule["line"]) == ("large", "rules/a.yaml", 2)
    assert rule["newly_matching"] == {"events": 1, "example": small}
    assert rule["no_longer_matching"]["events"] == 2
    assert fallback["rule"] == ""
    assert fallback["newly_matching"]["events"] == 2
    assert fallback["no_longer_matching"] == {"events": 1, "example": small}
    assert not rule["changes"]
    text = house.run("diff")
    assert text.exit_code == 1
    assert f"+1 newly match   e.g. hookline explain {small} --now -c " in text.stdout
    assert "-2 no longer match" in text.stdout
    # Of many, the newest is the example.
    assert large not in text.stdout
    assert house.run("diff", "--limit", "2").stdout.count("hookline explain") == 2


def test_a_changed_text_is_shown(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    house.receive(*(invoice(number) for number in range(2000, 2005)), invoice(1))
    house.rules(RULES.replace("Paid: {{", "Paid in full: {{"))
    told = house.run("diff")
    assert told.exit_code == 1
    assert "finance: text changes in 5 deliveries" in told.stdout
    assert '- text: "Paid: INV-1042"' in told.stdout
    assert '+ text: "Paid in full: INV-1042"' in told.stdout
    assert "newly" not in told.stdout


def test_what_renders_alike_is_no_difference(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    house.receive(invoice())
    house.rules(RULES.replace("{{ payload.data.number }}", "{{ payload['data']['number'] }}"))
    assert house.run("diff").exit_code == 0


@pytest.mark.parametrize(
    ("old", "new", "kind", "destination", "differences"),
    [
        (", erp]", "]", "removed", "erp", []),
        (", erp]", ", erp, crm]", "added", "crm", []),
        (", erp]", ", crm]", "changed", "crm", [("destination", "erp", "crm"), ("url", "***", None)]),
        ("text: ", "dry_run: true, text: ", None, None, None),
        (", erp]", ", {erp: {}, dry_run: true}]", "changed", "erp", [("dry_run", "false", "true")]),
        (", erp]", ", {erp: {}, timeout: 5s}]", "changed", "erp", [("timeout", None, "5s")]),
        ("payload.data.number", "payload.data.nunber", "changed", "finance", [("problem", None, "nunber")]),
    ],
)
def test_steps_added_removed_moved_and_changed(
    house: Any, invoice: Invoice, old: str, new: str, kind: str | None, destination: str, differences: list[Any]
) -> None:
    house.rules(RULES)
    house.receive(invoice())
    house.rules(RULES.replace(old, new))
    if kind is None:
        bad = house.run("diff")
        assert bad.exit_code == 1
        assert "rules/a.yaml:6:" in bad.stderr
        assert "The rules on disk are bad: hookline check" in bad.stderr
        assert bad.stdout == ""
        return
    (rule,) = house.json("diff")["rules"]
    (change,) = rule["changes"]
    assert (change["kind"], change["destination"], change["events"]) == (kind, destination, 1)
    found = {one["path"]: (one["then"], one["now"]) for one in change["differences"]}
    for path, then, now in differences:
        if path == "url":
            continue
        assert found[path][0] == then
        assert now in found[path][1]


def test_another_secret_is_a_difference_and_none_is_shown(
    house: Any, invoice: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_A", "the-first-secret-value")
    monkeypatch.setenv("KEY_B", "the-second-secret-value")
    rule = "rules:\n  - {name: one, do: [crm: {headers: {X-Key: 'k ${KEY_A}'}}]}\n"
    house.rules(rule)
    house.receive(invoice())
    house.rules(rule.replace("KEY_A", "KEY_B"))
    told = house.run("diff")
    assert told.exit_code == 1
    assert '- headers.X-Key: "${KEY_A}"' in told.stdout
    assert '+ headers.X-Key: "${KEY_B}"' in told.stdout
    assert "secret-value" not in told.output


def test_a_rule_that_was_only_renamed(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    house.receive(invoice())
    house.rules(RULES.replace("name: large", "name: large invoice"))
    told = house.run("diff")
    assert told.exit_code == 0, told.output
    assert "large invoice   renamed, was large" in told.stdout
    assert house.json("diff")["renamed"] == {"large": "large invoice"}
    # With another condition it is another rule.
    house.rules(RULES.replace("name: large", "name: large invoice").replace("gte: 1000", "gte: 2000"))
    told = house.json("diff")
    assert told["renamed"] == {}
    assert [(one["rule"], one["line"]) for one in told["rules"]] == [("large invoice", 2), ("large", None)]


def test_each_event_is_compared_with_the_rules_that_routed_it(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    house.receive(invoice(500))
    first = next(iter(house.json("diff")["versions"]))
    house.rules(RULES.replace("1000", "100"))
    (second,) = house.receive(invoice(500))
    told = house.json("diff")
    assert list(told["versions"].values()) == [1, 1]
    assert told["versions"][first] == 1
    large = told["rules"][0]
    assert large["newly_matching"]["events"] == 1
    # Against the first, both match newly, the later one as well.
    for written in (first, first[:6]):
        against = house.json("diff", "--against", written)
        assert against["versions"] == {first: 2}
        assert against["rules"][0]["newly_matching"] == {"events": 2, "example": second}
    unknown = house.run("diff", "--against", "0" * 32)
    assert unknown.exit_code == 1
    assert "No event of that time was routed by rules 000000" in unknown.stderr
    assert house.run("diff", "--against", "0").exit_code == 2


def test_what_cannot_be_compared_is_counted_and_said(house: Any, invoice: Invoice) -> None:
    import sqlite3

    house.rules(RULES)
    house.receive(invoice(1))
    version = house.json("diff")["now"]
    house.receive(invoice(2), is_unrouted=True)
    house.rules(RULES + "# another\n")
    house.receive(invoice(3))
    with sqlite3.connect(house.folder / "hookline.db") as store:
        store.execute("PRAGMA foreign_keys = OFF")
        store.execute("DELETE FROM texts WHERE digest = ?", (version,))
    store.close()
    told = house.json("diff")
    assert told["unrouted"]["events"] == 1
    assert [(one["version"], one["events"]) for one in told["uncompared"]] == [(version, 1)]
    assert told["events"] == 1
    text = house.run("diff").stderr
    assert "1 stored event not routed yet, so not compared: hookline events --unrouted" in text
    assert f"1 stored event not compared, routed by rules {version[:6]}: they are not kept any more" in text


def test_the_selection(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    house.receive(*(invoice(number) for number in range(40)))
    house.receive({"action": "opened", "number": 1}, source="github", headers={"x-github-event": "issues"})
    assert house.json("diff")["events"] == 41
    assert house.json("diff", "--source", "github")["events"] == 1
    assert house.json("diff", "--type", "invoice.paid")["events"] == 40
    assert house.json("diff", "--until", "1h")["events"] == 0
    limited = house.json("diff", "--limit", "35")
    assert (limited["events"], limited["left_out"]) == (35, True)
    assert house.json("diff", "--limit", "41")["left_out"] is False
    assert "Older ones were left out: --limit takes more." in house.run("diff", "--limit", "1").stderr
    house.rules(RULES.replace("gte", "lt").replace("do: crm", "do: erp"))
    assert [one["rule"] for one in house.json("diff")["rules"]] == ["large", "all", ""]
    assert [one["rule"] for one in house.json("diff", "--rule", "large")["rules"]] == ["large"]
    typo = house.run("diff", "--rule", "lagre")
    assert typo.exit_code == 2
    assert 'No rule "lagre" then or now; did you mean "large"?' in typo.stderr


def test_it_agrees_with_explain(house: Any, invoice: Invoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGILED_SECRET", "agiled-secret-0123456789")
    monkeypatch.setenv("GITHUB_SECRET", "github-secret-0123456789")
    monkeypatch.setenv("ERP_SECRET", "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ==")
    monkeypatch.setenv("SLACK_FINANCE", "https://hooks.example.com/0123456789")
    chance = random.Random(4)

    def rules() -> str:
        lines = ["rules:"]
        for name in "abcdef":
            operator, number = chance.choice(["lt", "gt", "eq", "ne"]), chance.randrange(6)
            lines.append(f"  - {{name: {name}, when: {{$.data.total: {{{operator}: {number}}}}}, do: erp,")
            lines.append(f"     stop: {chance.choice(['true', 'false'])}}}")
        return "\n".join(lines) + "\n"

    def matched(event: str, *by: str) -> set[str]:
        return {one["rule"] for one in house.json("explain", event, *by)["rules"] if one["verdict"] == "yes"}

    house.rules(rules())
    ids = house.receive(*(invoice(number) for number in range(6)))
    house.rules(rules())
    expected: dict[str, list[int]] = {}
    for event in ids:
        then, now = matched(event), matched(event, "--now")
        for name in now - then:
            expected.setdefault(name, [0, 0])[0] += 1
        for name in then - now:
            expected.setdefault(name, [0, 0])[1] += 1
    found = {
        one["rule"]: [one["newly_matching"]["events"], one["no_longer_matching"]["events"]]
        for one in house.json("diff")["rules"]
    }
    assert expected
    assert found == expected


def test_without_a_store_the_next_step_is_named(house: Any) -> None:
    house.rules(RULES)
    told = house.run("diff")
    assert told.exit_code == 1
    assert "has the daemon run yet?" in told.stderr
