"""The admin listener's application: who may ask, what is answered, and that a stranger's page cannot."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hookline.daemon.asked import AskedError
from hookline.daemon.config.load import ConfigError
from hookline.daemon.deleting.deleter import Progress
from hookline.daemon.deleting.request import DeletionRequest
from hookline.daemon.destinations.states import DestinationState
from hookline.daemon.destinations.tester import DestinationTestError, SentTest
from hookline.daemon.http.admin import Operations, admin_application, public_application
from hookline.daemon.ids import encode
from hookline.daemon.metrics import Metrics
from hookline.daemon.reload.live import ReloadFaultError
from hookline.daemon.reload.live_sources import LearnsNothingError
from hookline.daemon.replaying.answer import Cancelled, Preview, Replayed
from hookline.daemon.replaying.request import CancelRequest, ReplayRequest
from hookline.daemon.store.changes import Accepted, Audit, DeliveryId, Lane, NewEvent, State
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.stored import Tally
from hookline.rules import Event, EventId, Place, Problem, RulesError

pytestmark = pytest.mark.anyio

TOKEN = "a-token-of-some-length"
MADE = DeliveryId("dlv_0000000000001")
EVENT = EventId("evt_0000000000001")
STATE = DestinationState(
    lane=Lane("erp"),
    name="erp",
    action="forward",
    rule=None,
    is_configured=True,
    work=None,
    lately=None,
    last_delivered_at=None,
    live=None,
)
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}


class Daemon:
    """What the API asks, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.noted: list[Audit] = []
        self.is_ready = True
        self.problems: list[str] = []
        self.refuses: Exception = RulesError(
            [Problem(place=Place("rules/a.yaml", 3, 7), path="rules[0]", message="unknown key")]
        )
        self.metrics = Metrics()

    async def reload(self) -> str:
        raise self.refuses

    async def replay(self, asked: ReplayRequest) -> Preview | Replayed:
        self.asked.append(asked)
        if asked.by == "now":
            raise AskedError("no event evt_0000000000000")
        if asked.is_dry_run:
            return Preview(count=2, of="deliveries", sample=(), skipped=0, lasts=timedelta(seconds=1.5))
        return Replayed(count=1, first=MADE, last=MADE, skipped=0, lasts=timedelta(0))

    async def cancel(self, asked: CancelRequest) -> Preview | Cancelled:
        self.asked.append(asked)
        if MADE in asked.deliveries:
            raise AskedError(f"no delivery {MADE}")
        return Cancelled(count=3, skipped=1)

    async def destinations(self) -> list[DestinationState]:
        return [STATE]

    async def test_destination(self, name: str, options: Mapping[str, Any]) -> SentTest:
        if name != "erp":
            raise KeyError(name)
        if "text" not in options:
            place = Place("hookline.yaml", 3, 7)
            raise DestinationTestError([Problem(place=place, path="erp.text", message="is missing")])
        self.asked.append(("test", name, options))
        return SentTest(event_id=EventId("evt_0000000000001"), delivery_id=MADE)

    async def set_held(self, name: str, is_held: bool, reason: str) -> None:
        if name != "erp":
            raise KeyError(name)
        self.asked.append((name, is_held, reason))

    async def note_backup(self, told: Mapping[str, Any]) -> None:
        if "path" not in told:
            raise ValueError("`path` is missing")
        self.asked.append(("backup", told))

    async def delete(self, asked: DeletionRequest, who: str) -> Tally | int:
        self.asked.append((asked, who))
        if asked.is_dry_run:
            return Tally(events=2, first=EVENT, last=EVENT, deliveries={State.DEAD: 1})
        return 7

    async def deletion(self, number: int) -> Progress:
        if number != 7:
            raise KeyError(number)
        return Progress(number=7, events=1, is_over=False, waits_for=(MADE,))

    async def note_done(self, audit: Audit) -> None:
        self.noted.append(audit)

    def sources(self) -> list[dict[str, Any]]:
        return [{"name": "asana", "type": "asana", "waiting": True, "learned": 0}]

    def await_secret(self, name: str) -> None:
        self._check(name)
        self.asked.append(("await", name))

    async def forget_secrets(self, name: str) -> int:
        self._check(name)
        self.asked.append(("forget", name))
        return 2

    def _check(self, name: str) -> None:
        if name == "nowhere":
            raise KeyError(name)
        if name == "agiled":
            raise LearnsNothingError(name)

    def status(self) -> Mapping[str, Any]:
        return {"version": "1"}


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def client(daemon: Daemon) -> Any:
    operations = Operations(
        status=daemon.status,
        is_ready=lambda: daemon.is_ready,
        reload=daemon.reload,
        replay=daemon.replay,
        cancel=daemon.cancel,
        destinations=daemon.destinations,
        test_destination=daemon.test_destination,
        set_held=daemon.set_held,
        sources=daemon.sources,
        await_secret=daemon.await_secret,
        forget_secrets=daemon.forget_secrets,
        note_backup=daemon.note_backup,
        delete=daemon.delete,
        deletion=daemon.deletion,
        note_done=daemon.note_done,
        degraded=lambda: daemon.problems,
    )
    hosts = frozenset({"localhost", "127.0.0.1", "::1"})
    app = admin_application(operations, token=TOKEN, registry=daemon.metrics.registry, hosts=hosts)
    return app.test_client()


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"bearer {TOKEN}", f"Basic {TOKEN}", "Bearer é\N{SNOWMAN}"]
)
@pytest.mark.parametrize("path", ["/api/v1/status", "/metrics", "/api/v1/nowhere"])
async def test_without_the_token_nothing_is_said(client: Any, path: str, authorization: str | None) -> None:
    headers = {"Host": "localhost"} | ({} if authorization is None else {"Authorization": authorization})
    reply = await client.get(path, headers=headers)
    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert (await reply.get_json())["detail"] == "send the admin token as `Authorization: Bearer …`"


async def test_a_token_in_the_query_is_no_token(client: Any) -> None:
    assert (await client.get(f"/api/v1/status?token={TOKEN}", headers={"Host": "localhost"})).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "localhost.evil.example", "169.254.169.254"])
async def test_another_name_for_this_address_is_refused(client: Any, host: str) -> None:
    assert (await client.get("/api/v1/status", headers=AUTHORIZED | {"Host": host})).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8081", "127.0.0.1", "[::1]:8081", "LOCALHOST"])
async def test_its_own_names_are_fine(client: Any, host: str) -> None:
    assert (await client.get("/api/v1/status", headers=AUTHORIZED | {"Host": host})).status_code == 200


async def test_a_mistake_on_disk_is_told_and_takes_no_daemon_out_of_service(client: Any, daemon: Daemon) -> None:
    assert await (await client.get("/readyz", headers={"Host": "localhost"})).get_json() == {"status": "ready"}
    daemon.problems = ["rules/a.yaml:3:7: rules[0]: unknown key"]
    reply = await client.get("/readyz", headers={"Host": "localhost"})
    assert (reply.status_code, await reply.get_json()) == (200, {"status": "ready", "degraded": daemon.problems})
    daemon.is_ready = False
    reply = await client.get("/readyz", headers={"Host": "localhost"})
    assert (reply.status_code, await reply.get_json()) == (503, {"status": "not ready"})


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (
            RulesError([Problem(place=Place("rules/a.yaml", 3, 7), path="rules[0]", message="unknown key")]),
            422,
            "The rules on disk are bad; the old ones stay",
        ),
        (
            ConfigError([Problem(place=Place("hookline.yaml", 3, 7), path="", message="unknown key")], {}),
            422,
            "The configuration on disk is bad; the old one stays",
        ),
        (ReloadFaultError("ValueError()"), 500, "The reload failed by a fault of Hookline; nothing changed"),
        (StoreError("the disk is full"), 503, "The store cannot do it now"),
    ],
)
async def test_a_reload_that_is_refused_says_why(
    client: Any, daemon: Daemon, error: Exception, status: int, title: str
) -> None:
    daemon.refuses = error
    reply = await client.post("/api/v1/reload", headers=AUTHORIZED, json={})
    assert (reply.status_code, (await reply.get_json())) == (
        status,
        {"status": status, "title": title, "detail": str(error)},
    )


async def test_health_needs_no_token(client: Any, daemon: Daemon) -> None:
    assert (await client.get("/healthz", headers={"Host": "localhost"})).status_code == 200
    assert (await client.get("/readyz", headers={"Host": "localhost"})).status_code == 200
    daemon.is_ready = False
    assert (await client.get("/readyz", headers={"Host": "localhost"})).status_code == 503


async def test_a_form_of_a_strangers_page_is_refused(client: Any, daemon: Daemon) -> None:
    reply = await client.post("/api/v1/replay", headers=AUTHORIZED | {"Content-Type": "text/plain"}, data="{}")
    assert reply.status_code == 415
    assert daemon.asked == []


async def test_bad_rules_are_a_422_that_names_the_line(client: Any) -> None:
    reply = await client.post("/api/v1/reload", headers=AUTHORIZED, json={})
    assert reply.status_code == 422
    assert reply.content_type == "application/problem+json"
    assert (await reply.get_json())["detail"] == "rules/a.yaml:3:7: rules[0]: unknown key"


async def test_replay_takes_events_and_deliveries(client: Any, daemon: Daemon) -> None:
    said = {"events": ["evt_0000000000000"], "deliveries": ["dlv_0000000000000"]}
    reply = await client.post("/api/v1/replay", headers=AUTHORIZED, json=said)
    made = {"dry_run": False, "count": 1, "first": MADE, "last": MADE, "skipped": 0, "lasts_s": 0}
    assert await reply.get_json() == made
    assert daemon.asked == [ReplayRequest.from_json(said)]


async def test_replay_takes_a_filter_and_says_first_what_it_would_do(client: Any, daemon: Daemon) -> None:
    said = {"filter": {"state": "dead", "destination": "erp"}, "rate": "50/s", "dry_run": True}
    reply = await client.post("/api/v1/replay", headers=AUTHORIZED, json=said)
    told = {"dry_run": True, "count": 2, "of": "deliveries", "skipped": 0, "lasts_s": 1.5, "sample": []}
    assert await reply.get_json() == told
    assert daemon.asked == [ReplayRequest.from_json(said)]


async def test_cancel_says_how_many(client: Any, daemon: Daemon) -> None:
    reply = await client.post("/api/v1/cancel", headers=AUTHORIZED, json={"filter": {"destination": "erp"}})
    assert await reply.get_json() == {"dry_run": False, "count": 3, "skipped": 1}
    assert daemon.asked == [CancelRequest.from_json({"filter": {"destination": "erp"}})]
    for said, detail in [
        ({"deliveries": [MADE]}, f"no delivery {MADE}"),
        ({"filter": {"state": "dead"}}, "only what is pending or collected can be cancelled, not what is dead"),
        ({}, "name between 1 and 10000 deliveries, or pick them by `filter`"),
    ]:
        refused = await client.post("/api/v1/cancel", headers=AUTHORIZED, json=said)
        assert refused.status_code == 422
        assert (await refused.get_json())["title"] == "Cannot be cancelled"
        assert (await refused.get_json())["detail"] == detail


async def test_destinations_are_told_and_tested(client: Any, daemon: Daemon) -> None:
    reply = await client.get("/api/v1/destinations", headers=AUTHORIZED)
    assert await reply.get_json() == {"destinations": [STATE.to_json()]}
    sent = await client.post("/api/v1/destinations/erp/test", headers=AUTHORIZED, json={"options": {"text": "x"}})
    assert await sent.get_json() == {"event": "evt_0000000000001", "delivery": MADE}
    assert daemon.asked == [("test", "erp", {"text": "x"})]


@pytest.mark.parametrize(
    ("name", "said", "status", "detail"),
    [
        ("nowhere", {}, 404, "no destination 'nowhere'"),
        ("erp", {}, 422, "erp.text: is missing; rules give it, so give it here: --set text=…"),
        ("erp", {"options": [1]}, 422, 'send {"options": {…}}, or {}'),
        ("erp", [], 422, 'send {"options": {…}}, or {}'),
    ],
)
async def test_a_test_that_cannot_be_says_why(
    client: Any, daemon: Daemon, name: str, said: Any, status: int, detail: str
) -> None:
    reply = await client.post(f"/api/v1/destinations/{name}/test", headers=AUTHORIZED, json=said)
    assert (reply.status_code, (await reply.get_json())["detail"]) == (status, detail)
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        ([], "send an object with `events`, `deliveries` or `filter`"),
        ({}, "name between 1 and 10000 events or deliveries"),
        ({"events": [encode("evt", one) for one in range(10_001)]}, "name between 1 and 10000 events or deliveries"),
        ({"events": "evt_0000000000000"}, "ids come in a list"),
        ({"events": ["dlv_0000000000000"]}, "not an id of the form evt_ and 13 letters or digits: 'dlv_0000000000000'"),
        ({"events": [None]}, "not an id of the form evt_ and 13 letters or digits: 'None'"),
        ({"deliveries": ["dlv_0000000000000"], "by": "now"}, "`by: now` goes with events"),
        ({"events": ["evt_0000000000000"], "by": "tomorrow"}, "`by` is then or now, not 'tomorrow'"),
        ({"event": []}, 'unknown: event; did you mean "events"?'),
        ({"events": ["evt_0000000000000"], "by": "now"}, "no event evt_0000000000000"),
    ],
)
async def test_a_replay_that_cannot_be_is_a_422_that_says_why(client: Any, said: Any, detail: str) -> None:
    reply = await client.post("/api/v1/replay", headers=AUTHORIZED, json=said)
    assert reply.status_code == 422
    assert (await reply.get_json())["detail"].startswith(detail)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
async def test_what_is_no_json_is_a_400(client: Any, body: bytes) -> None:
    headers = AUTHORIZED | {"Content-Type": "application/json"}
    reply = await client.post("/api/v1/replay", headers=headers, data=body)
    assert reply.status_code == 400


async def test_a_huge_body_is_a_413(client: Any) -> None:
    headers = AUTHORIZED | {"Content-Type": "application/json"}
    reply = await client.post("/api/v1/replay", headers=headers, data=b" " * (1 << 21))
    assert reply.status_code == 413


async def test_hold_and_release(client: Any, daemon: Daemon) -> None:
    held = await client.post("/api/v1/destinations/erp/hold", headers=AUTHORIZED, json={"reason": "maintenance"})
    assert await held.get_json() == {"destination": "erp", "held": True}
    await client.post("/api/v1/destinations/erp/release", headers=AUTHORIZED, json={})
    assert daemon.asked == [("erp", True, "maintenance"), ("erp", False, "")]
    assert (await client.post("/api/v1/destinations/nowhere/hold", headers=AUTHORIZED, json={})).status_code == 404
    assert (await client.post("/api/v1/destinations/erp/drop", headers=AUTHORIZED, json={})).status_code == 404


async def test_sources_wait_for_a_secret_or_forget_theirs(client: Any, daemon: Daemon) -> None:
    reply = await client.get("/api/v1/sources", headers=AUTHORIZED)
    assert await reply.get_json() == {"sources": daemon.sources()}
    waits = await client.post("/api/v1/sources/asana/await", headers=AUTHORIZED, json={})
    assert await waits.get_json() == {"source": "asana", "waiting": True}
    forgets = await client.post("/api/v1/sources/asana/forget", headers=AUTHORIZED, json={})
    assert await forgets.get_json() == {"source": "asana", "forgotten": 2}
    assert daemon.asked == [("await", "asana"), ("forget", "asana")]


@pytest.mark.parametrize("verb", ["await", "forget"])
async def test_a_source_that_is_not_or_learns_nothing_is_a_problem(client: Any, daemon: Daemon, verb: str) -> None:
    missing = await client.post(f"/api/v1/sources/nowhere/{verb}", headers=AUTHORIZED, json={})
    assert (missing.status_code, (await missing.get_json())["detail"]) == (404, "no source 'nowhere'")
    reply = await client.post(f"/api/v1/sources/agiled/{verb}", headers=AUTHORIZED, json={})
    assert reply.status_code == 409
    assert (await reply.get_json())["title"] == "The source learns no secret"
    assert daemon.asked == []
    assert (await client.post(f"/api/v1/sources/asana/{verb}", headers={"Host": "localhost"})).status_code == 401


async def test_metrics_are_readable_by_prometheus(client: Any, daemon: Daemon) -> None:
    for matched, is_duplicate in ((("paid",), False), (("paid",), False), (("",), False), ((), True)):
        new = NewEvent(event=an_event(), pointer=None, rules_version="1", matched=matched)
        daemon.metrics.accepted(new, Accepted(event_id=new.event.id, is_duplicate=is_duplicate))
    daemon.metrics.rejected("", "path")
    daemon.metrics.attempted("erp", "delivered", 0.02)
    daemon.metrics.delivered("erp", 0.5)
    reply = await client.get("/metrics", headers=AUTHORIZED)
    families = {family.name: family for family in text_string_to_metric_families((await reply.get_data()).decode())}
    received = {
        sample.labels["outcome"]: sample.value
        for sample in families["hookline_events_received"].samples
        if sample.name.endswith("_total")
    }
    assert received == {"matched": 2, "unmatched": 1, "duplicate": 1}
    assert {"hookline_requests_rejected", "hookline_attempt_seconds", "hookline_delivery_seconds"} <= set(families)


def an_event() -> Event:
    return Event(
        id=EventId("evt_0000000000000"), source="agiled", type="invoice.paid", sender_id=None, key="k", tenant=None,
        occurred_at=None, received_at=datetime(2026, 5, 18, tzinfo=UTC), headers={}, query={}, client_ip="",
        payload=None, envelope=None,
    )  # fmt: skip


async def test_the_public_listener_says_nothing_but_that_it_is_alive() -> None:
    client = public_application().test_client()
    assert (await client.get("/healthz")).status_code == 200
    for path in ("/", "/metrics", "/api/v1/status", "/readyz"):
        assert (await client.get(path)).status_code == 404


async def test_a_backup_is_noted_or_refused_with_the_reason(client: Any, daemon: Daemon) -> None:
    noted = await client.post("/api/v1/backups", headers=AUTHORIZED, json={"path": "/backups/1"})
    assert await noted.get_json() == {"noted": True}
    assert daemon.asked == [("backup", {"path": "/backups/1"})]
    refused = await client.post("/api/v1/backups", headers=AUTHORIZED, json=["/backups/1"])
    assert refused.status_code == 422
    assert (await refused.get_json())["detail"] == "`path` is missing"


# Deletion, and the audit of what is done


async def test_a_deletion_is_shown_first_then_begun_and_followed(client: Any, daemon: Daemon) -> None:
    headers = AUTHORIZED | {"Hookline-User": "ada"}
    said = {"filter": {"tenant": "acme"}, "reason": "asked to"}
    shown = await client.post("/api/v1/events/delete", headers=headers, json=said | {"dry_run": True})
    assert shown.status_code == 200
    told = await shown.get_json()
    assert (told["events"], told["first"]["id"], told["deliveries"]) == (2, EVENT, {"dead": 1})
    begun = await client.post("/api/v1/events/delete", headers=headers, json=said)
    assert begun.status_code == 202
    assert await begun.get_json() == {"deletion": 7, "events": 1, "over": False, "waits_for": [MADE]}
    asked, who = daemon.asked[-1]
    assert (asked.which.where.tenant, asked.reason, who) == ("acme", "asked to", "ada")
    assert (await client.get("/api/v1/deletions/7", headers=AUTHORIZED)).status_code == 200
    assert (await client.get("/api/v1/deletions/8", headers=AUTHORIZED)).status_code == 404


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        ({"reason": "x"}, "name between 1 and 10000 events, or pick them by `filter`"),
        ({"events": ["evt_1"], "reason": "x"}, "evt_1"),
        ({"events": [EVENT]}, "`reason` says in 1 to 500 characters why, for the audit"),
        ({"events": [EVENT], "reason": "  "}, "`reason` says in 1 to 500 characters why, for the audit"),
        ({"events": [EVENT], "filter": {"tenant": "a"}, "reason": "x"}, "not both"),
        ({"filter": {}, "reason": "x"}, "a filter says `tenant` or `source`"),
        ({"filter": {"type": "a"}, "reason": "x"}, "a filter says `tenant` or `source`"),
        ({"filter": {"tennant": "a"}, "reason": "x"}, "did you mean"),
        ({"filter": {"tenant": "a", "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "reason": "x"},
         "nothing is between"),
    ],
)  # fmt: skip
async def test_a_deletion_that_cannot_be_is_a_422_that_says_why(
    client: Any, daemon: Daemon, said: Any, detail: str
) -> None:
    refused = await client.post("/api/v1/events/delete", headers=AUTHORIZED, json=said)
    assert refused.status_code == 422
    assert detail in (await refused.get_json())["detail"]
    assert not daemon.asked


async def test_what_is_done_by_hand_is_noted_with_who_asked(client: Any, daemon: Daemon) -> None:
    as_ada = AUTHORIZED | {"Hookline-User": "ada"}
    await client.post("/api/v1/destinations/erp/hold", headers=as_ada, json={"reason": "maintenance"})
    await client.post("/api/v1/destinations/erp/release", headers=AUTHORIZED, json={})
    await client.post("/api/v1/replay", headers=as_ada, json={"events": [EVENT], "dry_run": True})
    await client.post("/api/v1/replay", headers=as_ada, json={"events": [EVENT]})
    await client.post("/api/v1/cancel", headers=as_ada, json={"filter": {"destination": "erp"}})
    await client.post("/api/v1/destinations/nowhere/hold", headers=as_ada, json={})
    assert daemon.noted == [
        Audit(who="ada", what="hold", subject="erp", reason="maintenance"),
        Audit(who="api", what="release", subject="erp"),
        Audit(who="ada", what="replay", subject=MADE, count=1),
        Audit(who="ada", what="cancel", count=3),
    ]
