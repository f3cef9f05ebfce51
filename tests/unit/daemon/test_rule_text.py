"""The lines of one rule, as its page shows them."""

from __future__ import annotations

import pytest

from hookline.daemon.api.rules import rule_text

FILE = """\
rules:
  - do:
      - sink
      - erp

    name: first   # not the first key
  # of the second
  - name: second
    do: [sink]

fallback: [{do: [sink]}]
"""


@pytest.mark.parametrize("line", [2, 6])
def test_a_rule_begins_at_its_dash_wherever_its_name_stands(line: int) -> None:
    first, text = rule_text(FILE, line)
    assert first == 2
    assert text == "  - do:\n      - sink\n      - erp\n\n    name: first   # not the first key"


def test_blank_lines_below_it_and_what_is_indented_less_are_not_its_own() -> None:
    assert rule_text(FILE, 8) == (8, "  - name: second\n    do: [sink]")


def test_a_rule_in_one_line_is_that_line() -> None:
    assert rule_text(FILE, 11) == (11, "fallback: [{do: [sink]}]")
    assert rule_text("- {name: a}\n- {name: b}\n", 1) == (1, "- {name: a}")


def test_a_rule_without_end_is_cut() -> None:
    _, text = rule_text("- name: a\n" + "  when:\n" * 5_000, 1)
    assert len(text.splitlines()) == 400
