"""Reads an endpoint's parameters, as its dataclass says; whatever is not one of them is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

from hookline.daemon.api.endpoint import Call, Endpoint
from hookline.daemon.api.problem import ProblemError
from hookline.rules.suggestion import did_you_mean
from hookline.rules.units import parse_time

_MOST_PARAMETERS: Final = 64
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
_IN_PATH: Final = re.compile(r"\{([a-z_]+)\}")
#: Of a name in a path; nothing that is called so can exist.
_MOST_NAME: Final = 500
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of an endpoint."""

    name: str
    is_in_path: bool
    #: `str`, `int`, `bool`, `datetime`, or a `Literal`; never optional.
    kind: Any
    #: What it means, a sentence.
    about: str
    is_required: bool
    default: Any
    read: Callable[[str], Any]


def path_names(path: str) -> list[str]:
    """Return what stands in braces, in order."""
    return _IN_PATH.findall(path)


@cache
def asked_type(function: Callable[..., Any]) -> type[Any]:
    """Return the dataclass of what an endpoint's function asks."""
    for hint in get_type_hints(function).values():
        if get_origin(hint) is Call:
            (asked,) = get_args(hint)
            assert isinstance(asked, type)  # noqa: S101 - `Call[…]` holds a dataclass
            return asked
    raise TypeError(f"{function.__name__} takes no Call")


@cache
def parameters(function: Callable[..., Any], path: str) -> tuple[Parameter, ...]:
    """Return the parameters of an endpoint: those of its path, then those of its query."""
    asked = asked_type(function)
    hints = get_type_hints(asked, include_extras=True)
    in_path = path_names(path)
    found = [_parameter(one, hints[one.name], is_in_path=one.name in in_path) for one in fields(asked)]
    unknown = set(in_path) - {one.name for one in found}
    if unknown:
        raise TypeError(f"{path}: {asked.__name__} has no field {unknown.pop()!r}")
    return tuple(sorted(found, key=lambda one: not one.is_in_path))


def read_parameters(endpoint: Endpoint, *, path: Mapping[str, str], query: str) -> Any:
    """Return the endpoint's dataclass, filled. `path` holds decoded names, `query` is as sent.

    Raises `ProblemError`: 404 for a name in the path that nothing has, 400 for the query.
    """
    known = {one.name: one for one in parameters(endpoint.function, endpoint.path)}
    said: dict[str, Any] = {}
    for name, text in path.items():
        if len(text) > _MOST_NAME or _CONTROL.search(text):
            raise ProblemError(404, "Not found", f"no {name} is called so")
        try:
            said[name] = known[name].read(text)
        except ValueError as error:
            raise ProblemError(404, "Not found", f"no {name} {text[:100]!r}") from error
    in_query = {one.name: one for one in known.values() if not one.is_in_path}
    for name, text in _pairs(query):
        said[name] = _read(in_query, name, text, is_repeated=name in said)
    missing = [one.name for one in in_query.values() if one.is_required and one.name not in said]
    if missing:
        raise _bad(f"`{missing[0]}` is missing")
    return asked_type(endpoint.function)(**said)


def _read(known: Mapping[str, Parameter], name: str, text: str, *, is_repeated: bool) -> Any:
    one = known.get(name)
    if one is None:
        near = did_you_mean(name[:100], known)
        there_are = f"there are: {', '.join(known)}" if known else "it takes none"
        raise _bad(f"unknown parameter {name[:100]!r}; {near or there_are}")
    if is_repeated:
        raise _bad(f"`{name}` stands twice")
    if "\0" in text:
        raise _bad(f"`{name}` holds a NUL")
    try:
        return one.read(text)
    except ValueError as error:
        raise _bad(f"`{name}` is {error}, not {text[:100]!r}") from error


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except UnicodeDecodeError as error:
        raise _bad("the query is not UTF-8") from error
    except ValueError as error:
        raise _bad(f"more than {_MOST_PARAMETERS} parameters") from error


def _bad(detail: str) -> ProblemError:
    return ProblemError(400, "Cannot be asked so", detail)


def _parameter(field: Any, hint: Any, *, is_in_path: bool) -> Parameter:
    about = ""
    if get_origin(hint) is Annotated:
        hint, about = get_args(hint)[:2]
    kind = _present(hint)
    return Parameter(
        name=field.name,
        is_in_path=is_in_path,
        kind=kind,
        about=about,
        is_required=field.default is MISSING and field.default_factory is MISSING,
        default=None if field.default is MISSING else field.default,
        read=_reader(kind),
    )


def _present(hint: Any) -> Any:
    """Return the type without `| None`, and what a `NewType` is made of."""
    if get_origin(hint) in {Union, UnionType}:
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    return getattr(hint, "__supertype__", hint)


def _reader(kind: Any) -> Callable[[str], Any]:
    if get_origin(kind) is Literal:
        return lambda text: _one_of(get_args(kind), text)
    return _READERS[kind]


def _one_of(words: tuple[str, ...], text: str) -> str:
    if text not in words:
        raise ValueError(f"one of {', '.join(words)}")
    return text


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("a whole number")
    return int(text)


def _flag(text: str) -> bool:
    return _one_of(("true", "false"), text) == "true"


def _time(text: str) -> datetime:
    moment = parse_time(text)
    if moment is None:
        raise ValueError("a time such as 2026-05-18T12:00:00Z")
    return moment


_READERS: Final[Mapping[Any, Callable[[str], Any]]] = {str: str, int: _whole, bool: _flag, datetime: _time}
