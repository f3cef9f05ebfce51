"""`command` with real programs: what they are given, how they end, and what is left of them."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.changes import Outcome

pytestmark = pytest.mark.anyio

PYTHON = sys.executable


@pytest.fixture
def bench(make_bench: Any, tmp_path: Path) -> Any:
    """Return a bench whose configuration allows commands."""
    made = make_bench()
    made.settings = replace(made.settings, allow_commands=True)
    made.runner = LocalRunner(made.settings, Secrets({}, folder=tmp_path))
    return made


@pytest.fixture
def program(bench: Any, make_delivery: Any) -> Any:
    """Return a runner of a Python text as a program: `await program(text, delivery=…, limit=…, **options)`."""

    async def run(text: str, *, delivery: Any = None, limit: float = 20.0, **options: Any) -> Any:
        step = bench.step({"run": [PYTHON, "-I", "-c", text], **options}, action="command")
        return await bench.run(delivery or make_delivery(), step, limit=limit)

    return run


ECHO = "import sys; sys.stdout.write(sys.stdin.read())"


async def test_the_event_is_on_stdin(program: Any, make_delivery: Any) -> None:
    payload = {"number": "INV-1", "odd": "\ud800 ü \x00"}
    result = await program(ECHO, delivery=make_delivery(payload, previous=[1], suppressed=0), max_output=4000)
    assert result.outcome is Outcome.DELIVERED
    assert json.loads(result.note) == {
        "delivery": {"id": "dlv_1", "rule": "paid", "destination": "erp", "attempt": 1, "is_replay": False},
        "event": {
            "id": "evt_1", "source": "shop", "type": "order.paid", "sender_id": "s-1", "key": "k-1", "tenant": None,
            "subject": None, "occurred_at": None, "received_at": "2026-11-22T10:00:00+00:00", "headers": {},
            "query": {}, "client_ip": "192.0.2.1", "payload": payload, "envelope": None,
        },
        "previous": [1],
        "suppressed": 0,
    }  # fmt: skip


async def test_a_digest_is_a_list_of_events(program: Any, make_delivery: Any) -> None:
    events = tuple(make_delivery({"n": number}).event for number in (1, 2))
    said = json.loads((await program(ECHO, delivery=make_delivery(events=events), max_output=4000)).note)
    assert [event["payload"] for event in said["events"]] == [{"n": 1}, {"n": 2}]
    assert "event" not in said
    result = await program(ECHO, delivery=make_delivery(events=events), input="body")
    assert result.note == '{"events":[{"n":1},{"n":2}]}'


@pytest.mark.parametrize(
    ("given", "read"), [("body", '{ "number": "INV-1",  "total": 5000 }'), ("none", "exit code 0")]
)
async def test_or_the_body_or_nothing(program: Any, given: str, read: str) -> None:
    assert (await program(ECHO, input=given)).note == read


async def test_the_environment_is_ours_alone(program: Any, make_delivery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERP_SECRET", "canary")
    result = await program(
        "import json, os; print(json.dumps(dict(os.environ)))",
        delivery=make_delivery(event={"type": "a\x00b=c"}, attempt=3),
        env={"TEAM": "{{ payload.number }}"},
    )
    said = json.loads(result.note)
    said.pop("LC_CTYPE", None)  # Python sets it for itself
    assert said == {
        "PATH": os.environ["PATH"],
        "HOOKLINE_DELIVERY_ID": "dlv_1",
        "HOOKLINE_EVENT_ID": "evt_1",
        "HOOKLINE_EVENT_TYPE": "a\ufffdb=c",
        "HOOKLINE_SOURCE": "shop",
        "HOOKLINE_RULE": "paid",
        "HOOKLINE_ATTEMPT": "3",
        "TEAM": "INV-1",
    }


async def test_the_trace_goes_on_in_the_environment(program: Any, make_delivery: Any) -> None:
    script = (
        "import json, os; print(json.dumps({name: os.environ.get(name) for name in ('TRACEPARENT', 'TRACESTATE')}))"
    )
    headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "tracestate": "a=1"}
    said = json.loads((await program(script, delivery=make_delivery(event={"headers": headers}))).note)
    assert re.fullmatch(rf"00-{'ab' * 16}-(?!{'cd' * 8})[0-9a-f]{{16}}-01", said["TRACEPARENT"])
    assert said["TRACESTATE"] == "a=1"
    mine = await program(script, delivery=make_delivery(event={"headers": headers}), env={"TRACEPARENT": "mine"})
    assert json.loads(mine.note)["TRACEPARENT"] == "mine"
    delivery = make_delivery(event={"headers": headers})
    digest = await program(script, delivery=replace(delivery, events=(delivery.event,)))
    assert json.loads(digest.note) == {"TRACEPARENT": None, "TRACESTATE": None}


async def test_what_the_event_says_is_one_argument_and_no_shell_reads_it(program: Any, make_delivery: Any) -> None:
    result = await program(
        "import sys; print(sys.argv[1:])",
        delivery=make_delivery({"t": "$(id) `id` ; a b\n*", "s": "\ud800"}),
        args=["--", "{{ payload.t }}", "{{ payload.s }}"],
    )
    assert result.note == "['--', '$(id) `id` ; a b\\n*', '?']"


async def test_it_runs_in_its_folder_with_nothing_of_ours_open(program: Any, tmp_path: Path) -> None:
    text = "import os; print(os.getcwd(), sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:4], os.getsid(0) == os.getpid())"
    result = await program(text, cwd=str(tmp_path))
    assert result.note == f"{tmp_path} [0, 1, 2, 3] True"


@pytest.mark.parametrize(
    ("text", "options", "outcome", "note"),
    [
        ("print('one'); print('two'); print()", {}, Outcome.DELIVERED, "two"),
        ("", {}, Outcome.DELIVERED, "exit code 0"),
        ("print('x' * 50)", {"max_output": 10}, Outcome.DELIVERED, "x" * 10),
        ("print('\\x1b[31mred\\a')", {}, Outcome.DELIVERED, "[31mred"),
        ("import sys; sys.exit('no disk')", {}, Outcome.TRANSIENT, "exit code 1: no disk"),
        ("print('out'); raise SystemExit(2)", {}, Outcome.TRANSIENT, "exit code 2: out"),
        ("raise SystemExit(75)", {}, Outcome.TRANSIENT, "exit code 75"),
        ("raise SystemExit(64)", {}, Outcome.PERMANENT, "exit code 64"),
        ("raise SystemExit(78)", {}, Outcome.PERMANENT, "exit code 78"),
        ("raise SystemExit(79)", {}, Outcome.TRANSIENT, "exit code 79"),
        ("raise SystemExit(2)", {"permanent_codes": [2]}, Outcome.PERMANENT, "exit code 2"),
        ("raise SystemExit(64)", {"permanent_codes": [2]}, Outcome.TRANSIENT, "exit code 64"),
        ("import os; os.kill(os.getpid(), 11)", {}, Outcome.TRANSIENT, "was ended by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", {}, Outcome.TRANSIENT, "was ended by SIGKILL"),
    ],
)
async def test_the_exit_code_decides(
    program: Any, text: str, options: dict[str, Any], outcome: Outcome, note: str
) -> None:
    result = await program(text, **options)
    assert (result.outcome, result.note) == (outcome, note)


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"run": ["/nowhere/program"]}, "cannot be started: No such file or directory /nowhere/program"),
        ({"run": ["no-such-program-in-path"]}, "cannot be started: No such file or directory no-such-program-in-path"),
        ({"run": ["/etc/passwd"]}, "cannot be started: Permission denied /etc/passwd"),
        ({"run": [PYTHON], "cwd": "/nowhere"}, "cannot be started: No such file or directory /nowhere"),
        ({"run": [PYTHON], "args": ["{{ payload.long }}"] * 50}, "cannot be started: Argument list too long"),
        ({"run": [PYTHON], "args": ["a{{ payload.nul }}"]}, "an argument or variable holds a NUL character"),
        ({"run": [PYTHON], "env": {"A": "{{ payload.nul }}"}}, "an argument or variable holds a NUL character"),
    ],
)
async def test_what_cannot_be_started_is_a_dead_letter(
    bench: Any, make_delivery: Any, options: dict[str, Any], note: str
) -> None:
    delivery = make_delivery({"long": "x" * 60_000, "nul": "\x00"})
    result = await bench.run(delivery, bench.step(options, action="command"))
    assert result.outcome is Outcome.PERMANENT
    assert result.note.startswith(note)


async def test_a_program_that_reads_nothing_or_a_part_is_well(program: Any, make_delivery: Any) -> None:
    long = make_delivery({"t": "x" * 500_000})
    assert (await program("print('read nothing')", delivery=long)).note == "read nothing"
    part = "import os; os.read(0, 10); os.close(0); print('read a part')"
    assert (await program(part, delivery=long)).note == "read a part"


async def test_a_program_that_prints_much_is_neither_stopped_nor_kept(program: Any) -> None:
    text = (
        "import sys\nfor _ in range(64): sys.stdout.write('x' * 65536); sys.stderr.write('y' * 65536)\nprint('\\nend')"
    )
    result = await program(text)
    assert (result.outcome, result.note) == (Outcome.DELIVERED, "end")


def is_running(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# Starts a child, tells both numbers, and waits.
FAMILY = """
import os, signal, subprocess, sys, time
{prepare}
child = subprocess.Popen([sys.executable, "-I", "-c", {child!r}])
with open(sys.argv[1] + ".new", "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
print("started", flush=True)
{then}
"""
SLEEP = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


async def numbers_in(path: Path) -> list[int]:
    with anyio.fail_after(30):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await anyio.sleep(0.01)
    return [int(number) for number in path.read_text().split()]  # noqa: ASYNC240 - it is there


async def gone(numbers: list[int]) -> bool:
    """Whether all of them end: the kernel may need a moment after the signal."""
    with anyio.move_on_after(10):
        while any(map(is_running, numbers)):  # noqa: ASYNC110 - nobody tells us
            await anyio.sleep(0.01)
        return True
    return False


@pytest.mark.parametrize("child", [SLEEP, STUBBORN])
@pytest.mark.parametrize("prepare", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
async def test_at_the_deadline_the_whole_group_is_ended(program: Any, tmp_path: Path, child: str, prepare: str) -> None:
    text = FAMILY.format(prepare=prepare, child=child, then="time.sleep(600)")
    result = await program(text, args=[str(tmp_path / "numbers")], limit=6.0)
    assert (result.outcome, result.note) == (Outcome.UNKNOWN, "did not end within 5.4 s and was ended: started")
    assert await gone(await numbers_in(tmp_path / "numbers"))


async def test_who_is_asked_to_end_may_say_why(program: Any) -> None:
    text = "import signal, sys, time\ndef end(*_): print('tidied up'); sys.exit(0)\n"
    text += "signal.signal(signal.SIGTERM, end); time.sleep(600)"
    result = await program(text, limit=10.0)
    assert (result.outcome, result.note.endswith("and was ended: tidied up")) == (Outcome.UNKNOWN, True), result


async def test_a_cancelled_attempt_leaves_nothing_running(bench: Any, make_delivery: Any, tmp_path: Path) -> None:
    text = FAMILY.format(prepare="", child=STUBBORN, then="time.sleep(600)")
    step = bench.step({"run": [PYTHON, "-I", "-c", text, str(tmp_path / "numbers")]}, action="command")
    async with anyio.create_task_group() as group:
        group.start_soon(bench.run, make_delivery(), step)
        numbers = await numbers_in(tmp_path / "numbers")
        group.cancel_scope.cancel()
    assert await gone(numbers)


async def test_a_child_that_is_left_behind_does_not_keep_us_and_is_ended(program: Any, tmp_path: Path) -> None:
    # It has our pipes open, and would for ten minutes.
    text = FAMILY.format(prepare="", child=SLEEP, then="")
    result = await program(text, args=[str(tmp_path / "numbers")], limit=60.0)
    assert (result.outcome, result.note) == (Outcome.DELIVERED, "started")
    assert await gone(await numbers_in(tmp_path / "numbers"))


async def test_a_child_in_a_session_of_its_own_goes_on_and_does_not_keep_us(program: Any, tmp_path: Path) -> None:
    path = tmp_path / "number"
    text = "import os, subprocess, sys; child = subprocess.Popen([sys.executable, '-I', '-c', sys.argv[2]], start_new_session=True)\n"
    text += "open(sys.argv[1], 'w').write(str(child.pid)); print('done')"
    result = await program(text, args=[str(path), SLEEP])
    (number,) = await numbers_in(path)
    assert (result.note, is_running(number)) == ("done", True)
    os.kill(number, 9)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_nothing_stays_open(program: Any) -> None:
    await program("print(1)")
    before = open_files()
    for text in ("print(1)", "raise SystemExit(1)", "import time; time.sleep(60)"):
        await program(text, limit=1.0)
    assert open_files() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "is missing"),
        ({"run": []}, "at least 1 item"),
        ({"run": ["bin/program"]}, "write the program's whole path"),
        ({"run": ["{{ payload.program }}"]}, "run must be written out"),
        ({"run": "{{ payload.program }}"}, "run must be written out"),
        ({"run": ["/bin/echo", "{{ payload.x }}"]}, "run must be written out: a template would let the event choose"),
        ({"run": ["/bin/echo"], "cwd": "{{ payload.x }}"}, "cwd must be written out"),
        ({"run": ["/bin/echo"], "cwd": "there"}, "should match pattern"),
        ({"run": ["/bin/echo"], "env": {"HOOKLINE_RULE": "x"}}, "without HOOKLINE_"),
        ({"run": ["/bin/echo"], "env": {"A=B": "x"}}, "cannot be set"),
        ({"run": ["/bin/echo"], "permanent_codes": [0]}, "greater than or equal to 1"),
    ],
)
async def test_mistakes_are_said_at_load(bench: Any, options: dict[str, Any], message: str) -> None:
    problems = await bench.runner.validate([bench.step(options, action="command")])
    assert any(message in str(problem) for problem in problems), problems


async def test_a_rule_cannot_change_the_program_of_a_destination(bench: Any) -> None:
    bench.destination("backup", "command", {"run": ["/bin/echo", "--"]})
    for options in ({"run": ["/bin/sh"]}, {"cwd": "/srv"}):
        problems = await bench.runner.validate([bench.step(options, to="backup")])
        assert any("a rule cannot change" in problem.message for problem in problems), problems
    assert await bench.runner.validate([bench.step({"args": ["{{ payload.number }}"]}, to="backup")]) == ()
