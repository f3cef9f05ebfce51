"""Texts for Slack are cut between escapes, never within one."""

from __future__ import annotations

from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from hookline.plugins.slack_text import escape, shortened


@given(st.text(st.sampled_from("<>&ab;")), st.integers(2, 30))
def test_a_cut_text_begins_like_the_whole(text: str, limit: int) -> None:
    cut = shortened(escape(text), limit)
    assert len(cut) <= limit
    if len(escape(text)) <= limit:
        assert cut == escape(text)
    else:
        assert cut.endswith("…")
        assert text.startswith(unescape(cut.removesuffix("…")))


@given(st.text())
def test_an_escaped_text_mentions_nobody(text: str) -> None:
    escaped = escape(text)
    assert not {"<", ">"} & set(escaped)
    assert unescape(escaped) == text
