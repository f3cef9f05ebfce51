"""Writes an explanation for people: plain lines; color is the terminal's business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from textwrap import wrap
from typing import NamedTuple

from hookline.rules.explain_folding import Folded
from hookline.rules.explained_event import ExplainedRule, Explanation, Sending
from hookline.rules.explanation import Explained, show, unforged
from hookline.rules.subject import time_text

_MIN_WIDTH = 40
_MAX_TEXT_COLUMN = 44
_MAX_NAME_COLUMN = 40
# Of what would be sent: options, and characters of each.
_MAX_OPTIONS = 12
_MAX_OPTION = 400
_VERDICTS = {"yes": "yes", "no": "no", "not tried": "-", "disabled": "off"}


def explanation_lines(  # noqa: PLR0913 - what to show, by name
    explanation: Explanation,
    width: int = 100,
    *,
    title: str | None = None,
    rules_note: str = "",
    only: str | None = None,
    shows_all: bool = False,
) -> list[str]:
    """Write the event, each rule with the conditions that decided, and a summary.

    `title` stands in place of the event's id, `rules_note` behind the rules' version. Of many rules those that say
    least are counted in a line, unless `shows_all`; `only` names the one rule to show.

    Lines are at most `width` characters long, but for names and paths that are longer themselves. What came from the
    sender is escaped, so no line can be forged.
    """
    width = max(width, _MIN_WIDTH)
    lines = [*_wrapped(_event_line(explanation, title, rules_note), width, 2), ""]
    folded = Folded.of(explanation.rules) if only is None and not shows_all else Folded(explanation.rules, ())
    rules = [rule for rule in folded.shown if only in (None, rule.rule)]
    names = min(_MAX_NAME_COLUMN, max((len(_name(rule)) for rule in rules), default=0))
    for rule in rules:
        lines += _rule_lines(rule, names, width)
    if rules:
        lines.append("")
    if folded.counts:
        lines += _wrapped(f"Not shown: {', '.join(folded.counts)}; --all shows them.", width, 2)
    lines.append(_summary(explanation))
    return lines


def _event_line(explanation: Explanation, title: str | None, rules_note: str) -> str:
    event = explanation.event
    parts = [f"{_plain(event.type)} from {_plain(event.source)}"]
    parts += [_plain(text) for text in (event.subject, event.tenant) if text]
    parts += [time_text(event.received_at), f"rules {explanation.version[:6]}{rules_note and f' ({rules_note})'}"]
    return f"{event.id if title is None else _plain(title)}  {', '.join(parts)}"


def _plain(text: str) -> str:
    """Escape what could forge a line; leave out the quotes."""
    return show(text)[1:-1] if len(text) < 70 else show(text)


def _name(rule: ExplainedRule) -> str:
    return rule.rule or "(fallback)"


def _rule_lines(rule: ExplainedRule, names: int, width: int) -> Iterator[str]:
    head = f" {_VERDICTS[rule.verdict]:<4} {_name(rule):<{names}}  {rule.place.file}:{rule.place.line}"
    notes = [note for note in ("aside" if rule.is_aside else "", rule.note) if note]
    yield "  ".join([head, *notes])
    if rule.verdict == "no":
        # A rule about other events is told in a line: its conditions would only bury the answer.
        decided = [part for part in rule.names if not part.holds]
        parts = decided or [*_names(rule.names), *_flat(rule.conditions)]
        yield from _part_lines(parts, width, is_no=True)
    elif rule.verdict == "yes":
        yield from _part_lines([*_names(rule.names), *_flat(rule.conditions)], width, is_no=False)
        if rule.sends:
            column = max(len(sending.label) for sending in rule.sends)
            for sending in rule.sends:
                yield from _sending_lines(sending, column, width)
        else:
            steps = ", ".join(rule.steps)
            yield f"        -> {steps}" if steps else "        -> nothing, and the rules below are not tried"


def _sending_lines(sending: Sending, column: int, width: int) -> Iterator[str]:
    lead = f"        -> {sending.label:<{column}}  "
    for said in _said_of(sending):
        yield from wrap(said, max(width, len(lead) + 24), initial_indent=lead, subsequent_indent=" " * 14)
        lead = " " * len(lead)
    for name, value in list(sending.options.items())[:_MAX_OPTIONS]:
        text = f"{_plain(name)}: {show(value, most=_MAX_OPTION)}"
        yield from wrap(text, width, initial_indent=" " * 14, subsequent_indent=" " * 16, break_on_hyphens=False)
    if len(sending.options) > _MAX_OPTIONS:
        yield f"{' ' * 14}… {len(sending.options)} options"


def _said_of(sending: Sending) -> list[str]:
    """Say what became of it, or what would."""
    if sending.outcomes:
        return list(sending.outcomes)
    if sending.problem is not None:
        return [f"would fail: {unforged(sending.problem[:_MAX_OPTION])}"]
    said = "dry run, would not be sent" if sending.is_dry_run else "would be sent"
    return [f"{said} ({', '.join(sending.unset)} not set here)" if sending.unset else said]


def _flat(conditions: Iterable[Explained]) -> Iterator[Explained]:
    """Leave out each `all` that only says that several keys stand in one mapping."""
    for condition in conditions:
        if condition.text == "all" and condition.children:
            yield from _flat(condition.children)
        else:
            yield condition


def _names(parts: Iterable[Explained]) -> Iterator[Explained]:
    """Say of `from` and `on` what was seen only where it is another: the first line has it."""
    for part in parts:
        yield replace(part, seen="") if part.holds else part


def _part_lines(parts: Iterable[Explained], width: int, *, is_no: bool) -> Iterator[str]:
    rows = [row for part in parts for row in _rows(part, 0, is_no=is_no)]
    column = min(_MAX_TEXT_COLUMN, width // 2, max((2 * row.depth + len(row.part.text) for row in rows), default=0))
    for row in rows:
        yield from _row_lines(row, column, width)


class _Row(NamedTuple):
    """One condition, as deep as it is nested."""

    depth: int
    part: Explained
    #: It is why the rule does not match: a no inside a condition that holds is not.
    decides: bool


def _rows(part: Explained, depth: int, *, is_no: bool) -> Iterator[_Row]:
    is_no = is_no and not part.holds
    yield _Row(depth, part, is_no and part.decides)
    for child in part.children:
        yield from _rows(child, depth + 1, is_no=is_no)


def _row_lines(row: _Row, column: int, width: int) -> Iterator[str]:
    part = row.part
    lead = " " * 8
    text = "  " * row.depth + part.text
    said = part.why if not part.holds and part.why else part.seen
    if row.decides and part.place is not None:
        said = f"{said}   {part.place.file}:{part.place.line}".strip()
    answer = f"{'yes' if part.holds else 'NO':<3}"
    if len(text) > column:
        yield from wrap(text, width, initial_indent=lead, subsequent_indent=lead + "  ", break_on_hyphens=False)
        text = ""
    margin = len(lead) + column + 7
    room = max(width - margin, 24)
    first, *rest = wrap(said, room, break_on_hyphens=False) or [""]
    yield f"{lead}{text:<{column}}  {answer}  {first}".rstrip()
    for line in rest:
        yield " " * margin + line


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    return wrap(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _summary(explanation: Explanation) -> str:
    named = [rule for rule in explanation.rules if not rule.is_fallback]
    matched = [rule for rule in named if rule.verdict == "yes"]
    text = f"{len(matched)} of {len(named)} rule{'' if len(named) == 1 else 's'} matched"
    if any(rule.is_fallback and rule.verdict == "yes" for rule in explanation.rules):
        text += "; the fallback acts"
    elif not matched:
        text += "; nothing is done"
    return f"{text}."
