"""`hookline test` on a folder of rules, without a daemon and without secrets."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from hookline.daemon.commands import cli
from hookline.daemon.rule_tests import update
from hookline.rules.rule_test_reader import FACT_KEYS, TEST_KEYS
from hookline.rules.rule_test_text import with_edits

CONFIG = """\
version: 1
sources:
  agiled: {type: agiled, secret: "${NOT_SET}"}
  shop:
    type: generic
    verify: {scheme: hmac, algorithm: sha256, header: X-Sig, encoding: hex, secret: "${NOT_SET}"}
    event: {type: $.event}
    split: "$.events[*]"
destinations:
  erp: {forward: {url: "${ERP}", headers: {X-Key: "${KEY}"}}}
  finance: {slack: {url: "${FINANCE}"}}
"""
RULES = """\
rules:
  - name: large
    from: agiled
    on: invoice.paid
    when: {$.data.total: {gte: 1000}}
    do:
      - finance: {text: "{{ payload.data.number }}: {{ payload.data.total }}"}
      - erp
  - name: orders
    from: shop
    on: order.*
    when: {$.amount: {gt: 0}}
    do: [erp]
  - name: broken
    from: shop
    on: broken
    do: [finance: {text: "{{ payload.nothing }}"}]
  - name: off
    on: other
    enabled: false
    do: erp
fallback:
  - from: shop
    do: [erp]
"""
FAILING = """\
# kept
defaults: {from: agiled, sample: invoice.paid}
tests:
  - name: nowhere
    with: {data: {total: 5000, test: true}}
    expect: []  # kept too
  - name: another text
    with: {data: {total: 5000}}
    expect: [erp, {finance: {text: "INV-1042: 1"}}]
  - name: too small
    with: {data: {total: 5}}
    rules: [large]
    expect:
      - erp
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "hookline.yaml").write_text(CONFIG)
    (tmp_path / "rules" / "a.yaml").write_text(RULES)
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(folder)
    for name in ("HOOKLINE_CONFIG", "NOT_SET", "ERP", "KEY", "FINANCE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, tests: str | None = None) -> Result:
        if tests is not None:
            (folder / "rules" / "a.test.yaml").write_text(tests)
        return CliRunner().invoke(cli, ["test", *arguments])

    return run


def suite(*tests: dict[str, Any]) -> str:
    return json.dumps({"tests": [{"name": f"t{number}", **test} for number, test in enumerate(tests)]})


DOCS = Path(__file__).resolve().parents[2] / "docs" / "testing-rules.md"

Run = Callable[..., Result]


def test_what_the_rules_do_is_compared(run: Run) -> None:
    result = run(
        tests=suite(
            {
                "from": "agiled",
                "sample": "invoice.paid",
                "with": {"data": {"total": 5000}},
                "rules": ["large"],
                "expect": [
                    {"finance": {"text": "INV-1042: 5000", "url": "***"}},
                    {"erp": {"headers": {"X-Key": "***"}}},
                ],
            },
            {"from": "agiled", "sample": "invoice.paid", "with": {"data": {"total": 999}}, "expect": []},
            {
                "from": "shop",
                "event": {"events": [{"event": "order.paid", "amount": 1}, {"event": "order.paid", "amount": 0}]},
                "rules": ["orders"],
                "expect": ["erp", "erp"],
            },
            {"from": "shop", "event": {"event": "order.paid", "amount": 1}, "expect": "erp"},
        )
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "rules/a.test.yaml\n  ok    t0\n  ok    t1\n  ok    t2\n  ok    t3\n"
        '4 passed. 3 of 4 rules met by a test; never met: "broken" (rules/a.yaml:14).\n'
    )


def test_what_failed_says_what_came_and_why(run: Run) -> None:
    result = run(tests=FAILING)
    assert result.exit_code == 1
    assert result.stdout.split("rules met")[0] == (
        "rules/a.test.yaml\n"
        "  FAIL  nowhere\n"
        "          expected nothing\n"
        '          got      finance  text: "INV-1042: 5000"\n'
        "          got      erp\n"
        '                   by "large" (rules/a.yaml:2): no condition looks at $.data.test\n'
        "  FAIL  another text\n"
        '          expected finance  text: "INV-1042: 1"\n'
        '          got      finance  text: "INV-1042: 5000"\n'
        '                   by "large" (rules/a.yaml:2)\n'
        "  FAIL  too small\n"
        '          expected the rules "large"\n'
        "          got      no rule\n"
        '                   "large" (rules/a.yaml:2) says no: $.data.total gte 1000: 5 is less\n'
        "          expected erp\n"
        "          got      nothing\n"
        '                   "large" (rules/a.yaml:2) says no: $.data.total gte 1000: 5 is less\n'
        "3 of 3 failed. 1 of 4 "
    )


def test_a_text_of_several_lines_is_compared_by_line(run: Run, folder: Path) -> None:
    (folder / "rules" / "a.yaml").write_text('rules: [{name: r, do: [finance: {text: "a\\n{{ payload.x }}\\nc"}]}]')
    event = {"from": "shop", "event": {"event": "e", "x": 1}}
    result = run(tests=suite({**event, "expect": [{"finance": {"text": "a\nb\nc"}}]}))
    assert "expected finance  text (-), got (+)" in result.stdout
    assert "- b\n" in result.stdout
    assert "+ 1\n" in result.stdout


def test_a_delivery_that_would_fail_is_never_expected(run: Run) -> None:
    tests = suite({"from": "shop", "event": {"event": "broken"}, "expect": [{"finance": {}}]})
    result = run("--update", tests=tests)
    assert result.exit_code == 1
    assert "got      finance  that would fail: " in result.stdout
    assert "nothing" in result.stdout.split("that would fail: ")[1].splitlines()[0]


def test_an_event_that_cannot_be_read_makes_no_test_pass(run: Run, folder: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"from": "shop", "event": {"amount": 1}, "expect": []},
        {"from": "shop", "event": {"events": []}, "expect": []},
        {"from": "agiled", "event": "nowhere.json", "expect": []},
        {"from": "agiled", "sample": "invoice.payd", "expect": []},
    ]
    result = run("--update", tests=suite(*wrong))
    assert result.exit_code == 1
    said = [line.split(": ", 1)[1] for line in result.stdout.splitlines() if "a.test.yaml:" in line]
    assert said[0].startswith("the event cannot be read: no event type at $.event; mend it, or write type: unreadable")
    assert said[1] == "the body holds no event"
    assert said[2].startswith("cannot read ")
    assert said[3] == 'agiled has no sample "invoice.payd"; did you mean "invoice.paid"?'
    # Rules for such events can be tested.
    rule = "rules: [{name: r, on: unreadable, do: erp}]"
    (folder / "rules" / "a.yaml").write_text(rule)
    meant = {"from": "shop", "event": {"amount": 1}, "type": "unreadable", "rules": ["r"], "expect": "erp"}
    assert run(tests=suite(meant)).exit_code == 0


def test_update_makes_failed_tests_pass_and_keeps_the_rest(run: Run, folder: Path) -> None:
    result = run("--update", tests=FAILING)
    assert result.exit_code == 0
    assert "3 now expect what the rules do" in result.stdout
    assert (folder / "rules" / "a.test.yaml").read_text() == FAILING.replace(
        "expect: []  # kept too", 'expect:  # kept too\n      - finance: {text: "INV-1042: 5000"}\n      - erp'
    ).replace(
        '    expect: [erp, {finance: {text: "INV-1042: 1"}}]',
        '    expect:\n      - erp\n      - finance: {text: "INV-1042: 5000"}',
    ).replace("rules: [large]\n    expect:\n      - erp\n", "rules: []\n    expect: []\n")
    assert run().exit_code == 0


def test_update_leaves_what_passes_byte_for_byte(run: Run, folder: Path) -> None:
    tests = suite({"from": "shop", "event": {"event": "order.x", "amount": 1}, "expect": ["erp"]})
    assert run("--update", tests=tests).exit_code == 0
    assert (folder / "rules" / "a.test.yaml").read_text() == tests


def test_update_keeps_the_mode_and_the_link(run: Run, folder: Path) -> None:
    real = folder / "real.yaml"
    real.write_text(FAILING)
    real.chmod(0o640)
    link = folder / "rules" / "a.test.yaml"
    link.symlink_to(real)
    assert run("--update").exit_code == 0
    assert link.is_symlink()
    assert (real.stat().st_mode & 0o777, "expect: []  #" in real.read_text()) == (0o640, False)
    assert sorted(path.name for path in folder.iterdir()) == ["hookline.yaml", "real.yaml", "rules"]


def test_update_refuses_a_file_that_changed(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def edited_meanwhile(text: str, edits: Any) -> str:
        (folder / "rules" / "a.test.yaml").write_text("# mine\n")
        return with_edits(text, edits)

    monkeypatch.setattr(update, "with_edits", edited_meanwhile)
    result = run("--update", tests=FAILING)
    assert result.exit_code == 1
    assert "rules/a.test.yaml has changed since it was read: nothing was written; run it again" in result.stderr
    assert (folder / "rules" / "a.test.yaml").read_text() == "# mine\n"


def test_update_refuses_what_it_cannot_write(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "with_edits", lambda text, _: text.replace("5000", "5001"))
    result = run("--update", tests=FAILING)
    assert result.exit_code == 1
    assert "cannot be rewritten: edit it by hand" in result.stderr
    assert (folder / "rules" / "a.test.yaml").read_text() == FAILING


def test_coverage_names_rules_and_conditions(run: Run) -> None:
    result = run("--coverage", tests=FAILING)
    assert '  never met    "orders" (rules/a.yaml:9)\n' in result.stdout
    assert "  never met    the fallback (rules/a.yaml:23)\n" in result.stdout
    assert '"off"' not in result.stdout
    # It was true of 5000 and false of 5.
    assert "$.data.total" not in result.stdout.split("coverage")[1]
    one = {"from": "agiled", "sample": "invoice.paid", "with": {"data": {"total": 5}}, "expect": []}
    told = json.loads(run("--coverage", "--json", tests=suite(one)).stdout)
    assert told["coverage"]["conditions"] == [
        {"rule": "large", "file": "rules/a.yaml", "line": 2, "condition": "$.data.total gte 1000", "never": "true"}
    ]
    assert [rule["rule"] for rule in told["coverage"]["never_met"]] == ["large", "orders", "broken", ""]


def test_coverage_looks_into_conditions(run: Run, folder: Path) -> None:
    when = {"all": [{"any": [{"$.a": 1}, {"$.b": 1}]}, {"not": {"$.c": 1}}, "named"]}
    rules = {"conditions": {"named": {"$.d": {"gt": 0}}}, "rules": [{"name": "r", "when": when, "do": "erp"}]}
    (folder / "rules" / "a.yaml").write_text(json.dumps(rules))
    one = {"from": "shop", "rules": ["r"]}
    events = [{"a": 1, "b": 2, "d": 1}, {"a": 2, "b": 1, "d": 1}]
    said = run("--coverage", tests=suite(*({**one, "event": {"event": "e", **event}} for event in events))).stdout
    assert [line for line in said.splitlines() if "never" in line] == [
        '  never true   $.c eq 1  in "r" (rules/a.yaml:1)',
        '  never false  $.d gt 0  in "r" (rules/a.yaml:1)',
    ]


def test_a_fallback_is_not_blamed_for_what_it_does_not_look_at(run: Run) -> None:
    result = run(tests=suite({"from": "shop", "event": {"event": "x"}, "with": {"a": 2}, "expect": []}))
    assert "by the fallback (rules/a.yaml:23)\n" in result.stdout


def test_json_holds_what_people_are_told(run: Run) -> None:
    result = run("--json", tests=FAILING)
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["passed"], told["failed"], told["updated"], told["problems"]) == (0, 3, 0, [])
    first, second, third = told["tests"]
    assert (first["file"], first["line"], first["name"]) == ("rules/a.test.yaml", 4, "nowhere")
    assert (first["status"], first["matched"]) == ("failed", ["large"])
    assert [one["name"] for one in first["got"]] == ["finance", "erp"]
    assert first["got"][0]["options"] == {"url": "***", "text": "INV-1042: 5000"}
    assert second["expected"]["expect"] == ["erp", {"finance": {"text": "INV-1042: 1"}}]
    assert third["expected"] == {"expect": ["erp"], "rules": ["large"]}


def test_junit_is_written_for_whoever_reads_it(run: Run, folder: Path) -> None:
    odd = suite(
        {
            "name": "\u0007 <a>",
            "from": "agiled",
            "sample": "invoice.paid",
            "expect": [{"finance": {"text": "\u0007 <&> \ufffe"}}],
        }
    )
    (folder / "rules" / "b.test.yaml").write_text(odd)
    (folder / "rules" / "c.test.yaml").write_text("tests: 3")
    error = {"from": "agiled", "event": "x.json", "expect": []}
    passing = {"from": "agiled", "sample": "invoice.paid", "with": {"data": {"total": 1}}, "expect": []}
    run("--junit", "out.xml", tests=suite(passing, error))
    root = ET.parse(folder / "out.xml").getroot()
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("errors")) == ("testsuites", "4", "1", "2")
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["rules/a.test.yaml", "rules/b.test.yaml", "rules/c.test.yaml"]
    fine, broken = suites["rules/a.test.yaml"]
    assert (fine.get("name"), fine.get("line"), len(fine)) == ("t0", "1", 0)
    assert broken[0].tag == "error"
    failure = suites["rules/b.test.yaml"][0][0]
    assert failure.tag == "failure"
    assert "<&>" in (failure.text or "")
    assert suites["rules/b.test.yaml"][0].get("name") == "\N{REPLACEMENT CHARACTER} <a>"
    assert "tests must be a list" in (suites["rules/c.test.yaml"][0][0].text or "")
    assert sum(float(suite.get("time", "x")) for suite in root) >= 0


def test_only_tests_about_a_rule_are_run(run: Run) -> None:
    tests = suite(
        {"from": "shop", "event": {"event": "order.paid", "amount": 0}, "rules": []},
        {"from": "agiled", "sample": "invoice.paid", "rules": []},
        {"from": "shop", "event": {"event": "broken"}, "rules": []},
    )
    result = run("--rule", "orders", tests=tests)
    assert result.exit_code == 0
    assert result.stdout == "rules/a.test.yaml\n  ok    t0\n1 passed.\n"
    none = run("--rule", "off")
    assert none.exit_code == 1
    unknown = run("--rule", "ordes")
    assert (unknown.exit_code, unknown.stderr) == (2, 'No rule "ordes"; did you mean "orders"?\n')


def test_paths_say_which_files(run: Run, folder: Path) -> None:
    (folder / "more").mkdir()
    passing = suite({"from": "shop", "event": {"event": "x"}, "rules": []})
    for name in ("more/x.test.yaml", "more/y.test.yml", "rules/a.test.yaml"):
        (folder / name).write_text(passing)
    assert run("more").stdout.count("ok ") == 2
    assert run("more/x.test.yaml").stdout.startswith("more/x.test.yaml\n")
    assert run("rules/a.yaml").stdout.startswith("rules/a.test.yaml\n")
    assert run("rules/a.yaml", "rules").stdout.count("ok ") == 1
    for path, why in (("nope", "does not exist"), ("hookline.yaml", "is no file of tests: their names end in")):
        result = run(path)
        assert result.exit_code == 2
        assert f"{path} {why}" in result.stderr


def test_no_tests_are_no_success(run: Run) -> None:
    result = run()
    assert result.exit_code == 1
    assert "No tests. Write some beside the rules, as in rules/NAME.test.yaml" in result.stderr


def test_mistakes_in_a_file_of_tests_are_told_and_the_others_run(run: Run, folder: Path) -> None:
    passing = suite({"from": "shop", "event": {"event": "x"}, "rules": []})
    (folder / "rules" / "b.test.yaml").write_text(passing)
    good = "  - {name: b, from: shop, event: {event: x}, rules: []}\n"
    result = run(tests=f"tests:\n  - {{name: a, form: shop, event: x, expect: []}}\n{good}")
    assert result.exit_code == 1
    assert 'rules/a.test.yaml:2:15: tests[0]: unknown key "form"; did you mean "from"?' in result.stdout
    assert "1 mistake in rules/a.test.yaml: none of its tests was run." in result.stderr
    assert "1 passed." in result.stdout
    (folder / "rules" / "a.test.yaml").write_bytes(b"tests: \xff")
    assert "rules/a.test.yaml:1:1: is not UTF-8 (byte 7); save it as UTF-8" in run().stdout


def test_rules_and_configuration_that_are_wrong_are_told_as_check_does(run: Run, folder: Path) -> None:
    (folder / "rules" / "a.yaml").write_text("rules: [{name: a, do: erpp}]")
    result = run(tests=FAILING)
    assert result.exit_code == 1
    assert 'rules/a.yaml:1:23: rules[0].do: no destination or action "erpp"' in result.stderr
    assert "The rules cannot be tested while they are wrong: hookline check" in result.stderr
    (folder / "hookline.yaml").write_text("version: 2\n")
    assert run().exit_code == 78


def test_windows_do_not_depend_on_today(run: Run, folder: Path) -> None:
    rule = 'rules: [{name: r, when: {received_at: {during: "mon-fri 09:00-17:00 UTC"}}, do: erp}]'
    (folder / "rules" / "a.yaml").write_text(rule)
    event = {"from": "shop", "event": {"event": "x"}}
    result = run(
        tests=suite(
            {**event, "rules": ["r"]},
            {**event, "at": "2026-05-17T12:00:00Z", "rules": []},
            {**event, "at": "2026-05-18T12:00:00Z", "rules": ["r"]},
        )
    )
    assert result.exit_code == 0, result.output


def test_a_sender_s_text_forges_no_line(run: Run) -> None:
    evil = {"data": {"number": "x\n  ok    forged\x1b[2J", "total": 5000}}
    tests = suite({"from": "agiled", "sample": "invoice.paid", "with": evil, "expect": []})
    result = run(tests=tests)
    assert "\x1b" not in result.stdout
    assert "\n  ok    forged" not in result.stdout


@pytest.mark.slow
def test_a_thousand_tests_need_no_process_each(run: Run) -> None:
    one = {"from": "agiled", "sample": "invoice.paid", "expect": ["erp", {"finance": {"text": "INV-1042: 5000"}}]}
    tests = suite(*({**one, "with": {"data": {"total": 5000}}} for _ in range(1000)))
    before = os.times()
    result = run(tests=tests)
    after = os.times()
    assert result.stdout.endswith(
        "1000 passed. 1 of 4 rules met by a test; never met: " + result.stdout.split("met: ")[1]
    )
    assert after.children_user == before.children_user
    # About a second on the machine that it was written on.
    assert after.user - before.user < 20


def test_the_document_s_example_prints_what_the_document_shows(run: Run, folder: Path) -> None:
    text = DOCS.read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```\n(rules/.*?)```", text, re.DOTALL)
    rules = folder / "rules"
    (rules / "a.yaml").unlink()
    paid = "Invoice {{ payload.data.number }} paid: {{ payload.data.total | number }} {{ payload.data.currency }}"
    (rules / "finance.yaml").write_text(
        f'rules:\n  - {{name: large invoice paid, on: invoice.paid, do: [finance: {{text: "{paid}"}}, erp]}}\n'
        "  - {name: new contacts, on: contact.created, do: erp}\n"
    )
    (rules / "deals.yaml").write_text("rules:\n  - {name: deals, on: deal.updated, do: erp}\n")
    (rules / "finance.test.yaml").write_text(example)
    (rules / "samples").mkdir()
    invoice = {"event": "invoice.paid", "data": {"number": "INV-1042", "total": 1, "currency": "USD"}}
    (rules / "samples" / "invoice.paid.json").write_text(json.dumps(invoice))
    assert run().stdout == shown


def test_every_key_is_in_the_document() -> None:
    written = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"^\| `([^`]+)` \|", DOCS.read_text(), re.MULTILINE))))
    assert set(TEST_KEYS) <= written
    assert set(FACT_KEYS) <= set(TEST_KEYS)
