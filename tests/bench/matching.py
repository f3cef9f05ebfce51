"""What it costs to match one event against many rules, to load them, and to serve while they are loaded."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from hookline.daemon.reload.collector import without_full_collections
from hookline.rules import Event, EventId, Json, RuleSet, World, load_rules
from hookline.rules.evaluate import evaluate
from hookline.rules.subject import Subject

COUNTS: Final = (10, 100, 1_000, 10_000)
EVENT_BYTES: Final = 1400
#: Rules in which # stands for their number; all of them on the type of the event, the hardest case.
EQUALITY: Final = "when: {$.organization_id: org_#, $.data.total: {gte: 1000}}"
ASKED: Final = {
    "a range": "when: {$.data.total: {gt: 9999#}}",
    "a range of two ends": "when: {$.data.total: {gte: 1, lt: 0.#}}",
    "ne": "when: {$.data.status: {ne: paid}}",
    "not": "when: {not: {$.data.total: {lt: 9999#}}}",
}
PATTERN: Final = "when: {$.data.number: {matches: '^INV-#-[0-9]+$'}}"
TEMPLATE: Final = '[finance: {text: "Invoice {{ payload.data.number }} of # paid: {{ payload.data.total | number }}"}]'


class _NoSecrets:
    def secret(self, name: str) -> str | None:
        return None

    def file(self, path: str) -> str:
        raise ValueError(path)

    def variable(self, name: str) -> None:
        raise KeyError(name)


WORLD: Final = World(
    sources={"agiled": None},
    destinations={"sink": "forward", "finance": "slack"},
    actions=("forward", "slack"),
    lookup=_NoSecrets(),
    version="bench",
)


def bench_matching(runs: int) -> None:
    """Print the cost of matching, explaining and loading."""
    event = an_event(0)
    line("calling a function that does nothing", lambda: None, runs)
    for count in COUNTS:
        rules = load(count, EQUALITY)
        line(f"type and two conditions, {count:,} rules", partial(rules.match, event), runs, "(wanted: at most 10)")
    for count in COUNTS:
        rules = load(count, EQUALITY)
        line(f"  the index left out, {count:,} rules", partial(plainly, rules, event), runs)
    for name, rule in ASKED.items():
        rules = load(1_000, rule)
        line(f"a rule of {name} (of 1,000)", partial(rules.match, event), runs, "(wanted: 0.5)", share=1_000)
    rules = load(1_000, PATTERN)
    wanted = "(wanted: at most 10)"
    line("1,000 patterns on one path, the same text", partial(rules.match, event), runs, wanted)
    events = iter([an_event(number) for number in range(100_000)])
    line("1,000 patterns on one path, ever new text", lambda: rules.match(next(events)), runs, wanted)
    rules = load(1_000, EQUALITY)
    line("explain against 1,000 rules", partial(rules.explain, event), runs, "(wanted: under 100,000)")
    for name, do in (("", "sink"), (", each with a template of its own", TEMPLATE)):
        seconds = [float(loading(do)["cpu"]) for _ in range(runs)]
        print(f"rules: loading and checking 10,000{name}: {statistics.median(seconds):.1f} s of CPU (wanted: under 5)")
    said = [loading("sink", is_serving=True) for _ in range(runs)]
    held, size = (statistics.median(float(one[what]) for one in said) for what in ("held_ms", "index_mb"))
    print(
        f"rules: the event loop is held {held:.0f} ms meanwhile (wanted: at most 50); their index takes {size:.1f} MB"
    )


def line(name: str, run: Callable[[], object], runs: int, wanted: str = "", *, share: int = 1) -> None:
    """Print the best of short series, in microseconds, divided by `share`: what else runs only ever adds to it."""
    start = time.process_time()
    run()
    number = max(1, min(1000, int(0.05 / max(time.process_time() - start, 1e-6))))
    series = timeit.repeat(run, timer=time.process_time, number=number, repeat=max(5, 5 * runs))
    print(f"rules: {name:44} {min(series) / number / share * 1e6:10.2f} us   {wanted}".rstrip(), flush=True)


def text_of(count: int, rule: str, do: str = "sink") -> str:
    """Write rules."""
    one = f"  - name: rule #\n    on: invoice.paid\n    {rule}\n    do: {do}\n"
    return "rules:\n" + "".join(one.replace("#", str(number)) for number in range(count))


def load(count: int, rule: str) -> RuleSet:
    """Load rules."""
    return load_rules({"rules.yaml": text_of(count, rule)}, WORLD)


def an_event(number: int) -> Event:
    """Return an event of 1.4 KB that one of the rules about organizations matches."""
    lines: list[Json] = [{"sku": f"SVC-{each}", "quantity": each, "price": each * 1.5} for each in range(20)]
    data: dict[str, Json] = {
        "number": f"INV-7-{number}",
        "status": "paid",
        "total": 1250.5,
        "currency": "EUR",
        "lines": lines,
    }
    payload: dict[str, Json] = {"organization_id": "org_7", "data": data, "note": ""}
    payload["note"] = "x" * (EVENT_BYTES - len(json.dumps(payload)))
    return Event(
        id=EventId("evt_1"),
        source="agiled",
        type="invoice.paid",
        sender_id="in_1",
        key="in_1",
        tenant="org_7",
        received_at=datetime(2026, 5, 18, 12, tzinfo=UTC),
        occurred_at=None,
        headers={},
        query={},
        client_ip="192.0.2.1",
        payload=payload,
        envelope=None,
    )


def plainly(rules: RuleSet, event: Event) -> list[str]:
    """Ask every rule, one after the other."""
    subject = Subject(event)
    return [
        rule.name
        for rule in rules.rules
        if rule.admits(event.source, event.type) and all(evaluate(each, subject) for each in rule.conditions)
    ]


def loading(do: str, *, is_serving: bool = False) -> dict[str, float]:
    """Load 10,000 rules in a fresh process, as a reload does, and return what it measured."""
    command = [sys.executable, "-m", "tests.bench.matching", do, *(["serving"] if is_serving else [])]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Measure one loading, and print it as JSON."""
    text = text_of(10_000, EQUALITY, sys.argv[1])

    def work() -> RuleSet:
        with without_full_collections():
            return load_rules({"rules.yaml": text}, WORLD)

    if sys.argv[2:]:
        held = asyncio.run(longest_hold(work))
        print(json.dumps({"held_ms": held * 1e3, "index_mb": index_size() / 1e6}))
        return
    start = time.process_time()
    work()
    print(json.dumps({"cpu": time.process_time() - start}))


async def longest_hold(work: Callable[[], RuleSet]) -> float:
    """Run work in a thread, and return for how long the event loop got no turn, in seconds of our own time."""
    sys.setswitchinterval(0.001)  # as the daemon does
    task = asyncio.create_task(asyncio.to_thread(work))
    longest = 0.0
    last = time.process_time()
    while not task.done():
        await asyncio.sleep(0.001)
        now = time.process_time()
        longest, last = max(longest, now - last), now
    await task
    return longest


def index_size() -> int:
    """Return the bytes that the index of 10,000 rules takes."""
    import tracemalloc

    from hookline.rules.index import RuleIndex

    rules = load(10_000, EQUALITY)
    tracemalloc.start()
    index = RuleIndex(rules.rules)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert index
    return taken


if __name__ == "__main__":
    main()
