"""Read a body: bytes to what rules see. Strict, because two readers of one body must never see two things."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from itertools import accumulate
from math import isinf
from typing import Any
from urllib.parse import parse_qsl

from hookline.rules import Json

#: Deeper ones would make each later reader of the payload recurse.
MAX_DEPTH = 64
#: A body of 1 MiB can hold 350,000 values, which are 24 MB once parsed.
MAX_VALUES = 200_000
MAX_FORM_FIELDS = 1_000

_FORM = "application/x-www-form-urlencoded"
_WHITESPACE = b" \t\r\n"
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class UnreadableBodyError(ValueError):
    """A body that is not what it promises to be. Caught by normalize, which keeps it as an `unreadable` event."""


def media_type(content_type: str) -> str:
    """Return the type without its parameters, in lower case: `application/json`."""
    return content_type.partition(";")[0].strip().lower()


def read_body(body: bytes, content_type: str) -> Json:
    """Read a form as a mapping and anything else as JSON (senders often mislabel it), always as UTF-8.

    A field that a form repeats becomes a list. A byte order mark is skipped (RFC 8259, 8.1). Refused are: other
    encodings, NaN and infinities also as 1e400, a key twice in one object, more than 64 levels, more than
    200,000 values, and numbers of more than 4,300 digits. Raises `UnreadableBodyError` and nothing else.
    """
    kind = media_type(content_type)
    if kind.startswith("multipart/"):
        raise UnreadableBodyError("a multipart body is not read")
    try:
        # `curl -d` calls everything a form. No form begins with a bare bracket: it would be written %7B.
        is_form = kind == _FORM and not body.lstrip(_WHITESPACE).startswith((b"{", b"["))
        return _read_form(body) if is_form else _read_json(body)
    except UnicodeDecodeError as error:
        raise UnreadableBodyError(f"not UTF-8 at byte {error.start}") from error


def _read_form(body: bytes) -> Json:
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise UnreadableBodyError(f"a form of more than {MAX_FORM_FIELDS} fields") from error
    found: dict[str, Json] = {}
    for name, value in fields:
        known = found.get(name)
        if known is None:
            found[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            found[name] = [known, value]
    return found


def _read_json(body: bytes) -> Json:
    body = body.removeprefix(BOM_UTF8)
    if not body:
        raise UnreadableBodyError("the body is empty")
    openings = body.count(b"[") + body.count(b"{")
    if openings > MAX_DEPTH or (len(body) > MAX_VALUES and openings + body.count(b",") > MAX_VALUES):
        _check_shape(body)
    try:
        value: Json = _DECODER.decode(body.decode())
    except (UnreadableBodyError, UnicodeDecodeError):
        raise
    except json.JSONDecodeError as error:
        raise UnreadableBodyError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    except ValueError as error:  # int() refuses what would take it quadratic time
        raise UnreadableBodyError("a number of more than 4,300 digits") from error
    except RecursionError as error:  # 64 levels, but called from deep within a stack
        raise UnreadableBodyError(f"more than {MAX_DEPTH} levels deep") from error
    return value


def _check_shape(body: bytes) -> None:
    # Outside of strings a backslash is no JSON, so taking escapes out first leaves quotes that begin and end strings.
    bare = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > MAX_VALUES:
        raise UnreadableBodyError(f"more than {MAX_VALUES:,} values")
    steps = memoryview(bare.translate(_STEPS, _NOT_BRACKETS)).cast("b")
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise UnreadableBodyError(f"more than {MAX_DEPTH} levels deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableBodyError(f"the key {_repeated(pairs)[:40]!a} stands twice in one object")
    return found


def _repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    return next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise UnreadableBodyError("a number that is too large")
    return value


def _refuse_constant(text: str) -> float:
    raise UnreadableBodyError(f"{text} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)
