"""Steps as they are kept: read back as they were, and what an earlier version kept stays what it was."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hookline.rules import Bounds, Breaker, Changed, Digest, Modifiers, Once, Rate, RetryPolicy, Step
from hookline.rules.bounds import parse_bounds
from hookline.rules.document import Findings
from hookline.rules.modifiers import parse_modifiers
from hookline.rules.reader import read_document
from hookline.rules.written_modifiers import written_bounds, written_modifiers

PLAIN = Step(
    rule="large invoice",
    rule_facts={"name": "large invoice", "description": "", "owner": "ada"},
    destination="erp",
    action=None,
    options={"text": "ä {{ event.type }}"},
    modifiers=Modifiers(
        retry=RetryPolicy(
            schedule=(timedelta(seconds=5), timedelta(minutes=1, milliseconds=500)), jitter=0.125, retry_unknown=False
        ),
        timeout=timedelta(seconds=15),
        dry_run=False,
    ),
    vars={"a": 1},
)
#: As the version before delay, order, once, digest, changed and windows kept it.
KEPT = (
    '{"action":null,"destination":"erp","modifiers":{"dry_run":false,"retry":{"jitter":0.125,"retry_unknown":false,'
    '"schedule":[5.0,60.5]},"timeout":15.0},"options":{"text":"ä {{ event.type }}"},"rule":"large invoice",'
    '"rule_facts":{"description":"","name":"large invoice","owner":"ada"},"vars":{"a":1}}'
)


def test_a_step_without_new_modifiers_is_kept_as_ever() -> None:
    assert PLAIN.text == KEPT
    assert PLAIN.digest == "5485d057596f68e79b70d9bf1dcaa37f"
    bare = Step(rule="", rule_facts={}, destination=None, action="log", options={}, modifiers=Modifiers(), vars={})
    assert bare.digest == "778e64e995c122ca1a33317081c69b4c"


def test_what_an_earlier_version_kept_is_read() -> None:
    assert Step.from_text(KEPT) == PLAIN


# Of milliseconds, as people write them, and as many as each modifier takes.
DURATIONS = st.integers(1, 30 * 86_400_000).map(lambda count: timedelta(milliseconds=count))
SELECTORS = st.lists(
    st.sampled_from(["$.a", "$['b c'][*]", "tenant", "header.X-A", "envelope.$.b"]), min_size=1, max_size=3
).map(tuple)
WINDOWS = st.lists(st.sampled_from(["sat UTC", "mon-fri 07:00-22:00 Europe/Berlin"]), min_size=1, max_size=2).map(tuple)
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([1.5, "won", "", "null", "1", "a: b", "ä"])
VALUES = st.lists(SCALARS | st.lists(SCALARS, max_size=2), min_size=1, max_size=3).map(tuple)
SHARES = st.integers(0, 1000).map(lambda tenths: tenths / 10 / 100)
RETRIES = st.builds(
    RetryPolicy,
    schedule=st.lists(DURATIONS, max_size=3).map(tuple),
    jitter=SHARES,
    retry_unknown=st.booleans(),
    on=st.none() | st.lists(st.sampled_from([(429, 429), (500, 599)]), min_size=1, max_size=2).map(tuple),
    give_up_after=st.none() | st.just(timedelta(days=30)),
)
ONCES = st.builds(Once, per=SELECTORS, within=DURATIONS, summary=st.booleans())
DIGESTS = st.builds(
    Digest, every=DURATIONS, per=SELECTORS | st.just(()), max=st.integers(2, 10_000), flush_on_stop=st.booleans()
)
CHANGES = st.builds(
    Changed, of=st.just("$.a"), per=SELECTORS, from_=st.none() | VALUES, to=st.none() | VALUES
) | st.builds(Changed, of=st.just("type"), per=SELECTORS, to=st.none() | VALUES, first=st.just(True))


@st.composite
def some_modifiers(draw: st.DrawFn) -> Modifiers:
    """Any that can stand together."""
    drawn = draw(
        st.builds(
            Modifiers,
            retry=st.none() | RETRIES,
            timeout=st.none() | st.just(timedelta(seconds=7)),
            dry_run=st.none() | st.booleans(),
            delay=st.none() | DURATIONS,
            order_by=st.none() | SELECTORS,
            once=st.none() | ONCES,
            changed=st.none() | CHANGES,
            during=st.none() | WINDOWS,
        )
    )
    if draw(st.booleans()):
        return replace(drawn, digest=draw(DIGESTS), once=None, order_by=None, delay=None)
    return drawn


def yaml_entries(value: Any) -> Any:
    document: Any = read_document(json.dumps(value, ensure_ascii=False), "f", findings := Findings())
    assert not findings.problems
    return document.entries


@given(modifiers=some_modifiers())
def test_a_step_is_read_back_as_it_was(modifiers: Modifiers) -> None:
    step = replace(PLAIN, modifiers=modifiers)
    again = Step.from_text(step.text)
    assert again == step
    assert again.digest == step.digest
    assert (again.digest == PLAIN.digest) == (modifiers == PLAIN.modifiers)


@given(modifiers=some_modifiers())
def test_modifiers_as_written_are_read_as_they_were(modifiers: Modifiers) -> None:
    findings = Findings()
    assert parse_modifiers(yaml_entries(written_modifiers(modifiers)), findings) == modifiers
    assert findings.problems == []


BOUNDS = st.builds(
    Bounds,
    rate=st.none() | st.builds(Rate, st.integers(1, 1000), st.sampled_from([timedelta(seconds=1), timedelta(hours=1)])),
    breaker=st.none()
    | st.builds(
        Breaker,
        share=SHARES.filter(bool),
        least=st.integers(1, 10_000),
        within=st.integers(1, 86_400).map(lambda count: timedelta(seconds=count)),
        pause=st.integers(1, 86_400).map(lambda count: timedelta(seconds=count)),
    ),
    hold_during=WINDOWS | st.just(()),
    failure_budget=DURATIONS,
)


@given(bounds=BOUNDS)
def test_bounds_as_written_are_read_as_they_were(bounds: Bounds) -> None:
    findings = Findings()
    assert parse_bounds(yaml_entries(written_bounds(bounds)), findings) == bounds
    assert findings.problems == []


def test_modifiers_are_written_as_people_write_them() -> None:
    assert written_modifiers(
        Modifiers(
            retry=RetryPolicy(
                schedule=(timedelta(minutes=90),), on=((429, 429), (500, 599)), give_up_after=timedelta(days=3)
            ),
            once=Once(per=("tenant",), within=timedelta(minutes=10)),
            changed=Changed(of="$.a", per=("$.b", "$.c"), from_=(None, "won")),
            during=("sat UTC",),
        )
    ) == {
        "retry": {
            "schedule": ["1h30m"], "jitter": "20%", "retry_unknown": "always", "on": [429, "500-599"],
            "give_up_after": "3d",
        },
        "once": {"per": "tenant", "within": "10m", "summary": False},
        "changed": {"of": "$.a", "per": ["$.b", "$.c"], "from": [None, "won"], "first": False},
        "during": "sat UTC",
    }  # fmt: skip
