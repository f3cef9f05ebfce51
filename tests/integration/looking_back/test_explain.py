"""`hookline explain`: by the rules of then with what was sent, by those of now, and of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from hookline.daemon.actions.dry_run import DRY_RUN_NOTE
from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.commands import cli
from hookline.daemon.config.load import load_settings
from hookline.daemon.ids import Ids
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.reload.live_rules import check_rules
from hookline.daemon.routing import Planner
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.changes import Attempt, Outcome, Record, Replay, Route, State
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import EventId

DOCS = Path(__file__).parents[3] / "docs" / "rules.md"

Invoice = Callable[..., dict[str, Any]]

RULES = """\
rules:
  - name: large
    on: invoice.paid
    when:
      $.data.total: {gte: 1000}
      $.data.custmer_id: {exists: false}
    do:
      - finance: {text: "Paid: {{ payload.data.number }} {{ event.type }}"}
      - erp
  - {name: deals, from: agiled, on: deal.updated, do: crm}
  - {name: typo, when: {$.data.nunber: INV-1042}, do: crm}
"""


async def _deliver(house: Any, event_id: str, attempts: list[Attempt | None], *, replays: bool = False) -> list[str]:
    """Route an event by the rules on disk, and end the first deliveries as said; None leaves one pending."""
    settings = load_settings(house.folder / "hookline.yaml", environ={}, offline=True)
    secrets = Secrets({}, folder=house.folder)
    runner = LocalRunner(settings, secrets, is_offline=True)
    rules = (await check_rules(settings, secrets, runner, is_offline=True)).rules
    await runner.close()
    ids = Ids(house._clock)
    store = SqliteStore(house.folder / "hookline.db", clock=house._clock, ids=ids)
    await store.open()
    try:
        reader = store.reader()
        stored = await reader.event(EventId(event_id))
        assert stored
        await store.keep(rules.texts)
        await store.keep_rules(rules.version)
        routing = rules.match(stored.event)
        planner = Planner(ids, policies=lambda _lane: LanePolicy(concurrency=1))
        made = planner.deliveries(routing, stored.event, now=house._clock())
        matched = tuple(match.rule for match in routing.matches)
        route = Route(event_id=EventId(event_id), rules_version=rules.version, matched=matched, deliveries=made)
        await store.write([route])
        claimed = {one.id: one for one in await store.claim({one.lane: 9 for one in made}, lease=timedelta(hours=1))}
        for new, attempt in zip(made, attempts, strict=False):
            state = State.PENDING if attempt is None else State.DELIVERED
            record = Record(
                delivery_id=new.id, token=claimed[new.id].token, attempt=attempt, state=state, due_in=timedelta(hours=1)
            )
            await store.write([record])
        if replays:
            await store.write([Replay(delivery_id=made[0].id, new_id=ids.delivery())])
        return [one.id for one in made]
    finally:
        await store.close()


def deliver(house: Any, event_id: str, *attempts: Attempt | None, replays: bool = False) -> list[str]:
    return anyio.run(lambda: _deliver(house, event_id, list(attempts), replays=replays))


def attempt(house: Any, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {"number": 1, "started_at": house.now, "duration": timedelta(milliseconds=12)}
    return Attempt(**fields | {"outcome": Outcome.DELIVERED, "status": 204, "note": "ok"} | changes)


def squeezed(text: str) -> str:
    return re.sub(" +", " ", text)


def test_a_stored_event_shows_the_condition_that_decided_and_what_was_sent(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(5000, custmer=7))
    first, second = deliver(house, event, attempt(house), None, replays=True)
    told = house.run("explain", event)
    assert told.exit_code == 0, told.stderr
    shown = squeezed(told.stdout)
    assert re.search(r"rules [0-9a-f]{6} \(live now: the same\)", shown)
    assert f"-> finance delivered, 204 in 12 ms {first}" in shown
    assert re.search(r"\n pending, not tried yet, replayed dlv_", shown)
    assert 'text: "Paid: INV-1042 invoice.paid"' in shown
    assert f"-> erp pending, not tried yet {second}" in shown
    assert (
        '$.data.nunber eq "INV-1042" NO the path selects nothing: $.data has no "nunber", did you mean "number"?'
        in shown
    )
    assert "rules/a.yaml:11\n" in shown
    assert ' on deal.updated NO it is "invoice.paid" rules/a.yaml:10' in shown
    assert "1 of 3 rules matched." in shown
    assert f"By the rules on disk now: hookline explain {event} --now" in told.stderr


def test_now_is_by_the_rules_on_disk_and_shows_what_would_be_sent(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(5000))
    deliver(house, event, attempt(house))
    house.rules(RULES.replace("gte: 1000", "gte: 9000").replace("nunber", "number"))
    then, now = house.json("explain", event), house.json("explain", event, "--now")
    assert [one["verdict"] for one in then["rules"]] == ["yes", "no", "no"]
    assert [one["verdict"] for one in now["rules"]] == ["no", "no", "yes"]
    (sends,) = now["rules"][2]["sends"]
    assert sends == {
        "destination": "crm",
        "action": "forward",
        "options": {"url": "https://crm.example.com/hooks"},
        "problem": None,
        "dry_run": False,
        "unset": [],
        "deliveries": [],
    }
    assert "would be sent" in house.run("explain", event, "--now").stdout
    assert "(on disk)" in house.run("explain", event, "--now").stdout


def test_what_does_not_hold_is_told_to_programs_in_parts(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(10))
    (group,) = house.json("explain", event)["rules"][0]["when"]
    decided = group["children"][0]
    assert decided == {
        "text": "$.data.total gte 1000",
        "holds": False,
        "path": "$.data.total",
        "expected": {"gte": "1000"},
        "seen": "10",
        "why": "10 is less",
        "file": "rules/a.yaml",
        "line": 5,
        "children": [],
    }


def test_a_dry_run_shows_what_was_not_sent(house: Any, invoice: Invoice, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGILED_SECRET", "GITHUB_SECRET", "ERP_SECRET", "SLACK_FINANCE"):
        monkeypatch.setenv(name, "whsec_0123456789abcdef0123456789abcdef")
    house.rules('rules:\n  - {name: quiet, dry_run: true, do: [finance: {text: "{{ payload.data.number }}"}]}\n')
    (event,) = house.receive(invoice(1))
    kept = attempt(house, status=None, note=DRY_RUN_NOTE, answer='slack {"url": "***", "text": "INV-1042"}')
    (made,) = deliver(house, event, kept)
    shown = squeezed(house.run("explain", event).stdout)
    assert f"-> finance dry run, nothing sent {made}" in shown
    assert "dry run, would not be sent" in house.run("explain", event, "--now").stdout
    assert 'would have sent: slack {"url": "***", "text": "INV-1042"}' in house.run("deliveries", "show", made).stdout
    assert "dry run, nothing sent" in house.run("events", "show", event).stdout


def test_deliveries_that_other_rules_asked_for_are_told_apart(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(5000))
    first, second = deliver(house, event, attempt(house), attempt(house))
    house.rules("rules:\n  - {name: other, do: crm}\n")
    deliver(house, event)
    shown = house.run("explain", event).stdout
    tail = shown[shown.index("Deliveries that other rules asked for:") :]
    assert f"large -> finance  delivered, 204 in 12 ms   {first}" in tail
    assert second in tail


def test_a_file_needs_no_type_and_no_secret(house: Any, invoice: Invoice, tmp_path: Path) -> None:
    house.rules(RULES)
    (tmp_path / "payload.json").write_text(json.dumps(invoice(5000)))
    told = house.run("explain", "--file", str(tmp_path / "payload.json"), "--from", "agiled", "--expect", "large")
    assert told.exit_code == 0, told.stderr
    assert "invoice.paid from agiled" in told.stdout
    assert "would be sent (${SLACK_FINANCE} not set here)" in told.stdout
    assert 'url: "***"' in told.stdout
    other = house.json(
        "explain", "--file", str(tmp_path / "payload.json"), "--from", "agiled", "--type", "deal.updated"
    )
    assert [one["verdict"] for one in other["rules"]] == ["no", "yes", "no"]


def test_each_event_of_a_batch_is_explained(house: Any) -> None:
    house.rules("rules:\n  - {name: large, when: {$.total: {gt: 5}}, do: crm}\n")
    batch = json.dumps({"events": [{"event": "order", "id": 1, "total": 1}, {"event": "order", "id": 2, "total": 9}]})
    arguments = ["explain", "--file", "-", "--from", "shop", "-c", str(house.folder / "hookline.yaml")]
    told = CliRunner().invoke(cli, [*arguments, "--expect", "large"], input=batch)
    assert told.exit_code == 0, told.stderr
    assert "stdin, event 1 of 2  order from shop" in told.stdout
    assert "stdin, event 2 of 2  order from shop" in told.stdout
    documents = json.loads(CliRunner().invoke(cli, [*arguments, "--json"], input=batch).stdout)
    assert [one["rules"][0]["verdict"] for one in documents] == ["no", "yes"]


def test_a_header_may_tell_the_type(house: Any) -> None:
    house.rules("rules:\n  - {name: pushes, on: push, when: {header.x-github-event: push}, do: crm}\n")
    arguments = ["explain", "--file", "-", "--from", "github", "-c", str(house.folder / "hookline.yaml")]
    told = CliRunner().invoke(cli, [*arguments, "--header", "X-GitHub-Event: push", "--expect", "pushes"], input="{}")
    assert told.exit_code == 0, told.output
    wrong = CliRunner().invoke(cli, [*arguments, "--header", "push"], input="{}")
    assert (wrong.exit_code, "write NAME: VALUE" in wrong.stderr) == (2, True)


def test_what_is_expected_decides_the_exit_code(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(10))
    missed = house.run("explain", event, "--expect", "large", "--expect", "deals")
    assert (missed.exit_code, missed.stderr.splitlines()[-2:]) == (
        1,
        ["'large' does not match.", "'deals' does not match."],
    )
    unknown = house.run("explain", event, "--expect", "lage")
    said = "No rule 'lage' in these rules; did you mean \"large\"?"
    assert (unknown.exit_code, unknown.stderr.splitlines()[-1]) == (1, said)


def test_one_rule_alone(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(10))
    told = house.run("explain", event, "--rule", "deals")
    assert [line for line in told.stdout.splitlines() if line.startswith(" no")] == [" no   deals  rules/a.yaml:10"]
    assert "0 of 3 rules matched" in told.stdout
    assert [one["rule"] for one in house.json("explain", event, "--rule", "deals")["rules"]] == ["deals"]
    assert house.run("explain", event, "--rule", "dels").exit_code == 2


def test_a_thousand_rules_for_other_events_are_one_line(house: Any, invoice: Invoice) -> None:
    many = "".join(f"  - {{name: r{number}, on: deal.updated, do: crm}}\n" for number in range(1000))
    house.rules(RULES + many)
    (event,) = house.receive(invoice(10))
    shown = house.run("explain", event).stdout
    assert "Not shown: 1001 rules for other events; --all shows them." in shown
    assert len(shown.splitlines()) < 15
    assert "r999" in house.run("explain", event, "--all").stdout


def test_what_cannot_be_asked_says_what_to_do(house: Any, invoice: Invoice) -> None:
    house.rules(RULES)
    (event,) = house.receive(invoice(10))
    for arguments, said in (
        ((), "Name an event, or give a payload"),
        (("--file", str(house.folder / "hookline.yaml")), "--from SOURCE"),
        (("--file", str(house.folder / "hookline.yaml"), "--from", "agild"), 'did you mean "agiled"?'),
    ):
        told = house.run("explain", *arguments)
        assert (told.exit_code, said in told.stderr) == (2, True), told.stderr
    assert house.run("explain", event[:-1] + ("0" if event[-1] != "0" else "1")).exit_code == 1
    house.rules("rules: [{name: a, do: nowhere}]")
    bad = house.run("explain", event, "--now")
    assert (bad.exit_code, "The rules on disk are bad: hookline check" in bad.stderr) == (1, True)


DOCUMENTED = """\
rules:
  - name: large invoice paid
    on: invoice.paid
    when:
      $.data.currency: [USD, EUR]
      $.data.total: {gte: 5000}
    do: crm
  - name: gold customers
    when: {$.data.custmer.tier: gold}
    do: crm
  - name: every invoice
    on: invoice.*
    do: [finance: {text: "Invoice {{ payload.data.number }}: {{ payload.data.total }}"}]
"""


def test_the_documents_show_what_people_see(house: Any) -> None:
    house.rules(DOCUMENTED, "finance.yaml")
    data = {"currency": "USD", "customer": {"tier": "gold"}, "number": "INV-1042", "total": 1250.5}
    payload = house.folder / "payload.json"
    payload.write_text(json.dumps({"event": "invoice.paid", "organization_id": "org_1", "data": data}))
    shown = house.run("explain", "--file", str(payload), "--from", "agiled").stdout
    (written,) = re.findall(r"```\n(payload\.json .*?)```", DOCS.read_text(), re.DOTALL)
    seen, said = shown.split("\n", 1)[1], written.split("\n", 1)[1]
    assert " ".join(seen.split()) == " ".join(said.split())


def test_a_sender_forges_no_line(house: Any, invoice: Invoice) -> None:
    house.rules('rules:\n  - {name: a, do: [finance: {text: "{{ payload.data.note }}"}]}\n')
    (event,) = house.receive(invoice(1, note="x\n yes  forged\x1b[31m"))
    shown = house.run("explain", event).stdout
    assert all(line.isprintable() for line in shown.splitlines())
    assert "\n yes  forged" not in shown
