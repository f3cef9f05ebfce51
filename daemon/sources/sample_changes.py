"""Change a body before it is signed: `data.total=5000`."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from hookline.rules import Json

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d{1,9})\]")


def apply_changes(document: Json, changes: tuple[str, ...]) -> None:
    """Set values in a body: `data.total=5000`, `lines[0].price=5`; a value that is JSON is that, any other a text.

    Raises `ValueError` naming the change that cannot be made.
    """
    for change in changes:
        path, separator, text = change.partition("=")
        steps = _steps(path.removeprefix("$"))
        if not separator or not steps:
            raise ValueError(f"--set {change}: write PATH=VALUE, as in data.total=5000")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        _set(document, steps, value, change)


def _steps(path: str) -> list[str]:
    found: list[str] = []
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return []
        found.append(step[1] or step[2])
        position = step.end()
    return found


def _set(document: Any, steps: list[str], value: Json, change: str) -> None:
    at = document
    for number, step in enumerate(steps):
        where = ".".join(steps[:number]) or "$"
        key: Any = step
        if isinstance(at, list):
            if not step.isdigit() or int(step) >= len(at):
                which = "[0]" if len(at) == 1 else f"[0] to [{len(at) - 1}]"
                rest = steps[number + 1 :] if step.isdigit() else steps[number:]
                hint = f"write {which}, as in {'.'.join(steps[:number])}{'.'.join(['[0]', *rest])}=…"
                raise ValueError(f"--set {change}: a list stands at {where}, without {step}; {hint}")
            key = int(step)
        elif not isinstance(at, dict):
            raise ValueError(f"--set {change}: there is no object at {where}")  # noqa: TRY004 - the user's mistake
        if number == len(steps) - 1:
            at[key] = value
        else:
            at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]
