"""The API about rules, of a real daemon: what is live, why an event matched, and rules that are only typed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.integration.living import Living, living

pytestmark = pytest.mark.anyio

SECRET = "a-secret-that-conditions-compare-with"
CONFIG = """\
version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0", token: an-admin-token-of-some-length}
store: sqlite:hookline.db
reload: signal
workers: 0
vars: {team: ops}
sources:
  shop: {type: generic, verify: none, event: {type: $.event, id: $.id}}
  till: {type: generic, verify: none, event: {type: $.event, id: $.id}, split: "$.rows[*]"}
destinations:
  sink: {log: {}}
  crm: {forward: {url: "http://127.0.0.1:9/crm", headers: {X-Key: "${KEY}"}}, dry_run: true}
"""
RULES = """\
rules:
  - owner: ada
    name: orders
    from: shop
    on: order.paid
    do:
      - sink: {message: "{{ payload.total }} for {{ vars.team }}"}

  - name: large orders
    from: shop
    when:
      $.total: {gte: 1000}
    do: [sink]
  - {name: carts, from: shop, on: cart.left, do: [crm]}
fallback:
  - do: [sink]
"""
OTHER = "rules: [{name: tills, from: till, do: [sink]}]\n"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Seeded:
    """A daemon that has seen some events."""

    def __init__(self, daemon: Living, events: Mapping[str, str]) -> None:
        self.daemon = daemon
        self.events = events

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.daemon.ask(path)
        assert answer.status == status, answer
        return answer.json

    async def explain(self, event: str, query: str = "") -> Any:
        return await self.get(f"/events/{self.events[event]}/explain{query}")

    async def attempt(self, status: int = 200, **asked: Any) -> Any:
        """Ask for a try."""
        answer = await self.daemon.ask("/try", method="POST", body=asked)
        assert answer.status == status, answer
        return answer.json


@pytest.fixture(scope="module")
async def seeded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seeded]:
    folder = tmp_path_factory.mktemp("rules_api")
    (folder / "rules").mkdir()
    (folder / "rules" / "tills.yaml").write_text(OTHER)
    (folder / "credentials").mkdir(mode=0o700)
    (folder / "credentials" / "KEY").write_text(SECRET)
    (folder / "credentials" / "KEY").chmod(0o600)
    async with living(folder, config=CONFIG, rules=RULES) as daemon:
        events = {
            "small": await daemon.send({"event": "order.paid", "id": "o-1", "total": 5}),
            "large": await daemon.send({"event": "order.paid", "id": "o-2", "total": 2000}),
            "other": await daemon.send({"event": "refund", "id": "o-3"}),
            "cart": await daemon.send({"event": "cart.left", "id": "o-4", "mail": "ada@example.com"}),
        }
        await daemon.settled()
        yield Seeded(daemon, events)


def verdicts(told: Any) -> dict[str, str]:
    return {one["rule"]: one["verdict"] for one in told["rules"]}


def rule_of(told: Any, name: str) -> Any:
    return next(one for one in told["rules"] if one["rule"] == name)


async def test_rules_are_listed_in_their_order_with_what_they_matched(seeded: Seeded) -> None:
    listed = await seeded.get("/rules")
    assert [one["rule"] for one in listed["rules"]] == ["orders", "large orders", "carts", "tills", ""]
    assert [one["matched"] for one in listed["rules"]] == [2, 1, 1, 0, 1]
    assert (listed["total"], listed["next"], listed["differs_on_disk"], listed["refused"]) == (5, None, False, [])
    first = listed["rules"][0]
    assert (first["file"], first["line"], first["owner"]) == ("rules/rules.yaml", 3, "ada")
    assert first["last_event"] == seeded.events["large"]
    assert listed["rules"][2]["dry_run"] == [True]


async def test_rules_are_found_by_a_word_and_by_having_matched_nothing(seeded: Seeded) -> None:
    for query, names in (
        ("q=LARGE", ["large orders"]),
        ("q=tills.yaml", ["tills"]),
        ("q=ada", ["orders"]),
        ("q=crm", ["carts"]),
        ("unused=true", ["tills"]),
        ("unused=true&q=orders", []),
    ):
        assert [one["rule"] for one in (await seeded.get(f"/rules?{query}"))["rules"]] == names, query


async def test_pages_of_rules_follow_on(seeded: Seeded) -> None:
    found: list[str] = []
    after: str | None = "0"
    while after is not None:
        page = await seeded.get(f"/rules?limit=2&after={after}")
        found += [one["rule"] for one in page["rules"]]
        after = page["next"]
    assert found == ["orders", "large orders", "carts", "tills", ""]
    assert (await seeded.daemon.ask("/rules?limit=1001")).status == 400


async def test_a_rule_is_shown_with_its_lines_and_the_last_event_that_it_did_not_match(seeded: Seeded) -> None:
    rule = await seeded.get("/rules/one?rule=large%20orders")
    assert rule["first_line"] == 9
    assert rule["text"].splitlines() == [
        "  - name: large orders",
        "    from: shop",
        "    when:",
        "      $.total: {gte: 1000}",
        "    do: [sink]",
    ]
    assert rule["last_missed"] == seeded.events["cart"]
    # Its name need not be what it begins with, and what hangs in `do` is its own.
    orders = await seeded.get("/rules/one?rule=orders")
    assert (orders["first_line"], orders["line"]) == (2, 3)
    assert orders["text"].endswith('{{ vars.team }}"}')
    assert (await seeded.get("/rules/one?rule=tills"))["text"] == OTHER.rstrip()
    assert (await seeded.get("/rules/one?file=rules/rules.yaml&line=16"))["text"] == "  - do: [sink]"
    assert 'did you mean "orders"' in (await seeded.get("/rules/one?rule=order", 404))["detail"]


async def test_an_event_is_explained_with_what_became_of_it(seeded: Seeded) -> None:
    told = await seeded.explain("small")
    assert verdicts(told) == {
        "orders": "yes", "large orders": "no", "carts": "no", "tills": "no", "": "not tried",
    }  # fmt: skip
    assert (told["asked"], told["matched"], told["fallback"], told["left_out"], told["others"]) == (4, 1, False, [], [])
    (sends,) = rule_of(told, "orders")["sends"]
    assert sends["options"] == {"message": "5 for ops"}
    assert sends["deliveries"][0].startswith("delivered")
    assert "dlv_" in sends["deliveries"][0]
    (total,) = rule_of(told, "large orders")["when"]
    assert (total["text"], total["holds"], total["why"]) == ("$.total gte 1000", False, "5 is less")
    assert (total["file"], total["line"]) == ("rules/rules.yaml", 12)


async def test_the_fallback_and_a_dry_run_are_told(seeded: Seeded) -> None:
    other = await seeded.explain("other")
    assert (other["matched"], other["fallback"], verdicts(other)[""]) == (0, True, "yes")
    (sends,) = rule_of(await seeded.explain("cart"), "carts")["sends"]
    assert sends["dry_run"]
    assert sends["options"]["headers"] == {"X-Key": "***"}
    assert sends["deliveries"][0].startswith("dry run")


async def test_by_the_rules_of_now_nothing_was_sent(seeded: Seeded) -> None:
    told = await seeded.explain("small", "?rules=now&rule=orders")
    assert list(verdicts(told)) == ["orders"]
    assert told["rules"][0]["sends"][0]["deliveries"] == []
    assert "no rule" in (await seeded.get(f"/events/{seeded.events['small']}/explain?rule=x", 404))["detail"]


async def test_what_is_not_there_is_not_explained(seeded: Seeded) -> None:
    for event in ("evt_0000000000001", "evt_x", "x"):
        assert (await seeded.get(f"/events/{event}/explain", 404))["status"] == 404


async def test_a_typed_rule_is_asked_beside_the_live_ones_and_nothing_happens(seeded: Seeded) -> None:
    reader = seeded.daemon.service.store.reader()
    before = await reader.counts()
    tried = await seeded.attempt(
        rules='rules: [{name: tiny, from: shop, when: {$.total: {lt: 10}}, do: [{sink: {message: "hi {{ payload.id }}"}}]}]',
        event=seeded.events["small"],
    )
    assert tried["problems"] == []
    (told,) = tried["explanations"]
    assert verdicts(told)["tiny"] == "yes"
    assert verdicts(told)["orders"] == "yes"
    assert rule_of(told, "tiny")["sends"][0]["options"] == {"message": "hi o-1"}
    assert rule_of(told, "tiny")["sends"][0]["deliveries"] == []
    assert rule_of(told, "tiny")["file"] == "playground.yaml"
    assert told["version"] != told["live"]
    assert await reader.counts() == before
    await reader.close()
    assert [one["rule"] for one in (await seeded.get("/rules?q=tiny"))["rules"]] == []


async def test_a_typed_file_stands_in_for_the_live_one_of_its_name(seeded: Seeded) -> None:
    tried = await seeded.attempt(
        file="rules/rules.yaml", rules=RULES.replace("gte: 1000", "gte: 1"), event=seeded.events["small"]
    )
    (told,) = tried["explanations"]
    assert verdicts(told) == {
        "orders": "yes", "large orders": "yes", "carts": "no", "tills": "no", "": "not tried",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "line", "column", "message"),
    [
        ("rules: [{name: a, when: {$.total: {gt_e: 1}}, do: [sink]}]", 1, 37, 'unknown operator "gt_e"'),
        ("rules:\n  - name: a\n    do: [snk]", 3, 10, 'no destination or action "snk"'),
        ("rules:\n  - name: a\n    do: [{sink: {mesage: x}}]", 3, 11, 'log has no option "mesage"'),
        ("rules: [", 1, 9, ""),
        ("rules:\n  - {name: orders, do: [sink]}", 2, 5, 'the name "orders" is taken'),
    ],
)
async def test_a_mistake_is_told_with_its_place(
    seeded: Seeded, rules: str, line: int, column: int, message: str
) -> None:
    tried = await seeded.attempt(rules=rules, event=seeded.events["small"])
    problem = next(one for one in tried["problems"] if one["severity"] == "error")
    if "taken" in message:
        # Of two with one name the later file has the mistake.
        assert problem["message"].startswith(message)
        return
    assert (problem["file"], problem["line"]) == ("playground.yaml", line)
    assert problem["message"].startswith(message)
    assert abs(problem["column"] - column) <= 2
    assert tried["explanations"] == []


async def test_a_payload_is_read_as_its_source_would(seeded: Seeded) -> None:
    tried = await seeded.attempt(source="shop", payload={"event": "order.paid", "id": 7, "total": 4000})
    (told,) = tried["explanations"]
    assert (told["event"]["type"], verdicts(told)["large orders"]) == ("order.paid", "yes")
    tried = await seeded.attempt(source="shop", body='{"id": 7, "total": 1}', type="cart.left")
    assert tried["explanations"][0]["event"]["type"] == "cart.left"
    rows = {"rows": [{"event": "sold", "id": number} for number in range(12)]}
    tried = await seeded.attempt(source="till", payload=rows)
    assert (tried["events"], len(tried["explanations"])) == (12, 10)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "one of `event`, `payload` and `body`"),
        ({"event": "evt_0000000000001", "payload": 1, "source": "shop"}, "one of `event`"),
        ({"payload": {}}, "`source` is missing"),
        ({"payload": {}, "source": "shp"}, 'no source "shp"'),
        ({"payload": {}, "source": "shop", "file": "../x"}, "`file` is the name of a file of rules"),
        ({"payload": {}, "source": "shop", "file": "a.test.yaml"}, "`file` is the name of a file of rules"),
        ({"payload": {}, "source": "shop", "headers": {"a": 1}}, "`headers` are names with texts"),
        ({"payload": {}, "source": "shop", "rules": "#" * 65_537}, "`rules` takes 65,537 bytes"),
        ({"payload": {}, "source": "shop", "rules": 1}, "`rules` is a name"),
        ({"payload": {}, "source": "shop", "rules": "\ud800"}, "half of a surrogate pair"),
        ({"payload": {}, "source": "shop", "rulez": ""}, "rulez"),
    ],
)
async def test_what_cannot_be_tried_is_refused_with_a_word(seeded: Seeded, asked: Any, said: str) -> None:
    assert said in (await seeded.attempt(422, **asked))["detail"]


async def test_a_typed_condition_learns_no_secret(seeded: Seeded) -> None:
    for operator in ("eq", "starts_with", "gte", "contains"):
        rules = f'rules: [{{name: oracle, when: {{$.guess: {{{operator}: "${{KEY}}"}}}}, do: [sink]}}]'
        tried = await seeded.attempt(rules=rules, source="shop", payload={"event": "x", "guess": SECRET})
        told = rule_of(tried["explanations"][0], "oracle")
        # Compared with the text `${KEY}` itself, before which `a…` stands.
        assert told["verdict"] == ("yes" if operator == "gte" else "no"), operator
    assert any("${KEY}" in problem["message"] for problem in tried["problems"])


async def test_typed_options_show_no_secret_nor_whether_one_is_set(seeded: Seeded) -> None:
    rules = """\
rules:
  - name: teller
    do:
      - forward: {url: "https://example.com/${KEY}", headers: {X-A: "${KEY}", X-B: "${NOT_SET}", X-C: "${file:/etc/hostname}"}}
"""
    tried = await seeded.attempt(rules=rules, event=seeded.events["small"])
    assert [one for one in tried["problems"] if one["severity"] == "error"] == []
    (sends,) = rule_of(tried["explanations"][0], "teller")["sends"]
    assert SECRET not in json.dumps(tried)
    assert sends["unset"] == []
    assert sends["options"]["headers"] == {"X-A": "***", "X-B": "***", "X-C": "***"}


async def test_a_long_value_is_cut(seeded: Seeded) -> None:
    payload = {"event": "x", "text": "a" * 5_000, "many": list(range(5000))}
    rules = (
        'rules: [{name: long, do: [{sink: {message: "{{ payload.text }}"}}, {sink: {message: "{{ payload.many }}"}}]}]'
    )
    tried = await seeded.attempt(rules=rules, source="shop", payload=payload)
    assert len(json.dumps(tried)) < 20_000
    message = rule_of(tried["explanations"][0], "long")["sends"][0]["options"]["message"]
    assert message.endswith("…")


async def test_of_many_rules_those_that_say_most_are_shown_unless_all_are_asked_for(seeded: Seeded) -> None:
    others = ", ".join(f"{{name: o{number}, on: other.{number}, do: [sink]}}" for number in range(60))
    matching = ", ".join(f"{{name: m{number}, do: [sink]}}" for number in range(70))
    tried = await seeded.attempt(rules=f"rules: [{others}, {matching}]", event=seeded.events["small"])
    (told,) = tried["explanations"]
    assert told["matched"] == 71
    assert told["left_out"] == ["62 rules for other events", "21 more that match"]
    assert sum(one["verdict"] == "yes" for one in told["rules"]) == 50
    whole = await seeded.attempt(rules=f"rules: [{others}, {matching}]", event=seeded.events["small"], all=True)
    assert len(whole["explanations"][0]["rules"]) == 135


async def test_rule_sets_that_went_live_and_what_those_on_disk_would_change(seeded: Seeded) -> None:
    daemon, path = seeded.daemon, seeded.daemon.folder / "rules" / "rules.yaml"
    versions = (await seeded.get("/rules/versions"))["versions"]
    assert [(one["live"], one["rules"]) for one in versions] == [(True, 5)]
    first = versions[0]["version"]
    path.write_text(RULES.replace("gte: 1000", "gte: 3").replace("{{ payload.total }} for", "{{ payload.total }} to"))
    assert (await seeded.get("/rules"))["differs_on_disk"] is True
    found = await seeded.get("/diff")
    assert (found["differs"], found["events"], found["left_out"]) == (True, 4, False)
    assert [one["rule"] for one in found["rules"]] == ["orders", "large orders"]
    assert found["rules"][1]["newly_matching"] == {"events": 1, "example": seeded.events["small"]}
    (change,) = found["rules"][0]["changes"]
    assert change["differences"] == [{"path": "message", "then": "2000 for ops", "now": "2000 to ops"}]
    assert [one["rule"] for one in (await seeded.get("/diff?rule=orders"))["rules"]] == ["orders"]
    assert (await seeded.get("/diff?limit=1"))["left_out"]
    assert (await seeded.get("/diff?rule=none", 404))["status"] == 404

    path.write_text("rules: [{name: a, do: [snk]}]")
    assert 'no destination or action "snk"' in (await seeded.get("/diff", 409))["detail"]
    path.write_text(RULES.replace("gte: 1000", "gte: 3"))
    # The second time nothing is new.
    for _ in range(2):
        assert (await daemon.ask("/reload", method="POST", body={})).status == 200
    versions = (await seeded.get("/rules/versions"))["versions"]
    assert [one["live"] for one in versions] == [True, False]
    assert versions[1]["version"] == first
    then = await seeded.get(f"/rules/versions/{first[:6]}")
    assert then["files"] == {"rules/rules.yaml": RULES, "rules/tills.yaml": OTHER}
    for unknown in ("x", "0" * 32, first[:5]):
        assert (await seeded.get(f"/rules/versions/{unknown}", 404))["status"] == 404
    assert verdicts(await seeded.explain("small"))["large orders"] == "no"
    assert verdicts(await seeded.explain("small", "?rules=now"))["large orders"] == "yes"
