"""What is live changes whole or not at all, whatever is wrong with what is on disk, with the store, or with us."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.actions.registry import Action
from hookline.daemon.config.load import ConfigError, load_settings
from hookline.daemon.ids import Ids
from hookline.daemon.reload import live as live_module
from hookline.daemon.reload.generation import Generation
from hookline.daemon.reload.live import LastReload, Live, ReloadFaultError
from hookline.daemon.reload.live_sources import LiveSources
from hookline.daemon.reload.missing import settle_lanes
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.learned import FileLearnedSecrets, learned_secrets_folder
from hookline.daemon.store.changes import Accept, Lane, NewDelivery, NewEvent, Request, SetLane
from hookline.daemon.store.memory.store import MemoryStore
from hookline.daemon.store.port import StoreError
from hookline.rules import Event, RulesError, Step
from tests.integration.conftest import Bench

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)
CONFIG = """\
version: 1
listen: 127.0.0.1:0
sources: {shop: {type: generic, verify: none, event: {type: $.type}}, desk: {type: agiled, secret: "${AGILED}"}}
destinations: {erp: {forward: {url: "http://127.0.0.1:9/erp"}}}
"""
RULES = "rules: [{name: orders, from: shop, do: erp}]\n"
ENVIRON = {"AGILED": "a-secret-of-some-length"}


class FlakyStore(MemoryStore):
    """A store that keeps nothing while it is told to fail."""

    fails = False

    async def keep(self, texts: Mapping[str, str]) -> None:
        if self.fails:
            raise StoreError("the disk is full")
        await super().keep(texts)


class House:
    """A configuration on disk, a store, and what is live of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(CONFIG, RULES)
        self.store = FlakyStore(clock=lambda: NOW, ids=Ids(lambda: NOW))
        self.ended: list[LastReload] = []
        self.swaps = 0
        settings = load_settings(folder / "hookline.yaml", environ=ENVIRON)
        self.secrets = Secrets(ENVIRON, folder=folder)
        self.runner = LocalRunner(settings, self.secrets)
        log = structlog.get_logger()
        self.live = Live(
            settings,
            environ=ENVIRON,
            runner=self.runner,
            sources=LiveSources(
                FileLearnedSecrets(learned_secrets_folder(settings.state)), live=lambda: self.live.current, log=log
            ),
            store=self.store,
            clock=lambda: NOW,
            log=log,
            on_live=self.swapped,
            on_reload=self.ended.append,
        )

    def swapped(self) -> None:
        self.swaps += 1

    def write(self, config: str, rules: str) -> None:
        (self.folder / "rules").mkdir(exist_ok=True)
        (self.folder / "hookline.yaml").write_text(config)
        (self.folder / "rules" / "a.yaml").write_text(rules)

    async def start(self) -> None:
        await self.store.open()
        await self.live.start(self.secrets)


@pytest.fixture
async def house(tmp_path: Path) -> Any:
    house = House(tmp_path)
    await house.start()
    yield house
    await house.live.close()


@pytest.mark.parametrize(
    ("config", "rules", "raises", "said"),
    [
        (CONFIG, "rules: [{name: orders, form: shop, do: erp}]", RulesError, 'unknown key "form"'),
        (CONFIG, RULES.replace("erp", "erq"), RulesError, 'did you mean "erp"'),
        (CONFIG, RULES.replace("do: erp", "do: {erp: {nothing: 1}}"), RulesError, "nothing"),
        (CONFIG.replace("erp:", "crm:"), RULES, RulesError, 'no destination or action "erp"'),
        (CONFIG.replace("${AGILED}", "${AGILE}"), RULES, ConfigError, "${AGILE} is not set"),
        (CONFIG + "nothing: 1\n", RULES, ConfigError, 'unknown key "nothing"'),
        ("", RULES, ConfigError, "the file is empty"),
    ],
)
async def test_bad_things_on_disk_change_nothing(
    house: House, config: str, rules: str, raises: type[Exception], said: str
) -> None:
    before, fingerprint = house.live.current, house.live.fingerprint
    house.write(config, rules)
    with pytest.raises(raises):
        await house.live.reload()
    assert house.live.current is before
    assert house.swaps == 1
    assert house.live.last == house.ended[-1]
    assert house.ended[-1].outcome == "refused"
    assert said in "\n".join(map(str, house.ended[-1].problems))
    assert house.ended[-1].live_at == NOW
    # Tried and known: it is not tried again before it changes.
    assert house.live.fingerprint == await house.live.look() != fingerprint

    house.write(CONFIG, RULES)
    generation = await house.live.reload()
    assert house.live.current is generation is not before
    assert house.ended[-1] == LastReload(at=NOW, outcome="live", live_at=NOW)


async def test_a_store_that_cannot_keep_the_rules_keeps_the_old_and_is_tried_again(house: House) -> None:
    before = house.live.current
    house.write(CONFIG, RULES.replace("orders", "all"))
    house.store.fails = True
    with pytest.raises(StoreError):
        await house.live.reload()
    assert house.live.current is before
    assert house.live.fingerprint is None
    assert (house.ended[-1].outcome, [str(one) for one in house.ended[-1].problems]) == (
        "failed",
        ["the store could not keep the rules: the disk is full; the old configuration stays; try again"],
    )
    house.store.fails = False
    assert (await house.live.reload()).rules.rules[0].name == "all"
    assert await house.store.reader().last_good_rules() == house.live.current.rules.version


async def test_a_fault_of_ours_keeps_the_old(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise RecursionError("too deep")

    before = house.live.current
    with monkeypatch.context() as patch:
        patch.setattr(live_module, "load_settings", fault)
        with pytest.raises(ReloadFaultError, match="too deep"):
            await house.live.reload()
    assert house.live.current is before
    await house.live.reload()
    assert [one.outcome for one in house.ended] == ["live", "fault", "live"]


async def test_a_start_with_bad_rules_runs_the_last_good_and_mends(tmp_path: Path) -> None:
    first = House(tmp_path)
    await first.start()
    again = House(tmp_path)
    again.store = first.store
    again.live._store = first.store
    again.write(CONFIG, "rules: 1")
    await again.live.start(again.secrets)
    assert again.live.current.rules.version == first.live.current.rules.version
    assert (again.ended[-1].outcome, again.ended[-1].live_at) == ("refused", None)
    again.write(CONFIG, RULES)
    await again.live.reload()
    assert (again.ended[-1].outcome, again.ended[-1].live_at) == ("live", NOW)


async def test_what_needs_a_restart_stays_and_is_named(house: House) -> None:
    more = CONFIG.replace("127.0.0.1:0", "127.0.0.1:9999") + "store: sqlite:other.db\nadmin: {token: another-token}\n"
    house.write(f"{more}limits: {{body: 2KiB}}\nretention: {{events: 3d}}\n", RULES)
    before = house.live.current
    settings = (await house.live.reload()).settings
    assert house.live.current.restart == ("listen", "admin", "store")
    assert (settings.listen, settings.admin, settings.store) == (
        before.settings.listen, before.settings.admin, before.settings.store,
    )  # fmt: skip
    assert (settings.limits.body_bytes, settings.retention.events.days) == (2048, 3)
    assert house.live.current.receiver.limits.body_bytes == 2048
    house.write(CONFIG, RULES)
    assert (await house.live.reload()).restart == ()


async def test_a_source_that_did_not_change_is_the_same_and_keeps_what_it_knows(house: House) -> None:
    before = house.live.current.sources
    house.write(CONFIG.replace("$.type", "$.kind"), RULES)
    now = (await house.live.reload()).sources
    assert now["desk"] is before["desk"]
    assert now["shop"] is not before["shop"]
    house.write(CONFIG + "retention: {dedupe: 9d}\n", RULES)
    assert (await house.live.reload()).sources["desk"].dedupe_window.days == 9


def loaded(generation: Generation) -> Action:
    """Return the plug-in `act` as this process has it."""
    assert isinstance(generation.runner, LocalRunner)
    return generation.runner.find(Bench.step(action="act"))[0]


async def test_plugins_are_those_of_the_generation(house: House) -> None:
    (house.folder / "plugins").mkdir()
    plugin = house.folder / "plugins" / "act.py"
    text = (
        "from pydantic import BaseModel\nLOADED = []\nclass Options(BaseModel):\n    pass\n"
        "def deliver(delivery, options, context):\n    return 'one'\n"
    )
    plugin.write_text(text)
    house.write(CONFIG, RULES.replace("erp", "act"))
    one = await house.live.reload()
    action = loaded(one)
    house.write(CONFIG, RULES.replace("erp", "act").replace("orders", "all"))
    again = await house.live.reload()
    # Not run again: what it holds in its module stays.
    assert loaded(again) is action
    assert again.runner is not one.runner

    # A plug-in that is well, with rules that are not: it does not go live alone.
    plugin.write_text(text.replace("one", "two"))
    house.write(CONFIG, RULES.replace("erp", "acte"))
    with pytest.raises(RulesError):
        await house.live.reload()
    assert loaded(house.live.current) is action
    # Nor does its module stay behind, where what the old one imports late would find it.
    assert sys.modules["hookline_plugins.act"].deliver(None, None, None) == "one"
    house.write(CONFIG, RULES.replace("erp", "act"))
    await house.live.reload()
    assert loaded(house.live.current).deliver(None, None, None) == "two"


async def test_what_was_tried_is_watched_too(house: House) -> None:
    house.write(CONFIG + "rules: elsewhere\n", RULES)
    (house.folder / "elsewhere").mkdir()
    bad = house.folder / "elsewhere" / "b.yaml"
    bad.write_text("rules: 1")
    with pytest.raises(RulesError):
        await house.live.reload()
    before = house.live.fingerprint
    assert await house.live.look() == before
    bad.write_text("rules: []")
    assert await house.live.look() != before
    (house.folder / "rules" / "a.yaml").write_text("rules: []")
    assert house.folder / "rules" / "a.yaml" in house.live.files()


@pytest.mark.parametrize("reference", ["${CREDENTIAL}", "${file:secret.txt}"])
async def test_a_secret_that_comes_or_changes_is_a_change(house: House, reference: str) -> None:
    path = house.folder / ("secret.txt" if "file" in reference else "credentials/CREDENTIAL")
    path.parent.mkdir(exist_ok=True)
    house.write(CONFIG.replace("${AGILED}", reference), RULES)
    with pytest.raises(ConfigError):
        await house.live.reload()
    unset = house.live.fingerprint
    path.touch(mode=0o600)
    path.write_text("a-secret-of-some-length")
    assert await house.live.look() != unset
    await house.live.reload()
    known = house.live.fingerprint
    assert await house.live.look() == known
    path.write_text("another-of-some-length!")
    assert await house.live.look() != known


class Dispatcher:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    async def hold(self, lane: Lane, reason: str) -> None:
        self.told.append(("hold", lane, reason))

    async def release(self, lane: Lane) -> None:
        self.told.append(("release", lane))


async def waits(store: MemoryStore, step: Step) -> None:
    """Leave a delivery of the step waiting."""
    await store.keep({step.digest: step.text})
    ids = Ids(lambda: NOW)
    event = Event(
        id=ids.event(), source="shop", type="order", sender_id=None, key=step.digest, tenant=None, occurred_at=None,
        received_at=NOW, headers={}, query={}, client_ip="", payload={}, envelope=None,
    )  # fmt: skip
    delivery = NewDelivery(
        id=ids.delivery(), rule="orders", step=step.digest, lane=Lane(step.lane), destination=step.label
    )
    new = NewEvent(event=event, pointer=None, rules_version="v", matched=("orders",), deliveries=(delivery,))
    request = Request(body=b"{}", content_type="application/json", headers={}, query={}, client_ip="")
    await store.write([Accept(request=request, events=(new,), dedupe_window=timedelta(days=1))])


@pytest.mark.parametrize(
    ("to", "action", "held", "told"),
    [
        ("erp", None, None, []),
        ("gone", None, None, [("hold", "gone", 'missing: no destination "gone"')]),
        (None, "log", None, []),
        (None, "gone", None, [("hold", "LANE", 'missing: no action "gone"')]),
        ("erp", None, 'missing: no destination "erp"', [("release", "erp")]),
        ("erp", None, "410 Gone", []),
        ("gone", None, 'missing: no destination "gone"', []),
        (None, "log", 'missing: no action "log"', [("release", "LANE")]),
        (None, "gone", 'missing: no action "gone"', []),
    ],
)
async def test_lanes_are_held_for_what_is_gone_and_released_for_what_is_back(
    house: House,
    to: str | None,
    action: str | None,
    held: str | None,
    told: list[tuple[str, ...]],
) -> None:
    one = Bench.step(to=to, action=action)
    await waits(house.store, one)
    if held is not None:
        await house.store.write([SetLane(lane=Lane(one.lane), is_held=True, reason=held)])
    dispatcher: Any = Dispatcher()
    log: Any = structlog.get_logger()
    await settle_lanes(store=house.store, dispatcher=dispatcher, catalog=house.live.current.runner.catalog, log=log)
    said = [tuple(part.partition(";")[0] for part in parts) for parts in dispatcher.told]
    assert said == [tuple(one.lane if part == "LANE" else part for part in parts) for parts in told]
