"""Text as PostgreSQL's columns take it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookline.daemon.store.postgres.rows import bound, names_or_null, unbound

#: Lone surrogates too, and what the escape is made of more often than chance would.
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("\0\ud800\udfff\U0010fffd=0d8")))


@given(text=TEXTS)
@example(text="\U0010fffd0000")
@example(text="\U0010fffd=")
def test_any_text_can_be_stored_and_comes_back(text: str) -> None:
    stored = bound(text)
    assert "\0" not in stored
    stored.encode()
    assert unbound(stored) == text


@given(text=st.text(st.characters(exclude_characters="\0\U0010fffd", exclude_categories=["Cs"])))
def test_ordinary_text_is_stored_as_it_is(text: str) -> None:
    assert bound(text) == text


@pytest.mark.parametrize(
    ("names", "written"),
    [
        ((), None),
        (("a", ""), '{"a",""}'),
        (('say "x"', "back\\slash", "a,b}", "NULL"), '{"say \\"x\\"","back\\\\slash","a,b}","NULL"}'),
    ],
)
def test_names_are_written_as_an_array(names: tuple[str, ...], written: str | None) -> None:
    assert names_or_null(names) == written
