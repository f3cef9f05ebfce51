"""Which step took the place of which, and what they would send differently."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hookline.daemon.delivery.runner import Rendered
from hookline.daemon.rehearsal.step_diff import MAX_SHOWN, Difference, pair_steps, rendered_differences
from hookline.rules import Digest, Modifiers, Once, RetryPolicy, Step


def step(destination: str | None = "erp", **said: Any) -> Step:
    facts: dict[str, Any] = {
        "rule": "one", "rule_facts": {}, "destination": destination, "action": None, "options": {},
        "modifiers": Modifiers(), "vars": {},
    }  # fmt: skip
    return Step(**facts | said)


def rendered(problem: str | None = None, *, dry_run: bool = False, **options: Any) -> Rendered:
    return Rendered(step=step(), destination="erp", action="forward", options=options, problem=problem, dry_run=dry_run)


def kinds(then: tuple[Step, ...], now: tuple[Step, ...]) -> list[tuple[str, str]]:
    return [(pair.kind, pair.label) for pair in pair_steps(then, now)]


def test_equal_steps_are_no_pair() -> None:
    assert kinds((step(), step("crm")), (step("crm"), step())) == []
    assert kinds((step(),), (step(), step())) == [("added", "erp")]


def test_steps_pair_by_destination_then_by_options() -> None:
    old, new = step(options={"a": 1}), step(options={"a": 2})
    assert kinds((old, step("crm")), (new,)) == [("changed", "erp"), ("removed", "crm")]
    (pair,) = pair_steps((old,), (step("crm", options={"a": 1}),))
    assert pair.written == (Difference("destination", "erp", "crm"),)
    assert kinds((old,), (step("crm", options={"a": 2}),)) == [("removed", "erp"), ("added", "crm")]
    in_place = step(None, action="log", options={"a": 1})
    assert kinds((old,), (in_place,)) == [("removed", "erp"), ("added", "log")]


def test_modifiers_differ_and_dry_run_is_what_is_rendered() -> None:
    (pair,) = pair_steps((step(),), (step(modifiers=Modifiers(dry_run=True)),))
    assert pair.written == ()
    assert rendered_differences(rendered(), rendered(dry_run=True)) == (Difference("dry_run", "false", "true"),)


def test_modifiers_are_told_as_they_are_written() -> None:
    hour = timedelta(hours=1)
    then = Modifiers(
        retry=RetryPolicy(schedule=(timedelta(seconds=5), 2 * hour)),
        timeout=timedelta(seconds=90),
        once=Once(per=("tenant",), within=10 * timedelta(minutes=1)),
    )
    now = Modifiers(
        retry=RetryPolicy(schedule=(timedelta(seconds=5),), on=((429, 429), (500, 599))),
        timeout=timedelta(seconds=15),
        digest=Digest(every=hour),
    )
    (pair,) = pair_steps((step(modifiers=then),), (step(modifiers=now),))
    assert pair.written == (
        Difference("retry.schedule", "[5s, 2h]", "[5s]"),
        Difference("timeout", "1m30s", "15s"),
        Difference("once", "{per: tenant, within: 10m, summary: false}", None),
        Difference("retry.on", None, "[429, 500-599]"),
        Difference("digest", None, "{every: 1h, max: 200, on_stop: keep}"),
    )


def test_options_are_compared_leaf_by_leaf() -> None:
    then = rendered(text="a", blocks=[{"text": "x", "n": 1}], gone={}, same=[1, 2])
    now = rendered(text="b", blocks=[{"text": "x", "n": 1.5}, "y"], same=[1, 2])
    assert rendered_differences(then, now) == (
        Difference("text", "a", "b"),
        Difference("blocks[0].n", "1", "1.5"),
        Difference("gone", "{}", None),
        Difference("blocks[1]", None, "y"),
    )


def test_of_what_cannot_be_rendered_the_reason_is_compared() -> None:
    assert rendered_differences(rendered("a", text="x"), rendered("a", text="y")) == ()
    assert rendered_differences(rendered(text="x"), rendered("no", text="y")) == (Difference("problem", None, "no"),)


def test_long_texts_are_cut_to_where_they_differ() -> None:
    (one,) = rendered_differences(
        rendered(text="a" * 500 + "b" + "c" * 500), rendered(text="a" * 500 + "d" + "c" * 500)
    )
    assert one.then == "…" + "a" * 40 + "b" + "c" * (MAX_SHOWN - 41) + "…"
    assert one.now is not None
    assert one.now[41] == "d"
    (longer,) = rendered_differences(rendered(text="a" * 500), rendered(text="a" * 501))
    assert (longer.then, longer.now) == ("…" + "a" * 40, "…" + "a" * 41)
