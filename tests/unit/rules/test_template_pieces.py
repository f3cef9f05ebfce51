"""A template read in pieces says the same as one read as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.rules import template_syntax
from hookline.rules.template_syntax import TemplateMistake, mistakes_in, references_in, template_variables

PIECES = st.sampled_from(
    ["{{ payload.a }}", "{{ vars.x }}", "{{- event.type -}}", "{{ vars[payload.a] }}", "{{ nothing }}", "{{ '${A}' | upper }}",
     "{{ {'a': 1} }}", "{{ 'a}}' }}", "{{ a b }}", "{{ }}", "{{ payload.a | nope }}", "{% if payload.a %}", "{% endif %}",
     "{# note #}", "{", "}", "}}", "{{", "${A}", "${vars.x}", "$${", "text ", "%}", "#", "\n", "%", "{% raw %}", "{% endraw %}"]
)  # fmt: skip


def whole(text: str) -> Any:
    """Return what is said of a text that is never cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(template_syntax, "_pieces_of", lambda _: [])
        template_syntax._nodes_of.cache_clear()
        said = mistakes_in(text), references_in(text), template_variables(text)
    template_syntax._nodes_of.cache_clear()
    return said


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=6).map("".join))
def test_pieces_say_what_the_whole_says(text: str) -> None:
    assert (mistakes_in(text), references_in(text), template_variables(text)) == whole(text)


def test_an_expression_is_read_once_for_many_templates() -> None:
    before = template_syntax._walk.cache_info().misses
    for number in range(50):
        assert not isinstance(template_syntax._nodes_of(f"Of {number}: {{{{ payload.once }}}}!"), TemplateMistake)
    assert template_syntax._walk.cache_info().misses - before <= 1
