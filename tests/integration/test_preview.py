"""Previews: what a step would send, without sending and without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hookline.daemon.actions.dry_run import dry_run_text
from hookline.daemon.rehearsal.preview import Previewer
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.changes import Outcome
from hookline.rules import Modifiers

pytestmark = pytest.mark.anyio

PAYLOAD = {"number": "INV-1", "total": 5000}


def previewer(bench: Any, tmp_path: Path, environ: dict[str, str] | None = None) -> Previewer:
    return Previewer(bench.settings, Secrets(environ or {}, folder=tmp_path), bench.runner)


async def test_a_preview_is_what_the_action_would_be_given(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path
) -> None:
    bench.destination("finance", "slack", {"url": "${HOOK}", "text": "from the destination"})
    step = bench.step({"text": "Paid: {{ payload.total }} by {{ vars.team }} ({{ rule.name }})"}, to="finance")
    event = make_delivery(PAYLOAD).event
    secret = "https://hooks.example/T0/B0/abcdefghijkl"
    rendered = await previewer(bench, tmp_path, {"HOOK": secret}).render(event, step)
    assert rendered.options == {"url": "***", "text": "Paid: 5000 by ops (paid)"}
    assert (rendered.destination, rendered.action, rendered.problem) == ("finance", "slack", None)
    assert (rendered.dry_run, rendered.unset) == (False, ())
    assert secret not in repr(rendered)
    shown = await bench.runner.__class__(bench.settings, Secrets({"HOOK": secret}, folder=tmp_path)).render(
        make_delivery(PAYLOAD), step
    )
    assert shown == rendered.options


async def test_what_is_not_set_here_is_named_and_no_problem(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path
) -> None:
    bench.destination("erp", "forward", {"url": "${ERP_URL}", "headers": {"X-Key": "a${file:key}"}})
    rendered = await previewer(bench, tmp_path).render(make_delivery(PAYLOAD).event, bench.step(to="erp"))
    assert rendered.problem is None
    assert rendered.unset == ("${ERP_URL}", "${file:key}")
    assert rendered.options["headers"] == {"X-Key": "a***"}


async def test_a_mistake_beside_an_unset_secret_is_a_problem(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path
) -> None:
    bench.destination("erp", "forward", {"url": "${ERP_URL}"})
    step = bench.step({"method": "{{ payload.number }}"}, to="erp")
    rendered = await previewer(bench, tmp_path).render(make_delivery(PAYLOAD).event, step)
    assert rendered.problem is not None
    assert rendered.problem.startswith("method: ")


async def test_a_mistake_of_the_whole_beside_an_unset_secret_is_a_problem(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path
) -> None:
    bench.destination("finance", "slack", {"url": "${HOOK}"})
    step = bench.step({"text": "{{ payload.nothing }}"}, to="finance")
    rendered = await previewer(bench, tmp_path).render(make_delivery({"nothing": None}).event, step)
    assert rendered.problem == "options: write text or blocks"


async def test_a_secret_of_any_length_in_any_option_stays_unread(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path
) -> None:
    bench.destination("erp", "forward", {"url": "https://erp.example.com", "headers": {"X-Pin": "n${PIN}"}})
    rendered = await previewer(bench, tmp_path, {"PIN": "123"}).render(
        make_delivery(PAYLOAD).event, bench.step(to="erp")
    )
    assert (rendered.options["headers"], rendered.unset) == ({"X-Pin": "n***"}, ())


async def test_credentials_are_hidden_where_the_options_are_wrong_too(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path
) -> None:
    bench.destination("finance", "slack", {"url": "https://hooks.example/T0/secret", "channel": "#a"})
    step = bench.step({"text": "{{ payload.total }}"}, to="finance")
    rendered = await previewer(bench, tmp_path).render(make_delivery(PAYLOAD).event, step)
    assert rendered.problem == "options: an incoming webhook has its own channel; leave channel out, or use a token"
    assert rendered.options == {"url": "***", "channel": "#a", "text": "5000"}


@pytest.mark.parametrize(
    "options",
    [{"text": "{{ payload.nunber }}"}, {"text": "{{ 1 / 0 }}"}],
)
async def test_a_problem_has_the_words_of_the_delivery(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path, options: dict[str, Any]
) -> None:
    bench.destination("finance", "slack", {"url": "https://hooks.example/T0/secret"})
    step = bench.step(options, to="finance")
    rendered = await previewer(bench, tmp_path).render(make_delivery(PAYLOAD).event, step)
    result = await bench.run(make_delivery(PAYLOAD), step)
    assert result.outcome is Outcome.PERMANENT
    assert rendered.problem == result.note
    assert rendered.options == {}


async def test_a_step_without_its_destination_is_a_problem(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path
) -> None:
    bench.destination("finance", "slack", {"url": "https://hooks.example/T0/secret"})
    rendered = await previewer(bench, tmp_path).render(make_delivery(PAYLOAD).event, bench.step(to="finanse"))
    assert rendered.problem == 'no destination "finanse"; did you mean "finance"?'
    assert (rendered.destination, rendered.action) == ("finanse", "")


async def test_a_dry_run_records_what_it_would_have_sent(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path
) -> None:
    bench.destination("finance", "slack", {"url": "https://hooks.example/T0/secret"}, modifiers=Modifiers(dry_run=True))
    step = bench.step({"text": "Paid: {{ payload.total }}"}, to="finance")
    result = await bench.run(make_delivery(PAYLOAD), step)
    assert result.outcome is Outcome.DELIVERED
    assert result.note == "dry run, nothing sent"
    assert result.answer == 'slack {"url": "***", "text": "Paid: 5000"}'
    rendered = await previewer(bench, tmp_path).render(make_delivery(PAYLOAD).event, step)
    assert rendered.dry_run
    assert result.answer.endswith(json.dumps(rendered.options))


async def test_a_rule_may_lift_its_destinations_dry_run(
    bench: Any, make_delivery: Callable[..., Any], tmp_path: Path
) -> None:
    bench.destination("finance", "slack", {"url": "https://hooks.example/T0/x"}, modifiers=Modifiers(dry_run=True))
    step = bench.step({"text": "x"}, to="finance", dry_run=False)
    assert not (await previewer(bench, tmp_path).render(make_delivery(PAYLOAD).event, step)).dry_run


async def test_what_a_dry_run_keeps_is_bounded_and_can_be_kept() -> None:
    assert len(dry_run_text("slack", {"text": "x" * 9000}, 4096)) == 4096
    assert dry_run_text("slack", {"text": "x" * 9000}, 4096).endswith("x…")
    assert dry_run_text("slack", {"text": "\ud800é"}, 4096) == 'slack {"text": "\\ud800é"}'
