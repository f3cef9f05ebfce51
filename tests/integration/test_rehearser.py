"""What is only tried out runs in a process of its own: no delivery is harmed by it, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from hookline.daemon.store.changes import Outcome
from hookline.daemon.workers import rehearser
from tests.integration.conftest import Bench, new_event
from tests.integration.test_workers import HEAD, Yard, children, make_yard, until

__all__ = ["make_yard"]
pytestmark = pytest.mark.anyio

#: A plug-in whose options harm the process that checks them.
HARMFUL = (
    HEAD.replace("from pydantic import BaseModel", "import os, time\nfrom pydantic import BaseModel, field_validator")
    + """
    @field_validator("text")
    @classmethod
    def harm(cls, text):
        if text == "exit":
            os._exit(3)
        if text == "sleep":
            time.sleep(60)
        return text
async def deliver(delivery, options, context):
    return str(os.getpid())
"""
)


def rehearsing(yard: Yard) -> set[int]:
    """Return the processes in which things are tried out."""
    made = yard.runner._house.rehearser
    inspector = None if made is None else made._inspector
    return set() if inspector is None or inspector._worker is None else {inspector._worker.pid}


async def started(make_yard: Any) -> Yard:
    yard: Yard = await make_yard({"KEY": "a-secret-of-some-length"}, is_started=False)
    yard.write("healthy", "return str(__import__('os').getpid())")
    yard.plugins.joinpath("harmful.py").write_text(HARMFUL)
    await yard.start()
    return yard


async def test_steps_are_rendered_apart_from_deliveries_and_their_secrets_never_leave(make_yard: Any) -> None:
    yard = await started(make_yard)
    serving = await yard.pid()
    steps = [
        Bench.step({"text": "{{ payload.n }}", "key": "${KEY}"}, action="healthy"),
        Bench.step({"text": "x${NOT_SET}"}, action="healthy"),
        Bench.step({}, action="nowhere"),
        Bench.step({"text": "{{ payload.none }}"}, action="healthy"),
    ]
    first, unset, nowhere, failing = await yard.runner.preview(new_event({"n": 7}), steps)
    assert (first.options, first.problem, first.unset) == ({"text": "7", "key": "***"}, None, ())
    assert unset.unset == ("${NOT_SET}",)
    assert 'no action "nowhere"' in (nowhere.problem or "")
    assert 'has no "none"' in (failing.problem or "")
    (typed,) = await yard.runner.preview(new_event(), [steps[1]], is_typed=True)
    assert typed.unset == ()
    assert rehearsing(yard) not in (set(), {serving})
    assert await yard.pid() == serving


@pytest.mark.parametrize(("text", "said"), [("exit", "the worker died"), ("sleep", "it takes longer than 0.3 s")])
async def test_what_kills_it_or_does_not_end_costs_no_delivery(
    make_yard: Any, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    yard = await started(make_yard)
    serving = await yard.pid()
    well = Bench.step({"text": "well"}, action="harmful")
    await yard.runner.preview(new_event(), [well])
    monkeypatch.setattr(rehearser, "STEP_SECONDS", 0.3)
    steps = [well, Bench.step({"text": text}, action="harmful"), well]
    before, harmed, after = await yard.runner.preview(new_event(), steps)
    assert before.problem is None
    assert said in (harmed.problem or "")
    # What stands behind it is not shown either, but says so.
    assert after.problem is not None
    assert await yard.pid() == serving
    # It is not held against the plug-in: nobody's delivery did it.
    assert yard.runner._house.deaths._counts == {}
    assert (await yard.see_through("harmful")).outcome is Outcome.DELIVERED


async def test_one_that_is_given_up_on_answers_nobody_else(make_yard: Any) -> None:
    yard = await started(make_yard)
    well = Bench.step({"text": "well"}, action="harmful")
    await yard.runner.preview(new_event(), [well])
    stuck = asyncio.ensure_future(yard.runner.preview(new_event(), [Bench.step({"text": "sleep"}, action="harmful")]))
    made = yard.runner._house.rehearser
    assert made is not None
    await until(made._turn.locked)
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    (rendered,) = await yard.runner.preview(new_event(), [well])
    assert rendered.options == {"text": "well"}


async def test_typed_steps_are_checked_and_a_secret_is_no_mistake(make_yard: Any) -> None:
    yard = await started(make_yard)
    found = await yard.runner.check(
        [
            Bench.step({"text": "${KEY}", "key": "${file:/etc/hostname}"}, action="healthy"),
            Bench.step({"txt": "x"}, action="healthy"),
            Bench.step({}, action="nowhere"),
        ]
    )
    assert sorted(problem.message.partition(";")[0] for problem in found) == [
        'healthy has no option "txt"',
        'no action "nowhere"',
    ]


async def test_it_ends_when_nobody_asks_and_is_there_again_when_somebody_does(make_yard: Any) -> None:
    yard = await started(make_yard)
    step = Bench.step({"text": "x"}, action="healthy")
    await yard.runner.preview(new_event(), [step])
    made = yard.runner._house.rehearser
    assert made is not None
    (first,) = rehearsing(yard)
    assert first in children()
    made._end_idle()
    await until(lambda: first not in children())
    await yard.runner.preview(new_event(), [step])
    (second,) = rehearsing(yard)
    assert second not in (first, os.getpid())


async def test_its_process_may_start_before_anybody_asks(make_yard: Any) -> None:
    yard = await started(make_yard)
    well = Bench.step({"text": "well"}, action="harmful")
    await yard.runner.warm()
    begun = rehearsing(yard)
    assert len(begun) == 1
    await yard.runner.warm()
    (rendered,) = await yard.runner.preview(new_event(), [well])
    assert (rendered.options, rehearsing(yard)) == ({"text": "well"}, begun)


async def test_other_plugins_are_tried_out_in_another_process(make_yard: Any) -> None:
    yard = await started(make_yard)
    step = Bench.step({"text": "x"}, action="healthy")
    await yard.runner.preview(new_event(), [step])
    (first,) = rehearsing(yard)
    yard.write("newcomer", "pass")
    follower = await yard.reload()
    follower.go_live()
    yard.runner = follower
    (rendered,) = await follower.preview(new_event(), [Bench.step({"text": "x"}, action="newcomer")])
    assert rendered.problem is None
    await until(lambda: first not in children())
