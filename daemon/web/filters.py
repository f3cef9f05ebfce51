"""What filter forms say: the same names as the API's parameters, times also as people type them."""

from __future__ import annotations

from dataclasses import MISSING, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from hookline.daemon.api.problem import ProblemError
from hookline.daemon.web.texts import link
from hookline.daemon.web.view import View
from hookline.rules.units import parse_duration

T = TypeVar("T", bound=str)


def text_of(view: View, name: str) -> str | None:
    """Return what a field says, without spaces around; None if nothing."""
    return view.query.get(name, "").strip() or None


def moment_of(view: View, name: str) -> datetime | None:
    """Return the time that a field says, as `1h` (ago) or `2026-05-18T12:00` (UTC). Raises `ProblemError`."""
    said = text_of(view, name)
    return None if said is None else read_moment(name, said, view.daemon.clock())


def read_moment(name: str, said: str, now: datetime) -> datetime:
    """Return a time as people type it. Raises `ProblemError`, which names the field."""
    try:
        return now - parse_duration(said)
    except ValueError:
        pass
    except OverflowError as error:
        raise _unread(name, said) from error
    try:
        moment = datetime.fromisoformat(said)
    except ValueError as error:
        raise _unread(name, said) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def choice_of(view: View, name: str, known: tuple[T, ...]) -> T | None:
    """Return which of the known words a field says; None if none. Raises `ProblemError` for another."""
    said = text_of(view, name)
    if said is None:
        return None
    for one in known:
        if one == said:
            return one
    raise ProblemError(400, "Cannot be asked so", f"`{name}` is one of {', '.join(known)}, not {said[:100]!r}")


def api_url(path: str, asked: Any) -> str:
    """Return where the API answers the same as JSON, below its root: `asked` is the endpoint's dataclass."""
    said = {
        one.name: getattr(asked, one.name)
        for one in fields(asked)
        if one.default is not MISSING and getattr(asked, one.name) != one.default
    }
    return link(path, said)


def _unread(name: str, said: str) -> ProblemError:
    detail = f"`{name}` is a duration such as 1h or 7d, or a date such as 2026-05-18T12:00, not {said[:100]!r}"
    return ProblemError(400, "Cannot be asked so", detail)
