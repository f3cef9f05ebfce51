"""Tells whether two conditions ask the same: of their meaning, not of how their texts read."""

from __future__ import annotations

import json

from hookline.rules.condition import All, Any, Check, Condition, Constant, Named, Not, Test


def condition_key(condition: Condition) -> str | None:
    """Return a text that is equal only for conditions that mean the same; None if that cannot be told."""
    match condition:
        case Test():
            return _test_key(condition)
        case Named(condition=inner):
            return condition_key(inner)
        case Not(test=inner):
            key = condition_key(inner)
            return None if key is None else f"not({key})"
        case All(tests=tests):
            return _group_key("all", tests)
        case Any(tests=tests):
            return _group_key("any", tests)


def _group_key(word: str, tests: tuple[Condition, ...]) -> str | None:
    keys = [key for test in tests if (key := condition_key(test)) is not None]
    if len(keys) < len(tests):
        return None
    # Of which the order does not matter.
    distinct = sorted(set(keys))
    return distinct[0] if len(distinct) == 1 else f"{word}({','.join(distinct)})"


def _test_key(test: Test) -> str | None:
    parts = [test.look.text, test.conversion, test.exists]
    for checks in (test.count, test.absent, test.present):
        keys = [_check_key(check) for check in checks]
        if None in keys:
            return None
        parts.append(",".join(sorted(key for key in keys if key is not None)))
    for inner in (test.where, test.every):
        key = "" if inner is None else condition_key(inner)
        if key is None:
            return None
        parts.append(key)
    return json.dumps(parts)


def _check_key(check: Check) -> str | None:
    if not check.operands and check.operator not in ("in", "not_in"):
        # Only the text says what it compares with: as it was written, unless it was cut or has escapes in it.
        return None if "…" in check.text or "\\" in check.text else f"{check.operator} {check.text}"
    # JSON, since Python holds 1, 1.0 and True to be equal.
    operands = sorted(
        json.dumps(operand.value, sort_keys=True) if isinstance(operand, Constant) else f"at {operand.look.text}"
        for operand in check.operands
    )
    return f"{check.operator} {' '.join(operands)}"
