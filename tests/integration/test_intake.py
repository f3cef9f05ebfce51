"""Match and accept: what is stored, what is started, and what happens when the store says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from structlog.testing import capture_logs

from hookline.daemon.delivery.materials import Material
from hookline.daemon.ids import Ids
from hookline.daemon.intake import Intake
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.replaying.answer import Replayed
from hookline.daemon.replaying.replayer import Replayer
from hookline.daemon.replaying.request import ReplayRequest
from hookline.daemon.sources.build import build_source
from hookline.daemon.sources.port import IncomingRequest, NormalizedEvent, SourceSettings
from hookline.daemon.store.changes import Accept, Accepted, Answer, Change, Lane, Token
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import Store, StoreError
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.daemon.store.stored import DeliveryFilter
from hookline.rules import EventId, RuleSet, World, load_rules
from hookline.rules.world import NoLookup

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)
_PLAIN = LanePolicy(concurrency=1)
RULES = """
rules:
  - {name: paid, on: invoice.paid, when: {$.total: {gte: 1000}}, do: [erp, log: {message: "in place"}]}
fallback:
  - do: mail
"""


class Slots:
    """Stands where the dispatcher does, and remembers what it was told."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self.reserved: dict[Token, Lane] = {}
        self.full: set[str] = set()
        self.started: list[Any] = []
        self.given_back: list[Token] = []
        self.queues: list[tuple[Lane, timedelta]] = []
        self.woken = 0

    def reserve(self, lane: Lane) -> Token | None:
        if lane in self.full:
            return None
        token = Token(self._ids.token())
        self.reserved[token] = lane
        return token

    def start(self, claimed: Any, material: Material) -> None:
        del self.reserved[claimed.token]
        self.started.append((claimed, material))

    def vacate(self, tokens: Iterable[Token]) -> None:
        for token in tokens:
            del self.reserved[token]

    def give_back(self, tokens: Mapping[Any, Token]) -> None:
        for token in tokens.values():
            del self.reserved[token]
            self.given_back.append(token)

    def queued(self, lane: Lane, due_in: timedelta) -> None:
        self.queues.append((lane, due_in))

    def wake(self) -> None:
        self.woken += 1


class Commit:
    """Stands where the group commit does: straight to the store, unless told otherwise."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fails = False
        self.hangs: asyncio.Event | None = None
        self.taken: list[Accept] = []

    def enqueue(self, change: Accept) -> asyncio.Future[Any]:
        self.taken.append(change)
        return asyncio.ensure_future(self.submit(change))

    async def submit(self, change: Change) -> Any:
        if self.hangs is not None:
            await self.hangs.wait()
        answers = await self._store.write([change])
        if self.fails:
            raise StoreError("no answer from the disk")
        return answers[0]


class FromShop:
    name = "shop"
    dedupe_window = timedelta(days=90)
    credential_headers = frozenset({"x-signature"})
    credential_query = frozenset({"token"})


class House:
    """An intake with what stands around it."""

    def __init__(self, path: Path | None = None) -> None:
        ids = Ids(lambda: NOW)
        self.store: Store = (
            SqliteStore(path, clock=lambda: NOW, ids=ids) if path else MemoryStore(clock=lambda: NOW, ids=ids)
        )
        self.slots = Slots(ids)
        self.commit = Commit(self.store)
        world = World(
            sources={"shop": None},
            destinations={"erp": "forward", "mail": "email"},
            actions={"forward", "email", "log"},
            lookup=NoLookup(),
            version="1",
        )
        self.rules: Any = load_rules({"rules.yaml": RULES}, world)
        self.policies: dict[str, LanePolicy] = {}
        self.intake = Intake(
            rules=lambda: self.rules,
            policies=self.policy,
            dispatcher=self.slots,  # type: ignore[arg-type] # what of the dispatcher an intake uses
            commit=self.commit,  # type: ignore[arg-type]
            ids=ids,
            log=structlog.get_logger(),
        )

    def policy(self, lane: Lane) -> LanePolicy:
        return self.policies.get(lane, _PLAIN)

    async def accept(self, *keys: str, **said: Any) -> tuple[Accepted, ...]:
        return await self.begin(*keys, **said)

    def begin(
        self,
        *keys: str,
        total: int = 5000,
        kind: str = "invoice.paid",
        headers: dict[str, str] | None = None,
        **said: Any,
    ) -> asyncio.Future[tuple[Accepted, ...]]:
        request = IncomingRequest(
            method="POST", subpath="", url=None, client_ip="192.0.2.1", body=b"{}", received_at=NOW,
            headers=[("content-type", "application/json"), ("x-signature", "s3cret"), ("x-a", "1"), ("x-a", "2"),
                     *(headers or {}).items()],
            query=[("token", "s3cret"), ("page", "1"), ("page", "2")],
        )  # fmt: skip
        events = tuple(
            NormalizedEvent(
                type=kind, sender_id=key, key=key, tenant=None, occurred_at=None, payload={"total": total},
                envelope=None, pointer=("events", position) if len(keys) > 1 else None, **said,
            )
            for position, key in enumerate(keys)
        )  # fmt: skip
        return self.intake.accept(FromShop(), request, events)  # type: ignore[arg-type]


@pytest.fixture
async def house() -> House:
    made = House()
    await made.store.open()
    return made


async def test_an_event_is_stored_with_all_that_its_rules_ask_for_and_begun_at_once(house: House) -> None:
    (answer,) = await house.accept("k1")
    assert not answer.is_duplicate
    reader = house.store.reader()
    stored = await reader.event(answer.event_id)
    assert stored is not None
    assert (stored.matched, stored.rules_version, stored.is_unrouted) == (("paid",), house.rules.version, False)
    deliveries = await reader.deliveries(DeliveryFilter(event_id=answer.event_id), limit=10)
    assert sorted((one.destination, one.rule) for one in deliveries) == [("erp", "paid"), ("log", "paid")]
    assert [claimed.destination for claimed, _ in house.slots.started] == ["erp", "log"]
    assert house.slots.reserved == {}
    # An action in place has a lane of its own.
    assert {one.lane.partition(":")[0] for one in deliveries} == {"erp", "step"}


async def test_what_an_event_is_about_reaches_the_store(house: House) -> None:
    (answer,) = await house.accept("k1", subject="invoice/7")
    stored = await house.store.reader().event(answer.event_id)
    assert stored is not None
    assert stored.event.subject == "invoice/7"


async def test_a_document_that_the_body_does_not_say_goes_with_the_request(house: House) -> None:
    await house.accept("k1")
    await house.accept("k2", is_reshaped=True, total=9)
    await house.accept("k3", "k4", is_reshaped=True)
    assert [change.request.document for change in house.commit.taken] == [None, '{"total": 9}', "null"]
    assert [material.document for _, material in house.slots.started] == [None] * 2 + ['{"total": 9}'] + ["null"] * 4


async def test_each_event_is_logged_once_with_what_its_rules_made_of_it(house: House) -> None:
    with capture_logs() as lines:
        first, second = await house.accept("k1", "k2", kind="invoice.paid")
        await house.accept("k1")
        for _ in range(2):
            await house.accept("k3", kind="unknown", why_unreadable="not JSON")
    assert [(line["event_id"], line["outcome"], line["rules"], line["detail"]) for line in lines] == [
        (first.event_id, "accepted", ["paid"], None),
        (second.event_id, "accepted", ["paid"], None),
        # Here its body holds no other event.
        (first.event_id, "conflict", None, None),
        (lines[3]["event_id"], "accepted", ["fallback"], "not JSON"),
        (lines[3]["event_id"], "duplicate", None, "not JSON"),
    ]
    assert {(line["event"], line["source"], line["client_ip"], line["trace"]) for line in lines} == {
        ("event.received", "shop", "192.0.2.1", None)
    }
    assert all(line["milliseconds"] >= 0 for line in lines)


async def test_what_is_not_stored_is_not_said_to_be(house: House) -> None:
    house.commit.fails = True
    with capture_logs() as lines, pytest.raises(StoreError):
        await house.accept("k1")
    assert lines == []


async def test_the_events_of_a_request_share_its_trace_and_what_is_none_is_not_kept(house: House) -> None:
    good = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with capture_logs() as lines:
        kept = await house.accept("k1", "k2", headers={"traceparent": good, "tracestate": "a=1"})
        (dropped,) = await house.accept("k3", headers={"traceparent": good.upper(), "tracestate": "a=1"})
    assert [line["trace"] for line in lines] == ["ab" * 16, "ab" * 16, None]
    reader = house.store.reader()
    for answer in kept:
        stored = await reader.event(answer.event_id)
        assert stored is not None
        assert (stored.event.headers["traceparent"], stored.event.headers["tracestate"]) == (good, "a=1")
    stored = await reader.event(dropped.event_id)
    assert stored is not None
    assert not {"traceparent", "tracestate"} & set(stored.event.headers)


async def test_credentials_are_taken_out_before_anything_is_matched_or_stored(house: House) -> None:
    (answer,) = await house.accept("k1")
    stored = await house.store.reader().event(answer.event_id)
    assert stored is not None
    assert stored.event.headers == {"content-type": "application/json", "x-a": "1, 2"}
    assert stored.event.query == {"page": "1"}


async def test_a_duplicate_starts_nothing_and_frees_its_slots(house: House) -> None:
    (first,) = await house.accept("k1")
    (again,) = await house.accept("k1")
    assert again == Accepted(event_id=first.event_id, is_duplicate=True)
    assert len(house.slots.started) == 2
    assert house.slots.reserved == {}


async def test_of_a_batch_only_the_new_ones_start(house: House) -> None:
    await house.accept("k1")
    answers = await house.accept("k1", "k2", "k2")
    assert [answer.is_duplicate for answer in answers] == [True, False, True]
    assert len(house.slots.started) == 4
    assert [material.is_split for _, material in house.slots.started[2:]] == [True, True]
    # Of a batch `("events", position)`, so that whoever has only the body finds the payload again.
    assert {material.pointer for _, material in house.slots.started[2:]} == {("events", 1)}
    assert house.slots.reserved == {}


async def test_a_full_lane_is_told_that_something_waits(house: House) -> None:
    house.slots.full.add("erp")
    await house.accept("k1")
    assert house.slots.queues == [("erp", timedelta(0))]
    assert [claimed.destination for claimed, _ in house.slots.started] == ["log"]


async def test_what_another_node_keeps_back_waits_and_gives_its_place_back(house: House) -> None:
    write = house.store.write

    async def keeps_back(changes: Sequence[Change]) -> list[Answer]:
        answers = await write(changes)
        ((accepted,),) = answers  # type: ignore[misc]
        (new,) = changes[0].events  # type: ignore[union-attr]
        kept_back = tuple(one.id for one in new.deliveries if one.lane == "erp")
        return [(replace(accepted, kept_back=kept_back),)]  # type: ignore[type-var, list-item]

    house.store.write = keeps_back  # type: ignore[method-assign]
    await house.accept("k1")
    assert house.slots.reserved == {}
    assert house.slots.queues == [("erp", timedelta(0))]
    assert [claimed.destination for claimed, _ in house.slots.started] == ["log"]


async def test_what_no_rule_matches_goes_to_the_fallback(house: House) -> None:
    (answer,) = await house.accept("k1", total=1)
    stored = await house.store.reader().event(answer.event_id)
    assert stored is not None
    assert stored.matched == ("",)
    assert [claimed.destination for claimed, _ in house.slots.started] == ["mail"]


async def test_a_fault_in_matching_loses_no_event(house: House) -> None:
    class Broken:
        version = "v"

        def match(self, _event: Any) -> RuleSet:
            raise ZeroDivisionError

    house.rules = Broken()
    (answer,) = await house.accept("k1")
    assert await house.store.unrouted(limit=10) == [answer.event_id]


async def test_an_event_that_still_cannot_be_matched_stays_unrouted_and_ends_nothing(house: House) -> None:
    good = house.rules

    class Broken:
        version = "v"

        def match(self, _event: Any) -> RuleSet:
            raise ZeroDivisionError

    house.rules = Broken()
    (answer,) = await house.accept("k1")
    replayer = Replayer(
        rules=lambda: house.rules,
        policies=house.policy,
        commit=house.commit,  # type: ignore[arg-type]
        dispatcher=house.slots,  # type: ignore[arg-type]
        ids=Ids(lambda: NOW),
        store=house.store,
        clock=lambda: NOW,
        log=structlog.get_logger(),
    )
    # As at every start and reload; one that is gone meanwhile ends nothing either.
    await replayer.route_unrouted([answer.event_id, EventId("evt_0000000000000")])
    assert await house.store.unrouted(limit=10) == [answer.event_id]
    asked = await replayer.replay(ReplayRequest(events=(answer.event_id,), by="now"))
    assert asked == Replayed(count=0, first=None, last=None, skipped=1, lasts=timedelta(0))
    house.rules = good
    await replayer.route_unrouted([answer.event_id])
    assert await house.store.unrouted(limit=10) == []
    deliveries = await house.store.reader().deliveries(DeliveryFilter(event_id=answer.event_id), limit=10)
    assert sorted(one.destination for one in deliveries) == ["erp", "log"]
    assert house.slots.woken


async def test_when_the_outcome_is_unknown_claims_are_given_back_and_nothing_starts(house: House) -> None:
    house.commit.fails = True
    with pytest.raises(StoreError):
        await house.accept("k1")
    assert house.slots.started == []
    assert len(house.slots.given_back) == 2
    # The sender comes again: its event was stored after all, and is a duplicate now.
    house.commit.fails = False
    (again,) = await house.accept("k1")
    assert again.is_duplicate


async def test_a_cancelled_accept_gives_its_claims_back(house: House) -> None:
    house.commit.hangs = asyncio.Event()
    task = asyncio.ensure_future(house.accept("k1"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(house.slots.given_back) == 2
    assert house.slots.reserved == {}


async def test_what_follows_the_commit_happens_though_nobody_waits(house: House) -> None:
    house.commit.hangs = asyncio.Event()
    answers = house.begin("k1")
    # Handed over already: whoever asked may be cancelled on its next line.
    assert [change.events[0].event.key for change in house.commit.taken] == ["k1"]
    waiting = asyncio.ensure_future(asyncio.wait([answers]))
    await asyncio.sleep(0)
    waiting.cancel()
    house.commit.hangs.set()
    await asyncio.wait([answers])
    assert len(house.slots.started) == 2
    assert (house.slots.reserved, house.slots.given_back) == ({}, [])


async def test_deliveries_have_begun_when_the_answer_is_there(house: House) -> None:
    begun: list[int] = []
    answers = house.begin("k1")
    answers.add_done_callback(lambda _: begun.append(len(house.slots.started)))
    await answers
    assert begun == [2]


async def test_claims_of_a_batch_whose_outcome_is_unknown_are_given_back_once_each(house: House) -> None:
    house.commit.fails = True
    answers = house.begin("k1", "k2")
    claims = sorted(house.slots.reserved)
    await asyncio.wait([answers])
    assert answers.exception() is not None
    assert len(claims) == 4
    assert sorted(house.slots.given_back) == claims
    assert (house.slots.started, house.slots.reserved) == ([], {})


async def test_change_holds_what_the_store_needs_to_refuse_later_duplicates(house: House) -> None:
    await house.accept("k1")
    seen = house.commit.taken
    assert seen[0].dedupe_window == timedelta(days=90)
    assert seen[0].request.body == b"{}"


@pytest.mark.parametrize(
    ("kind", "method", "content_type", "more", "body"),
    [
        ("generic", "POST", "application/json", {}, b'{"type": "a", "n": [1.5, 18446744073709551616, "\\ud800"]}'),
        ("generic", "POST", "application/x-www-form-urlencoded", {}, b"type=a&b=%C3%A9&b=2"),
        ("generic", "POST", "application/xml; charset=utf-8", {}, b'<type n="1"><a>x</a><a/></type>'),
        ("generic", "POST", "application/json", {}, b"no JSON"),
        ("generic", "GET", "", {}, b""),
        ("github", "POST", "application/x-www-form-urlencoded", {"x-github-event": "push"}, b"payload=" + quote('{"ref": "\u00e9"}').encode()),
        ("slack", "POST", "application/x-www-form-urlencoded", {}, b"payload=%7B%22type%22%3A%22block_actions%22%7D&x=1"),
        ("sns", "POST", "text/plain", {}, b'{"Type": "Notification", "MessageId": "1", "Message": "{\\"a\\": [1]}"}'),
        ("cloudevents", "POST", "application/json", {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t"}, b'{"n": 1}'),
        ("cloudevents", "POST", "application/octet-stream", {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t"}, b"\x00\xff"),
        ("cloudevents", "POST", "application/cloudevents-batch+json", {}, b'[{"specversion": "1.0", "id": "1", "source": "/a", "type": "t"}, {"specversion": "1.0", "id": "2", "source": "/a", "type": "u"}]'),
    ],
)  # fmt: skip
async def test_what_rules_saw_is_what_the_store_gives_back(
    tmp_path: Path, kind: str, method: str, content_type: str, more: dict[str, str], body: bytes
) -> None:
    # Whatever reads an event later (explain, a replay, a retry after a restart) must see what was matched.
    options: dict[str, Any] = {"verify": "none", **({"methods": ["POST", "GET"]} if kind == "generic" else {})}
    source = build_source(
        SourceSettings(name="shop", type=kind, options=options), batch_limit=9, dedupe_window=timedelta(days=1)
    )
    request = IncomingRequest(
        method=method, subpath="", url=None, client_ip="", body=body, received_at=NOW,
        headers=[("content-type", content_type), *more.items()], query=[("type", "a"), ("b", "1"), ("b", "2")],
    )  # fmt: skip
    events = source.normalize(request)
    house = House(tmp_path / "hookline.db")
    await house.store.open()
    reader = house.store.reader()
    answers = await house.intake.accept(source, request, events)
    assert answers
    for answer, event in zip(answers, events, strict=True):
        stored = await reader.event(answer.event_id)
        assert stored is not None
        seen = (event.type, event.payload, event.envelope, event.subject, event.pointer)
        kept = stored.event
        assert (kept.type, kept.payload, kept.envelope, kept.subject, stored.pointer) == seen
        assert stored.body == body
    await house.store.close()
