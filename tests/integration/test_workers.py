"""Worker processes for real, and plug-ins that do all they can to harm them: each costs its own deliveries alone."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from hookline.daemon.delivery.runner import Result, Work
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.changes import Outcome
from hookline.daemon.workers.worker_runner import WorkerRunner
from hookline.plugins import Delivery
from hookline.rules import Once, Step
from tests.integration.conftest import Bench, Peer, new_event

pytestmark = pytest.mark.anyio

FIXTURES = Path(__file__).resolve().parents[1] / "data" / "plugins"
HEAD = "from pydantic import BaseModel\nclass Options(BaseModel):\n    text: str = ''\n    key: str = ''\n"


def children() -> set[int]:
    """Return the processes that are ours and not zombies."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(entry.name))
    return found


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what comes by itself; pytest's own limit ends a wait in vain."""
    while not holds():  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.01)


class Yard:
    """A runner with workers, and a dispatcher that only remembers what it must not forget."""

    def __init__(self, folder: Path, environ: Mapping[str, str], **settings: Any) -> None:
        self.plugins = folder / "plugins"
        self.bench = Bench(folder, environ, self.plugins, tuple)
        self.settings = replace(self.bench.settings, **{"workers": 1, **settings})
        self.secrets = Secrets(environ, folder=folder)
        self.runner = WorkerRunner(self.settings, self.secrets, load_seconds=3)
        self._number = 0

    def write(self, name: str, body: str, *, head: str = "async def deliver(delivery, options, context):") -> None:
        self.plugins.mkdir(exist_ok=True)
        self.plugins.joinpath(f"{name}.py").write_text(f"{HEAD}{head}\n    {body}\n")

    async def start(self) -> None:
        assert (await self.runner.inspect()).problems == ()
        self.runner.go_live()

    async def reload(self, **settings: Any) -> WorkerRunner:
        """Return the runner that may follow, inspected."""
        follower = self.runner.for_settings(replace(self.settings, **settings), self.secrets)
        await follower.inspect()
        return follower

    def work(self, step: Step, payload: Any = None, *, limit: float = 5, **changes: Any) -> Work:
        self._number += 1
        body = json.dumps({"n": 0} if payload is None else payload).encode()
        about = {"event": new_event(payload), "body": body, "content_type": "application/json", "is_split": False}
        facts = {"id": f"dlv_{self._number}", "rule": "paid", "destination": "erp", "attempt": 1}
        made: dict[str, Any] = {**about, **facts, **changes}
        return Work(delivery=Delivery(**made), step=step, limit=timedelta(seconds=limit))

    async def run(self, name: str, payload: Any = None, *, is_suspect: bool = False, **more: Any) -> Result:
        """Run a plug-in once."""
        work = self.work(Bench.step(action=name), payload, **more)
        return await self.runner.run(replace(work, is_suspect=is_suspect))

    async def try_once(self, name: str, *, is_suspect: bool = False) -> Result:
        """Run a plug-in until it was really tried: a worker may be slow to come up."""
        while True:
            result = await self.run(name, is_suspect=is_suspect)
            if not result.is_interrupted:
                return result

    async def see_through(self, name: str) -> Result:
        """Do as the dispatcher: what was interrupted or crashed is tried again, spending no attempt; at most twice."""
        crashes = 0
        while True:
            result = await self.run(name, is_suspect=crashes > 0)
            crashes += result.outcome is Outcome.CRASHED and not result.is_interrupted
            if result.outcome is not Outcome.CRASHED or crashes == 3:
                return result

    async def pid(self) -> int:
        return int((await self.see_through("healthy")).note)


@pytest.fixture
async def make_yard(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Return a maker of yards; every process that they start is gone at the end."""
    before = children()
    made: list[Yard] = []

    async def make(environ: Mapping[str, str] | None = None, *, is_started: bool = True, **settings: Any) -> Yard:
        made.append(Yard(tmp_path, environ or {}, **settings))
        if is_started:
            shutil.copytree(FIXTURES, made[-1].plugins, ignore=shutil.ignore_patterns("__pycache__"))
            await made[-1].start()
        return made[-1]

    yield make
    for yard in made:
        await yard.runner.close()
    assert children() <= before


@pytest.fixture
async def yard(make_yard: Any) -> Yard:
    made: Yard = await make_yard()
    return made


@pytest.mark.parametrize(
    ("name", "outcome", "note", "is_replaced"),
    [
        ("raises", Outcome.TRANSIENT, "ValueError: no luck", False),
        ("base_exception", Outcome.TRANSIENT, "Odd: odd", False),
        ("system_exit", Outcome.TRANSIENT, "SystemExit: 3", False),
        ("hangs", Outcome.TRANSIENT, "no answer within 0.4 s", False),
        ("hangs_thread", Outcome.TRANSIENT, "no answer within 0.4 s", True),
        ("sleeps", Outcome.TRANSIENT, "blocked the worker for 0.", True),
        ("swallows", Outcome.TRANSIENT, "no answer within 0.4 s, and it did not let itself be cancelled", True),
        ("greedy", Outcome.TRANSIENT, "MemoryError", False),
        ("exits", Outcome.CRASHED, "its worker died", True),
        ("segfaults", Outcome.CRASHED, "its worker died", True),
        ("closes", Outcome.CRASHED, "its worker died", True),
        ("garbage", Outcome.DELIVERED, "", False),
    ],
)
async def test_harm_is_done_to_its_own_delivery_alone(
    yard: Yard, name: str, outcome: Outcome, note: str, is_replaced: bool
) -> None:
    before = await yard.pid()
    bad, good = await asyncio.gather(yard.run(name, limit=0.4), yard.see_through("healthy"))
    assert bad.outcome is outcome
    assert bad.note.startswith(note)
    assert not bad.is_interrupted
    # The one beside it, in the same moment, spends no attempt, and succeeds.
    assert good.outcome is Outcome.DELIVERED
    assert (await yard.pid() != before) == is_replaced


async def test_who_is_to_blame_for_a_crash_is_found_out_alone(yard: Yard) -> None:
    results = await asyncio.gather(yard.run("segfaults"), *(yard.run("healthy") for _ in range(5)))
    assert {result.outcome for result in results} == {Outcome.CRASHED}
    assert "with others in it: killed by SIGSEGV" in results[0].note
    suspects = [("segfaults", Outcome.CRASHED), *(("healthy", Outcome.DELIVERED) for _ in range(5))]
    again = await asyncio.gather(*(yard.try_once(name, is_suspect=True) for name, _ in suspects))
    assert [result.outcome for result in again] == [outcome for _, outcome in suspects]
    assert again[0].note == "its worker died: killed by SIGSEGV"


async def test_who_blocks_the_loop_is_known_at_once(yard: Yard) -> None:
    bad, *good = await asyncio.gather(yard.run("sleeps", limit=0.4), *(yard.run("hangs", limit=30) for _ in range(4)))
    assert bad.outcome is Outcome.TRANSIENT
    assert [(one.is_interrupted, one.note) for one in good] == [(True, "another delivery blocked its worker")] * 4


async def test_a_copy_that_a_plugin_forks_sends_nothing(yard: Yard, peer: Peer) -> None:
    before = await yard.pid()
    result = await yard.runner.run(yard.work(Bench.step({"url": peer.url}, action="forks")))
    assert (result.outcome, result.note) == (Outcome.DELIVERED, "sent")
    assert int((await yard.run("forks_thread")).note) == before
    assert await yard.pid() == before
    assert len(peer.requests) == 1


async def test_what_a_plugin_prints_and_logs_is_bounded_and_masked(make_yard: Any) -> None:
    yard = await make_yard({"KEY": "s3cret-canary"})
    yard.secrets.secret("KEY")
    with structlog.testing.capture_logs() as lines:
        result = await yard.run("prints")
        await until(lambda: sum(line["event"] == "worker.output" for line in lines) == 2)
    assert result.outcome is Outcome.DELIVERED
    assert "s3cret-canary" not in json.dumps(lines, default=str).replace('"key": "s3cret-canary"', "")
    printed = {line["line"] for line in lines if line["event"] == "worker.output"}
    assert printed == {"the key is ***", "x" * 2000}
    logged = next(line for line in lines if line["event"] == "logged")
    assert (logged["log_level"], logged["event_id"], logged["level_"]) == ("info", "evt_1", 5)


async def test_an_event_is_read_anew_for_each_delivery(yard: Yard) -> None:
    assert [(await yard.run("mutates", {"n": 4})).note for _ in range(2)] == ["5", "5"]


async def test_a_worker_that_grows_is_replaced_before_it_harms(make_yard: Any) -> None:
    yard = await make_yard(worker_memory_bytes=200 << 20)
    pids: set[str] = set()
    while len(pids) < 2:
        result = await yard.see_through("leaks")
        assert result.outcome is Outcome.DELIVERED or "MemoryError" in result.note
        if result.outcome is Outcome.DELIVERED:
            pids.add(result.note)
        await asyncio.sleep(0.1)


async def test_it_is_known_how_long_there_has_been_no_worker(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    assert yard.runner.without_worker == timedelta(0)
    pid = await yard.pid()
    with monkeypatch.context() as broken:
        # Whatever is started in its place is none.
        broken.setattr(sys, "executable", "/bin/false")
        os.kill(pid, signal.SIGKILL)
        await until(lambda: yard.runner.without_worker > timedelta(seconds=1.5))
    await until(lambda: yard.runner.without_worker == timedelta(0))


async def test_a_plugin_that_kills_again_and_again_is_set_aside_until_it_changes(yard: Yard) -> None:
    first = await yard.try_once("exits")
    assert first.outcome is Outcome.CRASHED
    # From then on it runs alone, suspected or not: four more times.
    assert [(await yard.try_once("exits")).outcome for _ in range(4)] == [Outcome.CRASHED] * 4
    aside = await yard.try_once("exits")
    assert aside.is_unrunnable
    assert aside.note == (
        "the plug-in exits was set aside: it killed five workers in a row; mend it, then hookline reload"
    )
    assert (await yard.try_once("healthy")).outcome is Outcome.DELIVERED
    assert yard.runner.tally.died == 5
    same = await yard.reload()
    same.go_live()
    yard.runner = same
    assert (await yard.try_once("exits")).is_unrunnable
    # Counted since the daemon began, whoever is live.
    assert same.tally.died == 5
    assert 1 <= same.tally.alive <= same.tally.started - 5
    yard.write("exits", "return 'mended'")
    mended = await yard.reload()
    mended.go_live()
    yard.runner = mended
    assert (await yard.try_once("exits")).note == "mended"


async def test_every_delivery_ends_although_workers_are_killed(make_yard: Any) -> None:
    # Other tests' servers are children of this process as well.
    others = children()
    yard = await make_yard(workers=2)
    chance = random.Random(5)
    ended = asyncio.Event()

    async def kill() -> None:
        while not ended.is_set():
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            for pid in sorted(children() - others)[:1]:
                os.kill(pid, signal.SIGKILL)

    async def deliver() -> Outcome:
        # As the dispatcher does, but with no end to its patience: here it is the killer who crashes them.
        is_suspect = False
        while True:
            result: Result = await yard.run("healthy", is_suspect=is_suspect)
            if result.outcome is not Outcome.CRASHED:
                return result.outcome
            is_suspect = not result.is_interrupted

    killer = asyncio.ensure_future(kill())
    outcomes = await asyncio.gather(*(deliver() for _ in range(60)))
    ended.set()
    await killer
    assert outcomes == [Outcome.DELIVERED] * 60


async def test_a_worker_has_nothing_of_its_parent(make_yard: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("CANARY", "c4nary-value")
    monkeypatch.setenv("LC_TIME", "C")
    with (tmp_path / "the-store.db").open("w") as kept:
        os.set_inheritable(kept.fileno(), True)
        yard = await make_yard()
        seen = json.loads((await yard.run("looks")).note)
    assert set(seen["environ"]) <= {"PATH", "LANG", "TZ", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"} | {
        name for name in seen["environ"] if name.startswith("LC_")
    }
    assert seen["environ"]["LC_TIME"] == "C"
    assert not any("the-store" in link for link in seen["links"])
    assert seen["core"] == [0, 0]


async def test_digests_summaries_and_what_was_before_cross_over(yard: Yard) -> None:
    events = (new_event({"a": 1}, id="evt_1"), new_event({"a": 2}, id="evt_2"))
    step = Bench.step({"text": "{{ events | length }} of {{ events[1].payload.a }}"}, action="echo")
    digest = await yard.runner.run(yard.work(step, events=events, is_replay=True))
    seen = json.loads(digest.note)
    assert (seen["text"], seen["events"]) == ("2 of 2", [["evt_1", {"a": 1}], ["evt_2", {"a": 2}]])
    assert seen["is_replay"]
    within = Once(per=("tenant",), within=timedelta(minutes=10))
    once = Bench.step({"other": "{{ previous.stage }}"}, action="echo", once=within)
    summary = await yard.runner.run(
        yard.work(once, suppressed=12, previous={"stage": "won"}, rule="large invoice paid")
    )
    seen = json.loads(summary.note)
    assert seen["text"] == '12 more like this in 10m: rule "large invoice paid"'
    assert (seen["suppressed"], seen["previous"], seen["other"]) == (12, {"stage": "won"}, "won")


async def test_a_step_gets_the_secrets_that_it_names_and_sees_a_new_one_at_once(make_yard: Any) -> None:
    environ = {"ONE": "first-of-all", "TWO": "never-asked"}
    yard = await make_yard(environ)
    step = Bench.step({"text": "${ONE} {{ vars.team }}"}, action="echo")
    assert json.loads((await yard.runner.run(yard.work(step))).note)["text"] == "*** ops"
    environ["ONE"] = "another-one"
    result = await yard.runner.run(yard.work(Bench.step({"text": "${ONE}", "other": "another-one!"}, action="echo")))
    assert "another-one" not in result.note
    unset = await yard.runner.run(yard.work(Bench.step({"text": "${THREE}"}, action="echo")))
    assert (unset.outcome, "${THREE} is not set" in unset.note) == (Outcome.PERMANENT, True)


async def test_workers_stay_where_plugins_do(yard: Yard) -> None:
    before = await yard.pid()
    follower = await yard.reload(vars={"team": "other"})
    follower.go_live()
    yard.runner = follower
    assert await yard.pid() == before


async def test_a_new_generation_takes_over_and_the_old_one_finishes(yard: Yard) -> None:
    before = await yard.pid()
    slow = asyncio.ensure_future(yard.run("hangs", limit=3))
    await asyncio.sleep(0)
    yard.write("healthy", "import os; return str(os.getpid())")
    follower = await yard.reload()
    former, yard.runner = yard.runner, follower
    follower.go_live()
    assert await yard.pid() != before
    assert (await former.run(yard.work(Bench.step(action="healthy")))).is_interrupted
    # Not cut off: it ends by its own limit.
    assert (await slow).note == "no answer within 3 s"
    await until(lambda: before not in children())


async def test_a_refused_reload_leaves_nothing_behind(yard: Yard) -> None:
    before, processes = await yard.pid(), children()
    yard.write("healthy", "return 'other'")
    follower = await yard.reload()
    assert len(children()) == len(processes) + 1
    await follower.close()
    assert children() == processes
    assert await yard.pid() == before
    # Nor does a worker that is started afterwards load what was refused.
    os.kill(before, signal.SIGKILL)
    assert await yard.pid() != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import time\ntime.sleep(60)\n", "bad.py:1:1: bad: it was not loaded within 3 s; do in deliver"),
        ("import os\nos._exit(4)\n", "bad.py:1:1: bad: it ended the process while it was loaded (exit status 4)"),
        ("import ctypes\nctypes.string_at(0)\n", "bad: it ended the process while it was loaded (killed by SIGSEGV)"),
        ("raise ValueError('x')\n", "bad.py:1:1: bad: ValueError while it was loaded: x"),
        ("from pydantic import BaseModel\nclass Opt", "bad.py:2:1: bad: syntax error"),
    ],
)
async def test_a_plugin_that_cannot_be_loaded_is_named_and_the_others_run(make_yard: Any, text: str, said: str) -> None:
    yard = await make_yard(is_started=False)
    yard.write("healthy", "return 'well'")
    (yard.plugins / "bad.py").write_text(text)
    problems = (await yard.runner.inspect()).problems
    assert [said in str(problem) for problem in problems] == [True], problems
    yard.runner.go_live()
    assert (await yard.run("healthy")).note == "well"
    bad = await yard.run("bad")
    assert bad.is_unrunnable
    assert said in bad.note


async def test_options_are_checked_as_in_one_process(make_yard: Any) -> None:
    yard = await make_yard({"SET": "x"}, is_started=False)
    yard.write("act", "return ''")
    yard.bench.destination("a", "forward", {"ulr": "https://x.example/"})
    yard.bench.destination("b", "act", {"text": "${UNSET}"})
    steps = [
        Bench.step({"text": "${NOT}"}, action="act"),
        Bench.step({"txt": "${SET}"}, action="act"),
        Bench.step({"url": 5}, action="forward"),
        Bench.step({}, action="nothing"),
        Bench.step({}, to="nowhere"),
        Bench.step({"url": "https://y.example/"}, to="a"),
        Bench.step({"level": "loud"}, action="log", once=Once(per=(), within=timedelta(1), summary=True)),
    ]
    await yard.runner.inspect()
    there, here = await yard.runner.validate(steps), await yard.bench.runner.validate(steps)
    assert list(map(str, there)) != []
    assert sorted(map(str, there)) == sorted(map(str, here))
    assert any("log has no option" in str(problem) for problem in there)


async def test_close_ends_every_worker_even_if_it_is_cancelled(make_yard: Any) -> None:
    before = children()
    yard = await make_yard(workers=2)
    await yard.pid()
    stuck = asyncio.ensure_future(yard.run("sleeps", limit=60))
    await asyncio.sleep(0.2)
    closing = asyncio.ensure_future(yard.runner.close())
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert children() == before
    assert (await stuck).outcome is Outcome.CRASHED
