"""Writes an explanation for people: plain lines; color is the terminal's business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from textwrap import wrap

from hookline.rules.explained_event import ExplainedRule, Explanation
from hookline.rules.explanation import Explained, show
from hookline.rules.subject import time_text

_MIN_WIDTH = 40
_MAX_TEXT_COLUMN = 44
_MAX_NAME_COLUMN = 40
_VERDICTS = {"yes": "yes", "no": "no", "not tried": "-", "disabled": "off"}


def explanation_lines(explanation: Explanation, width: int = 100) -> list[str]:
    """Write the event, each rule with the conditions that decided, and a summary.

    Lines are at most `width` characters long, but for names and paths that are longer themselves. What came from the
    sender is escaped, so no line can be forged.
    """
    width = max(width, _MIN_WIDTH)
    lines = [*_wrapped(_event_line(explanation), width, 2), ""]
    rules = explanation.rules
    names = min(_MAX_NAME_COLUMN, max((len(_name(rule)) for rule in rules), default=0))
    for rule in rules:
        lines += _rule_lines(rule, names, width)
    if rules:
        lines.append("")
    lines.append(_summary(explanation))
    return lines


def _event_line(explanation: Explanation) -> str:
    event = explanation.event
    parts = [f"{_plain(event.type)} from {_plain(event.source)}"]
    parts += [_plain(text) for text in (event.subject, event.tenant) if text]
    parts += [time_text(event.received_at), f"rules {explanation.version[:6]}"]
    return f"{event.id}  {', '.join(parts)}"


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
        yield from _part_lines(parts, width)
    elif rule.verdict == "yes":
        yield from _part_lines([*_names(rule.names), *_flat(rule.conditions)], width)
        steps = ", ".join(rule.steps)
        yield f"        -> {steps}" if steps else "        -> nothing, and the rules below are not tried"


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


def _part_lines(parts: Iterable[Explained], width: int) -> Iterator[str]:
    rows = [row for part in parts for row in _rows(part, 0)]
    column = min(_MAX_TEXT_COLUMN, width // 2, max((2 * depth + len(part.text) for depth, part in rows), default=0))
    for depth, part in rows:
        yield from _row_lines(part, depth, column, width)


def _rows(part: Explained, depth: int) -> Iterator[tuple[int, Explained]]:
    yield depth, part
    for child in part.children:
        yield from _rows(child, depth + 1)


def _row_lines(part: Explained, depth: int, column: int, width: int) -> Iterator[str]:
    lead = " " * 8
    text = "  " * depth + part.text
    said = part.why if not part.holds and part.why else part.seen
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
