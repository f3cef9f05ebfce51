"""`hookline events save`: a stored event as a fixture and a test that passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

RULES = """\
rules:
  - name: large
    from: agiled
    on: invoice.paid
    when: {$.data.total: {gte: 1000}}
    do: [finance: {text: "{{ payload.data.customer.name }} paid {{ payload.data.number }}"}, erp]
  - name: github
    from: github
    do: {crm: {headers: {X-Kind: "{{ event.type }}", X-Key: "${CRM_KEY}"}}}
"""
PERSONAL = {
    "customer": {"name": "Ada Lovelace", "email": "ada@acme.com", "phone": "+1 555 010 9999"},
    "api_key": "Zx9-Qq-12",
    "note": "call Ada Lovelace, ada@acme.com",
}

Invoice = Callable[..., dict[str, Any]]


def saved(folder: Path) -> tuple[Any, list[Any]]:
    """Return the fixture and the tests."""
    (file,) = (folder / "samples").iterdir()
    return json.loads(file.read_text()), yaml.safe_load((folder / "saved.test.yaml").read_text())["tests"]


def test_a_saved_event_is_redacted_and_its_test_passes(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(
        invoice(**PERSONAL), headers={"user-agent": "agiled", "x-agiled-webhook-signature": "ab12"}
    )
    told = house.run("events", "save", event)
    assert told.exit_code == 0, told.output
    fixture, (test,) = saved(house.folder / "rules")
    text = json.dumps(fixture)
    for secret in ("Ada", "Lovelace", "ada@acme.com", "Zx9", "555"):
        assert secret not in text
        assert secret not in told.output
    data = fixture["data"]
    assert (data["total"], data["number"], fixture["event"]) == (5000, "INV-1042", "invoice.paid")
    assert data["customer"]["email"].endswith("@example.com")
    assert data["note"] == f"call {data['customer']['name']}, {data['customer']['email']}"
    assert test["name"] == f"invoice.paid from agiled, {event[-6:]}"
    assert test["event"] == f"samples/agiled-invoice.paid-{event[-6:]}.json"
    assert test["rules"] == ["large"]
    assert test["expect"] == [{"finance": {"text": f"{data['customer']['name']} paid INV-1042"}}, "erp"]
    assert "headers" not in test
    assert "type" not in test
    assert "  $.data.customer.email\n" in told.stderr
    assert told.stdout.splitlines()[1].endswith("rules/saved.test.yaml")
    ran = house.run("test")
    assert ran.exit_code == 0, ran.output
    assert test["name"] in ran.output
    # It is a test, and fails when the rules change.
    house.rules(RULES.replace("1000", "9000"))
    assert house.run("test").exit_code == 1


def test_what_a_rules_answer_depends_on_is_kept_and_named(house: Any, invoice: Invoice) -> None:
    rules = """\
rules:
  - {name: ours, when: {$.data.email: {ends_with: "@acme.com"}}, do: erp}
  - {name: same, when: {$.data.email: $.data.owner.email}, do: crm}
  - {name: ada, when: {$.data.contact: Ada Lovelace}, do: crm}
"""
    house.rules(rules)
    body = invoice(
        email="ada@acme.com",
        owner={"email": "ada@acme.com"},
        contact="Ada Lovelace",
        other="bob@acme.com",
        author="Bob Roe",
    )
    (event,) = house.receive(body)
    told = house.run("events", "save", event)
    assert told.exit_code == 0, told.output
    fixture, (test,) = saved(house.folder / "rules")
    assert fixture["data"]["email"] == fixture["data"]["owner"]["email"] == "ada@acme.com"
    assert fixture["data"]["contact"] == "Ada Lovelace"
    assert "acme" not in fixture["data"]["other"]
    assert fixture["data"]["author"] != "Bob Roe"
    assert test["rules"] == ["ours", "same", "ada"]
    kept = told.stderr.split("kept, as other rules would match without it:\n")[1].split("\nIt passes")[0].split()
    assert kept == ["$.data.contact", "$.data.email", "$.data.owner.email"]


def test_redact_that_is_asked_for_wins(house: Any, invoice: Invoice) -> None:
    house.rules("rules:\n  - {name: ours, when: {$.data.email: {ends_with: '@acme.com'}}, do: erp}\n")
    (event,) = house.receive(invoice(email="ada@acme.com", plan="Gold", seats=12345, flag=True))
    told = house.run(
        "events", "save", event, "--redact", "$.data.email", "--redact", "$.data['plan','seats','flag']",
        "--keep", "$.data.email",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    assert 'With what --redact names replaced, "ours" has another answer.' in told.stderr
    fixture, (test,) = saved(house.folder / "rules")
    data = fixture["data"]
    assert data["email"].endswith("@example.com")
    assert data["plan"] != "Gold"
    assert data["plan"][0].isupper()
    assert len(str(data["seats"])) == 5
    assert data["seats"] != 12345
    assert data["flag"] is True
    assert test["rules"] == []
    assert test["expect"] == []
    assert house.run("test").exit_code == 0


def test_keep_and_no_redact(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(**PERSONAL))
    house.run("events", "save", event, "--keep", "$.data.customer", "--to", str(house.folder / "kept"))
    fixture, _ = saved(house.folder / "kept")
    assert fixture["data"]["customer"] == PERSONAL["customer"]
    assert fixture["data"]["api_key"] != PERSONAL["api_key"]
    told = house.run("events", "save", event, "--no-redact", "--to", str(house.folder / "open"))
    fixture, _ = saved(house.folder / "open")
    assert fixture["data"]["note"] == PERSONAL["note"]
    assert "Nothing was redacted: look at it before you commit it." in told.stderr


@pytest.mark.parametrize(
    ("option", "path", "said"),
    [
        ("--redact", "$.data.custommer", '$.data.custommer selects nothing in this event: $.data has no "custommer"'),
        ("--keep", "data.customer", '"data.customer" is not a path: it must begin with $'),
        ("--redact", "$.data[?@.a == 1]", "a filter cannot be used here"),
        ("--redact", "header.x-nothing", "header.x-nothing is not in this event, or never written into a test."),
    ],
)
def test_a_path_that_names_nothing_is_refused(house: Any, invoice: Invoice, option: str, path: str, said: str) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(**PERSONAL))
    told = house.run("events", "save", event, option, path)
    assert told.exit_code == 2
    assert said in told.stderr.replace("data.customer is not a path", '"data.customer" is not a path')
    assert not (house.folder / "rules" / "saved.test.yaml").exists()


def test_headers_that_the_source_or_a_rule_needs(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_KEY", "a-real-secret-value")
    house.rules(RULES + "  - {name: beta, when: {header.x-beta: 'yes'}, do: erp}\n")
    body = {"action": "opened", "repository": {"name": "hello"}, "sender": {"login": "ada"}}
    (event,) = house.receive(
        body,
        source="github",
        headers={
            "x-github-event": "issues", "x-github-delivery": "72d3162e", "x-hub-signature-256": "sha256=ab",
            "x-beta": "yes", "user-agent": "GitHub-Hookshot/1", "cookie": "session=abc", "authorization": "Bearer abcdefghij",
        },
    )  # fmt: skip
    told = house.run("events", "save", event)
    assert told.exit_code == 0, told.output
    fixture, (test,) = saved(house.folder / "rules")
    assert test["headers"] == {"x-github-event": "issues", "x-beta": "yes"}
    assert fixture["repository"] == {"name": "hello"}
    assert fixture["sender"]["login"] != "ada"
    # The secret is in no expectation.
    (kind,) = {one["crm"]["headers"]["X-Kind"] for one in test["expect"] if "crm" in one}
    assert kind.startswith("issues")
    assert "secret" not in (house.folder / "rules" / "saved.test.yaml").read_text()
    assert "***" not in (house.folder / "rules" / "saved.test.yaml").read_text()
    assert house.run("test").exit_code == 0


def test_a_header_that_proves_the_sender_is_never_written(house: Any, invoice: Invoice) -> None:
    house.rules("rules:\n  - {name: by token, when: {header.x-shop-token: t0k3n}, do: erp}\n")
    headers = {"x-shop-token": "t0k3n", "user-agent": "agiled/2"}
    (event,) = house.receive(invoice(), headers=headers)
    told = house.run("events", "save", event)
    assert told.exit_code == 1
    assert "a rule looks at what is never written" in told.stderr
    assert not (house.folder / "rules" / "samples").exists()
    house.rules("rules:\n  - {name: by agent, when: {header.user-agent: {glob: 'agiled/*'}}, do: erp}\n")
    assert house.run("events", "save", event).exit_code == 0
    _, (test,) = saved(house.folder / "rules")
    assert test["headers"] == {"user-agent": "agiled/2"}


def test_one_event_of_a_batch(house: Any) -> None:
    house.rules(
        "rules:\n"
        "  - {name: order, on: order.paid, when: {tenant: acme}, do: [finance: {text: 'Order {{ payload.number }}'}]}\n"
        "  - {name: batch, on: order.held, when: {envelope.$.kind: nightly}, do: erp}\n"
    )
    events = [
        {"event": "order.paid", "id": "a", "number": 1, "shop": "acme"},
        {"event": "order.held", "id": "b", "number": 2, "shop": "acme", "email": "x@y.example"},
        {"event": "order.paid", "id": "c", "number": 3, "shop": "acme"},
    ]
    first, second, _ = house.receive({"kind": "nightly", "by": "Ada Lovelace", "events": events}, source="shop")
    assert house.run("events", "save", first).exit_code == 0
    told = house.run("events", "save", second)
    assert told.exit_code == 0, told.output
    assert "  envelope.$.by\n  $.email" in told.stderr
    tests = yaml.safe_load((house.folder / "rules" / "saved.test.yaml").read_text())["tests"]
    assert [one["rules"] for one in tests] == [["order"], ["batch"]]
    bodies = [json.loads((house.folder / "rules" / one["event"]).read_text()) for one in tests]
    assert bodies[0] == events[0]
    assert [one["id"] for one in bodies[1]["events"]] == ["b"]
    assert house.run("test").exit_code == 0


def test_a_form_becomes_json(house: Any) -> None:
    house.rules("rules:\n  - {name: form, when: {$.total: '5'}, do: erp}\n")
    (house.folder / "hookline.yaml").write_text(
        (house.folder / "hookline.yaml")
        .read_text()
        .replace('event: {type: $.event, id: $.id, tenant: $.shop}\n    split: "$.events[*]"', "event: {type: $.event}")
    )
    (event,) = house.receive(
        b"event=sold&total=5&email=ada%40acme.com",
        source="shop",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    told = house.run("events", "save", event)
    assert told.exit_code == 0, told.output
    fixture, (test,) = saved(house.folder / "rules")
    assert fixture["total"] == "5"
    assert "acme" not in fixture["email"]
    assert test["rules"] == ["form"]


def test_nothing_is_overwritten_without_force(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(**PERSONAL))
    assert house.run("events", "save", event).exit_code == 0
    path = house.folder / "rules" / "saved.test.yaml"
    path.write_text("# ours\n" + path.read_text().replace("expect:", "# why\n    expect:") + "# the end\n")
    before = path.read_text()
    again = house.run("events", "save", event)
    assert again.exit_code == 1
    assert "is there already: --force replaces it." in again.stderr
    assert path.read_text() == before
    forced = house.run("events", "save", event, "--force")
    assert forced.exit_code == 0, forced.output
    assert path.read_text().startswith("# ours\n# Made by")
    assert path.read_text().count("- name:") == 1
    assert "# the end\n" in path.read_text()
    other = house.run("events", "save", event, "--force", "--name", "another: 'one'")
    assert other.exit_code == 0, other.output
    assert [one["name"] for one in yaml.safe_load(path.read_text())["tests"]][1] == "another: 'one'"
    assert house.run("test").exit_code == 0


@pytest.mark.parametrize(
    ("before", "is_fine"),
    [
        ("", True),
        ("# only a comment", True),
        ("tests:\n", True),
        ("defaults: {from: agiled}\n", True),
        ("defaults: {from: agiled}\ntests:\n- name: x\n  from: agiled\n  sample: invoice.paid\n  rules: [large]", True),
        (
            "tests:\n    # four\n    - name: x\n      from: agiled\n      sample: invoice.paid\n      rules: [large]\n",
            True,
        ),
        ("tests: []\n", False),
        ("tests:\n  - {name: x\n", False),
        ("tests:\n  - name: x\ndefaults: {}\n", False),
    ],
)
def test_what_stands_in_the_file_stays(house: Any, invoice: Invoice, before: str, is_fine: bool) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(**PERSONAL))
    path = house.folder / "rules" / "saved.test.yaml"
    path.write_text(before)
    told = house.run("events", "save", event)
    if is_fine:
        assert told.exit_code == 0, told.output
        assert path.read_text().startswith(before)
        assert yaml.safe_load(path.read_text())["tests"][-1]["rules"] == ["large"]
        assert house.run("test").exit_code == 0
    else:
        assert told.exit_code == 1
        assert "--to" in told.stderr
        assert path.read_text() == before


def test_a_test_that_would_not_pass_is_taken_back(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(**PERSONAL))
    path = house.folder / "rules" / "saved.test.yaml"
    # What stands under defaults holds for the new one too.
    before = "defaults: {type: invoice.sent}\ntests:\n"
    path.write_text(before)
    told = house.run("events", "save", event)
    assert told.exit_code == 1
    assert f"The test would not pass, so {path} was left as it was" in told.stderr
    assert path.read_text() == before


def test_a_delivery_that_would_fail_is_not_expected(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice())
    told = house.run("events", "save", event)
    assert told.exit_code == 0, told.output
    assert "finance would fail, so only rules: is compared: " in told.stderr
    _, (test,) = saved(house.folder / "rules")
    assert test["rules"] == ["large"]
    assert "expect" not in test


def test_what_cannot_be_saved(house: Any) -> None:
    house.rules(RULES)
    (event,) = house.receive(b"{not json")
    told = house.run("events", "save", event)
    assert told.exit_code == 1
    assert told.stderr == "Its body cannot be read, so no test can be made of it.\n"
    assert house.run("events", "save", "evt_0000000000000").exit_code == 1
    assert house.run("events", "save", "nonsense").exit_code == 2


def test_the_same_event_is_saved_the_same(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(**PERSONAL))
    for folder in ("one", "two"):
        assert house.run("events", "save", event, "--to", str(house.folder / folder)).exit_code == 0
    assert saved(house.folder / "one") == saved(house.folder / "two")
