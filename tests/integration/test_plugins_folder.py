"""Plug-ins from a folder, run for real: the short ones that work, and all the ways in which one can fail."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from hookline.daemon.store.changes import Outcome

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin" / "plugins"
HEAD = (
    "from pydantic import BaseModel, SecretStr\n"
    "from hookline.plugins import PermanentError, TransientError, raise_for_status\n"
    "class Options(BaseModel):\n    url: str = ''\n    key: SecretStr | None = None\n"
)


@pytest.fixture
def plug(tmp_path: Path, make_bench: Any) -> Any:
    """Return a bench with one plug-in, `act`, whose `deliver` has this body."""

    def make(body: str, *, head: str = "async def deliver(delivery, options, context):", **environ: str) -> Any:
        folder = tmp_path / "plugins"
        folder.mkdir(exist_ok=True)
        (folder / "act.py").write_text(f"{HEAD}{head}\n    {body}\n")
        return make_bench(environ, plugins=folder)

    return make


async def test_the_example_announces_an_event(make_bench: Any, peer: Any, make_delivery: Any) -> None:
    bench = make_bench({"DISCORD": f"{peer.url}/api/webhooks/1/t0ken"}, plugins=EXAMPLE)
    inspection = await bench.runner.inspect()
    assert inspection.problems == ()
    assert inspection.actions["discord"].summary == "Announce an event in a Discord channel."
    assert len((EXAMPLE / "discord.py").read_text().splitlines()) <= 22
    peer.say(204)
    step = bench.step({"url": "${DISCORD}"}, action="discord")
    assert await bench.runner.validate([step]) == ()
    assert (await bench.run(make_delivery(), step)).outcome is Outcome.DELIVERED
    assert peer.requests[0].body == b'{"content":"order.paid from shop","allowed_mentions":{"parse":[]}}'
    peer.say(429, Retry_After="7")
    result = await bench.run(make_delivery(), step)
    assert (result.outcome, result.status, result.retry_after.total_seconds()) == (Outcome.TRANSIENT, 429, 7)


@pytest.mark.parametrize(
    ("body", "outcome", "note"),
    [
        ("return 'done'", Outcome.DELIVERED, "done"),
        ("return None", Outcome.DELIVERED, ""),
        ("return 5", Outcome.DELIVERED, ""),
        ("raise TransientError('later')", Outcome.TRANSIENT, "later"),
        ("raise TransientError('sent', is_unknown=True)", Outcome.UNKNOWN, "sent"),
        ("raise PermanentError('never')", Outcome.PERMANENT, "never"),
        ("raise TimeoutError", Outcome.TRANSIENT, "no answer in time"),
        ("raise KeyError('x')", Outcome.TRANSIENT, "KeyError: 'x'"),
        ("import sys; sys.exit(1)", Outcome.TRANSIENT, "SystemExit: 1"),
        ("import asyncio; raise asyncio.CancelledError", Outcome.TRANSIENT, "the action cancelled itself"),
        ("raise ExceptionGroup('several', [ValueError('a')])", Outcome.TRANSIENT, "ExceptionGroup: several"),
        ("import asyncio; await asyncio.sleep(60)", Outcome.TRANSIENT, "no answer within 0.5 s"),
        ("import json; json.loads('[' * 100000)", Outcome.TRANSIENT, "RecursionError"),
    ],
)
async def test_every_ending_is_an_outcome(
    plug: Any, make_delivery: Any, body: str, outcome: Outcome, note: str
) -> None:
    bench = plug(body)
    result = await bench.run(make_delivery(), bench.step(action="act"), limit=0.5)
    assert result.outcome is outcome
    assert result.note.startswith(note) if note else result.note == ""
    assert len(result.note) <= 4096


async def test_a_traceback_names_the_line_and_hides_secrets(plug: Any, make_delivery: Any) -> None:
    bench = plug("raise ValueError(f'bad {options.key.get_secret_value()}')", KEY="s3cret-key")
    result = await bench.run(make_delivery(), bench.step({"key": "${KEY}"}, action="act"))
    assert "bad ***" in result.note
    assert 'act.py", line 7, in deliver' in result.note
    assert "s3cret-key" not in result.note


async def test_time_out_after_sending_is_unknown(plug: Any, peer: Any, make_delivery: Any) -> None:
    bench = plug("await context.http.post(options.url); import asyncio; await asyncio.sleep(60)")
    result = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="act"), limit=1)
    assert (result.outcome, result.status) == (Outcome.UNKNOWN, 200)


async def test_a_plain_function_runs_in_a_thread_and_can_send(plug: Any, peer: Any, make_delivery: Any) -> None:
    bench = plug(
        "import threading; reply = context.http.post(options.url, json={'a': 1}); raise_for_status(reply); "
        "return threading.current_thread().name",
        head="def deliver(delivery, options, context):",
    )
    result = await bench.run(make_delivery(), bench.step({"url": peer.url}, action="act"))
    assert result.outcome is Outcome.DELIVERED
    assert result.note != threading.current_thread().name
    assert peer.requests[0].body == b'{"a":1}'


async def test_a_blocked_thread_is_let_go(plug: Any, make_delivery: Any) -> None:
    bench = plug(
        "delivery.event.payload['started'].set(); delivery.event.payload['free'].wait(20)",
        head="def deliver(delivery, options, context):",
    )
    free = threading.Event()
    payload = {"free": free, "started": threading.Event()}
    try:
        result = await bench.run(make_delivery(payload), bench.step(action="act"), limit=0.3)
    finally:
        free.set()
    assert (result.outcome, result.note) == (Outcome.TRANSIENT, "no answer within 0.3 s")
    assert payload["started"].is_set()


async def test_sys_exit_in_a_thread_is_an_outcome(plug: Any, make_delivery: Any) -> None:
    bench = plug("raise SystemExit(2)", head="def deliver(delivery, options, context):")
    result = await bench.run(make_delivery(), bench.step(action="act"))
    assert (result.outcome, result.note.splitlines()[0]) == (Outcome.TRANSIENT, "SystemExit: 2")


async def test_real_cancellation_passes_through_a_plugin(plug: Any, make_delivery: Any) -> None:
    bench = plug("import asyncio; delivery.event.payload['at'].set(); await asyncio.Event().wait()")
    at = asyncio.Event()
    task = asyncio.ensure_future(bench.run(make_delivery({"at": at}), bench.step(action="act")))
    await at.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_deliveries_to_a_broken_plugin_are_held(plug: Any, make_delivery: Any) -> None:
    bench = plug("return (")
    result = await bench.run(make_delivery(), bench.step(action="act"))
    assert result.is_unrunnable
    assert "syntax error" in result.note
    problems = await bench.runner.validate([bench.step(action="act"), bench.step(action="nothing")])
    assert ['no action "act"' in str(problems[0]), 'no action "nothing"' in str(problems[1])] == [True, True]


async def test_a_new_generation_takes_over_only_if_it_is_well(plug: Any, make_delivery: Any) -> None:
    bench = plug("return 'one'")
    step = bench.step(action="act")
    await bench.runner.inspect()
    plug("return (")
    assert len((await bench.runner.inspect()).problems) == 1
    assert (await bench.run(make_delivery(), step)).note == "one"
    plug("return 'two'")
    assert (await bench.runner.inspect()).problems == ()
    assert (await bench.run(make_delivery(), step)).note == "two"


async def test_unknown_options_are_errors_and_offline_secrets_are_not(make_bench: Any) -> None:
    from hookline.daemon.actions.local_runner import LocalRunner

    bench = make_bench(plugins=EXAMPLE)
    good = bench.step({"url": "${DISCORD}"}, action="discord")
    bad = bench.step({"url": "${DISCORD}", "txt": "x"}, action="discord")
    assert [problem.severity for problem in await bench.runner.validate([good])] == ["error"]
    offline = LocalRunner(bench.settings, bench.runner._secrets, is_offline=True)
    problems = await offline.validate([good, bad])
    assert {(problem.severity, problem.message) for problem in problems} >= {
        ("error", 'discord has no option "txt"'),
    }
    assert [problem.severity for problem in problems if "is not set" in problem.message] == ["warning"]


async def test_unused_destinations_are_checked_too(bench: Any) -> None:
    bench.destination("a", "forward", {"ulr": "https://x.example/"})
    bench.destination("b", "slack", {})
    bench.destination("c", "forward", {"url": "https://x.example/", "method": "FETCH"})
    found = [str(problem) for problem in await bench.runner.validate([])]
    assert found == [
        'destinations.a.forward.ulr: forward has no option "ulr"; did you mean "url"?',
        "destinations.c.forward.method: should be 'POST', 'PUT', 'PATCH', 'DELETE', 'GET' or 'HEAD'",
    ]


async def test_log_writes_one_line(bench: Any, make_delivery: Any) -> None:
    import structlog

    with structlog.testing.capture_logs() as lines:
        result = await bench.run(
            make_delivery(),
            bench.step({"level": "warning", "fields": {"event": "x", "n": "{{ payload.total }}"}}, action="log"),
        )
    assert result.outcome is Outcome.DELIVERED, result.note
    assert len(lines) == 1
    assert {key: lines[0][key] for key in ("event", "log_level", "message", "fields", "event_id", "delivery_id")} == {
        "event": "rule.logged",
        "log_level": "warning",
        "message": "order.paid from shop",
        "fields": {"event": "x", "n": 5000},
        "event_id": "evt_1",
        "delivery_id": "dlv_1",
    }


async def test_the_examples_configuration_and_rules_are_fine() -> None:
    from hookline.daemon.actions.local_runner import LocalRunner
    from hookline.daemon.config.load import load_settings
    from hookline.daemon.reload.live_rules import check_rules
    from hookline.daemon.secrets import Secrets

    environ = {"SHOP_PATH": "any-16-letters-or-more", "DISCORD_URL": "http://127.0.0.1:9099/api/webhooks/1/token"}
    settings = load_settings(EXAMPLE.parent / "hookline.yaml", environ=environ)
    secrets = Secrets(environ, folder=settings.path.parent)
    runner = LocalRunner(settings, secrets)
    checked = await check_rules(settings, secrets, runner)
    assert len(checked.rules.rules) == 2
    assert checked.warnings == ()
