"""`hookline check`: what samples show to be wrong, rule tests, forms of output, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hookline.daemon.commands.check import check
from hookline.daemon.rehearsal.check_samples import is_slip

CONFIG = """
version: 1
store: sqlite:hookline.db
rules: rules
sources:
  agiled: {type: agiled, secret: a-secret-of-some-length}
  github: {type: github, secret: a-secret-of-some-length}
  shop: {type: generic, verify: none, path_token: abcdefghijklmnopqrstuvwxyz, event: {type: $.type}}
  batch: {type: generic, verify: none, path_token: bcdefghijklmnopqrstuvwxyza, event: {type: $.type}, split: "$.events[*]"}
destinations:
  note: {log: {message: "{{ payload.data.number }}"}}
  bad: {log: {message: "{{ payload.data.nunber }}"}}
  plain: {log: {message: "hello"}}
"""
INVOICE = {"event": "invoice.paid", "id": "e1", "data": {"number": "INV-1", "status": "paid", "total": "1200"}}
ORDER = {"type": "order", "number": 7, "status": "Open", "lines": [{"sku": "a"}], "note": None, "tags": [], "more": {}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a configuration and an empty folder of rules."""
    (tmp_path / "rules" / "samples").mkdir(parents=True)
    (tmp_path / "hookline.yaml").write_text(CONFIG)
    return tmp_path


def run(home: Path, *options: str) -> Any:
    return CliRunner().invoke(check, ["--config", str(home / "hookline.yaml"), *options])


def write_rule(home: Path, **rule: Any) -> None:
    (home / "rules" / "a.yaml").write_text(json.dumps({"rules": [{"name": "a", "do": "plain", **rule}]}))


def said(home: Path, **rule: Any) -> list[str]:
    """Return what check says of one rule: severity and message."""
    write_rule(home, **rule)
    found = json.loads(run(home, "--format", "json").stdout)
    return [f"{problem['severity']}: {problem['message']}" for problem in found]


def own(home: Path, name: str, body: Any) -> None:
    (home / "rules" / "samples" / f"{name}.json").write_text(body if isinstance(body, str) else json.dumps(body))


AGILED = {"from": "agiled", "on": "invoice.paid"}
HAS = "(it has: account_id, contact_id, currency, id, lines, number, status, total, total_paid)"


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"$.data.stauts": "paid"}, f'no sample of agiled invoice.paid has $.data.stauts: $.data has no "stauts", did you mean "status"? {HAS}'),
        ({"$.data.customer.tier": "gold"}, f'no sample of agiled invoice.paid has $.data.customer.tier: $.data has no "customer" {HAS}'),
        ({"$.data.stauts": {"ne": "paid"}}, f'no sample of agiled invoice.paid has $.data.stauts: $.data has no "stauts", did you mean "status"? {HAS}'),
        ({"$.data.stauts": {"exists": True}}, f'no sample of agiled invoice.paid has $.data.stauts: $.data has no "stauts", did you mean "status"? {HAS}'),
        ({"any": [{"$.data.totla": {"gt": 5}}, {"$.data.id": "x"}]}, f'no sample of agiled invoice.paid has $.data.totla: $.data has no "totla", did you mean "total"? {HAS}'),
        ({"$.data.lines.sku": "x"}, "no sample of agiled invoice.paid has $.data.lines.sku: $.data.lines is an array: did you mean $.data.lines[*].sku?"),
        ({"$.data.total.amount": 5}, 'no sample of agiled invoice.paid has $.data.total.amount: $.data.total is a number, it has no "amount"'),
        ({"$.data.lines[*]": {"where": {"$.quantiy": {"gt": 5}}}}, 'no sample of agiled invoice.paid has $.quantiy in $.data.lines[*]: $ has no "quantiy", did you mean "quantity"? (it has: description, price, quantity, sku)'),
        ({"$.data.total": "1250.5"}, "$.data.total: saw 1250.5 (a number), expected text: add as: text"),
        ({"$.data.number": {"gt": 5}}, '$.data.number: saw "INV-1042" (text), expected a number'),
        ({"$.data.status": "PAID"}, '$.data.status: saw "paid", which differs in case: add as: lower'),
        ({"$.data.lines": {"where": {"$.sku": "x"}}}, "no sample of agiled invoice.paid has $.sku in $.data.lines: $ is an array: did you mean $[*].sku?"),
    ],
)  # fmt: skip
def test_what_our_samples_show_is_a_note(home: Path, when: Any, message: str) -> None:
    assert said(home, **AGILED, when=when) == [f"note: {message}"]
    assert run(home, "--strict").exit_code == 0


@pytest.mark.parametrize(
    "rule",
    [
        {**AGILED, "when": {"$.data.status": "open", "$.data.total": {"lt": 5}}},
        {**AGILED, "when": {"$.data.test": {"exists": False}, "$.data.discount": {"exists": True}}},
        {**AGILED, "when": {"$.data.discount": {"ne": 5}, "$.data.refunds[*]": {"count": 0}}},
        {**AGILED, "when": {"any": [{"$.data.amount": {"gt": 5}}, {"$.data.total": {"gt": 5}}]}},
        {**AGILED, "when": {"not": {"$.data.archived": True}}},
        {**AGILED, "when": {"$.data.lines[7].sku": "x", "$.data.lines[?@.sku == 'none'].skuu": "x", "$..skuu": 1}},
        {**AGILED, "when": {"header.x-agiled-thing": "x", "subject": "invoice/x"}},
        {**AGILED, "enabled": False, "when": {"$.data.stauts": "paid"}},
        # What there is no sample of may hold anything.
        {"from": "agiled", "when": {"$.data.stauts": "paid"}},
        {"from": "agiled", "on": ["invoice.paid", "invoice.updated"], "when": {"$.data.stauts": "paid"}},
        {"from": "agiled", "on": ["invoice.paid", "unreadable"], "when": {"$.data.stauts": "paid"}},
        {"from": ["agiled", "shop"], "on": "invoice.paid", "when": {"$.data.stauts": "paid"}},
        {"on": "invoice.paid", "when": {"$.data.stauts": "paid"}},
        {"from": "shop", "when": {"$.data.stauts": "paid"}},
        # One of its kinds of events has it.
        {"from": "agiled", "on": ["invoice.paid", "time_entry.created"], "when": {"$.data.currency": "EUR"}},
    ],
)
def test_what_no_sample_can_show_is_left_alone(home: Path, rule: Any) -> None:
    assert said(home, **rule) == []


def test_a_users_own_samples_make_a_slip_a_warning(home: Path) -> None:
    own(home, "agiled-invoice.paid-9KD3", INVOICE)
    (found,) = said(home, **AGILED, when={"$.data.stauts": "paid"})
    assert found.startswith("warning: no sample of agiled invoice.paid has $.data.stauts: ")
    assert run(home, "--strict").exit_code == 1
    assert run(home).exit_code == 0
    # It may be left out of a few samples; and another letter's case says little.
    assert said(home, **AGILED, when={"$.data.customer.tier": "gold"})[0].startswith("note: ")
    assert said(home, **AGILED, when={"$.data.status": "PAID"})[0].startswith("note: ")
    # Ours has a number there, theirs has text: either may come.
    assert said(home, **AGILED, when={"$.data.total": {"gt": 5}}) == []


def test_a_source_without_samples_has_those_of_its_user(home: Path) -> None:
    own(home, "shop-order", ORDER)
    rule = {"from": "shop", "on": "order"}
    assert said(home, **rule, when={"$.number": "7"}) == [
        "warning: $.number: saw 7 (a number), expected text: add as: text"
    ]
    for when in ({"$.note.text": "x"}, {"$.tags[*].name": "x"}, {"$.more.x": 1}, {"$.note": {"gt": 5}}):
        assert said(home, **rule, when=when) == []
    own(home, "shop-order-2", {**ORDER, "number": "8"})
    assert said(home, **rule, when={"$.number": "7"}) == []


def test_an_element_of_a_batch_is_a_sample(home: Path) -> None:
    own(home, "batch-order", {"events": [ORDER, {**ORDER, "type": "refund"}]})
    (found,) = said(home, **{"from": "batch", "on": "refund"}, when={"$.numbr": 7})
    assert found.startswith('warning: no sample of batch refund has $.numbr: $ has no "numbr", did you mean "number"?')


def test_the_files_of_rule_tests_are_samples(home: Path) -> None:
    (home / "rules" / "push.json").write_text(json.dumps({"ref": "refs/heads/main", "pusher": {"name": "ada"}}))
    test = {"name": "t", "from": "github", "event": "push.json", "headers": {"X-GitHub-Event": "push"}, "rules": []}
    (home / "rules" / "a.test.yaml").write_text(json.dumps({"tests": [test]}))
    (found,) = said(home, **{"from": "github", "on": "push"}, when={"$.pusher.nmae": "ada"})
    assert found.startswith("warning: no sample of github push has $.pusher.nmae")


@pytest.mark.parametrize("body", ["{", "[1", "\x00"])
def test_a_sample_that_cannot_be_read_is_said(home: Path, body: str) -> None:
    own(home, "shop-order", body)
    own(home, "elsewhere-order", body)
    (found,) = said(home, **{"from": "shop"})
    assert found.startswith("warning: the sample cannot be read as shop would: ")
    assert json.loads(run(home, "--format", "json").stdout)[0]["file"] == "rules/samples/shop-order.json"


NUNBER = 'message: payload.data has no "nunber" (it has: id, number, status, currency, total, total_paid, account_id, contact_id, lines); did you mean "number"?'


@pytest.mark.parametrize(
    ("do", "said_of"),
    [
        ({"log": {"message": "{{ payload.data.nunber }}"}}, NUNBER),
        ({"log": {"message": "{% for line in payload.data.lines %}{{ line.quantiy }}{% endfor %}"}}, None),
        ({"plain": {"message": "{{ payload.data.nunber }}"}}, NUNBER),
        ("bad", NUNBER),
    ],
)
def test_a_template_that_names_what_no_sample_has(home: Path, do: Any, said_of: str | None) -> None:
    (found,) = said(home, **AGILED, do=do)
    label = do if isinstance(do, str) else next(iter(do))
    assert found.startswith(f"note: {label} would fail for every sample of agiled invoice.paid: ")
    if said_of is not None:
        assert found.endswith(said_of)
    own(home, "agiled-invoice.paid", {**INVOICE, "data": {**INVOICE["data"], "lines": [{"quantity": 1}]}})  # type: ignore[dict-item]
    assert said(home, **AGILED, do=do)[0].startswith("warning: ")


@pytest.mark.parametrize(
    "message",
    [
        "{{ payload.data.nunber | default('') }}",
        "{% if payload.data.nunber is defined %}{{ payload.data.nunber }}{% endif %}",
        "{{ payload.data.number }} {{ event.source }} {{ rule.name }}",
        "nothing to render",
    ],
)
def test_a_template_that_renders_is_left_alone(home: Path, message: str) -> None:
    assert said(home, **AGILED, do=[{"log": {"message": message}}, "note", "plain"]) == []


def test_a_template_of_a_rule_that_no_sample_matches_is_left_alone_but_for_a_slip(home: Path) -> None:
    when = {"$.data.status": "refunded"}
    assert said(home, **AGILED, when=when, do=[{"log": {"message": "{{ payload.data.refund.id }}"}}]) == []
    assert len(said(home, **AGILED, when=when, do=[{"log": {"message": "{{ payload.data.nunber }}"}}])) == 1


def test_a_slip_in_a_rule_about_ourselves_is_a_warning(home: Path) -> None:
    about = {"from": "hookline", "on": "delivery.dead"}
    write_rule(home, **about, when={"$.destinaton": "erp"}, do=[{"log": {"message": "{{ payload.reason }}"}}])
    told = run(home).stdout
    assert ": warning: no sample of hookline delivery.dead has $.destinaton" in told
    assert 'did you mean "destination"?' in told
    assert said(home, **about, when={"$.destination": "crm"}, do=[{"log": {"message": "{{ payload.reason }}"}}]) == []


def test_one_message_at_two_places_is_said_twice(home: Path) -> None:
    rules = [{"name": name, **AGILED, "when": {"$.data.stauts": name}, "do": "plain"} for name in ("a", "b")]
    (home / "rules" / "a.yaml").write_text(json.dumps({"rules": rules}, indent=1))
    assert run(home).stdout.count("did you mean") == 2


def test_rule_tests_are_checked_for_form(home: Path) -> None:
    write_rule(home, **AGILED)
    (home / "rules" / "a.test.yaml").write_text(
        "tests:\n  - {name: t, from: agiled, sample: invoice.paid, expct: []}\n"
    )
    result = run(home)
    assert result.exit_code == 1
    assert result.stdout.startswith('rules/a.test.yaml:2:51: tests[0]: unknown key "expct"; did you mean "expect"?\n')
    (home / "rules" / "a.test.yaml").write_bytes(b"tests: \xff\n")
    assert "rules/a.test.yaml:1:1: is not UTF-8 (byte 7); save it as UTF-8" in run(home).stdout


def test_the_forms_of_what_is_said(home: Path) -> None:
    write_rule(home, **AGILED, when={"$.data.stauts": "paid"})
    result = run(home)
    assert result.stdout.startswith("rules/a.yaml:1:")
    assert ": note: no sample of agiled invoice.paid has $.data.stauts" in result.stdout
    assert "1 note. Nothing was changed; a running daemon keeps its rules." in result.stderr
    assert run(home, "--format", "github").stdout.startswith("::notice file=rules/a.yaml,line=1,col=")
    (found,) = json.loads(run(home, "--format", "json").stdout)
    assert (found["severity"], found["file"], found["line"]) == ("note", "rules/a.yaml", 1)


def test_mistakes_in_rules_come_without_what_samples_show(home: Path) -> None:
    write_rule(home, **AGILED, when={"$.data.stauts": {"gtt": 5}})
    result = run(home)
    assert result.exit_code == 1
    assert "unknown operator" in result.stdout
    assert "no sample" not in result.stdout


@pytest.mark.parametrize(
    ("word", "meant"),
    [("nunber", "number"), ("stauts", "status"), ("curency", "currency"), ("totall", "total"), ("udpated", "updated")],
)
def test_a_slip_is_one_letter(word: str, meant: str) -> None:
    assert is_slip(word, meant)
    assert is_slip(meant, word)


@pytest.mark.parametrize(
    ("word", "other"),
    [("discount", "account"), ("line1", "line2"), ("id", "i"), ("paid_at", "paid_on"), ("created_at", "updated_at"),
     ("billing_address", "shipping_address"), ("item10", "item1")],
)  # fmt: skip
def test_another_name_is_no_slip(word: str, other: str) -> None:
    assert not is_slip(word, other)
