"""Read a body: bytes to what rules see. Strict, because two readers of one body must never see two things."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Sequence
from itertools import accumulate
from math import isinf
from typing import Any
from urllib.parse import parse_qsl

from hookline.daemon.sources.xml_body import XmlError, read_xml
from hookline.rules import Json

#: Deeper ones would make each later reader of the payload recurse.
MAX_DEPTH = 64
#: A body of 1 MiB can hold 350,000 values, which are 24 MB once parsed; a filter behind `..` takes 10 µs for each.
MAX_VALUES = 50_000
MAX_FORM_FIELDS = 1_000

_FORM = "application/x-www-form-urlencoded"
_XML = ("application/xml", "text/xml")
_WHITESPACE = b" \t\r\n"
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class UnreadableBodyError(ValueError):
    """A body that is not what it promises to be. Caught by normalize, which keeps it as an `unreadable` event."""


def media_type(content_type: str) -> str:
    """Return the type without its parameters, in lower case: `application/json`."""
    return content_type.partition(";")[0].strip().lower()


def is_form(body: bytes, content_type: str) -> bool:
    """Tell whether `read_body` reads it as a form."""
    # `curl -d` calls everything a form. No form begins with a bare bracket: it would be written %7B.
    return media_type(content_type) == _FORM and not _begins_as_json(body)


def read_body(body: bytes, content_type: str) -> Json:
    """Read a form or XML as a mapping and anything else as JSON (senders often mislabel it), always as UTF-8.

    A field that a form repeats becomes a list; XML becomes what `read_xml` says. A byte order mark is skipped
    (RFC 8259, 8.1). Refused are: other encodings, NaN and infinities also as 1e400, a key twice in one object, more
    than 64 levels, more than 50,000 values, and numbers of more than 4,300 digits. Raises `UnreadableBodyError` and
    nothing else.
    """
    # All but a few are JSON: they need not know what else there is.
    kind = media_type(content_type) if content_type != "application/json" else content_type
    if kind.startswith("multipart/"):
        raise UnreadableBodyError("a multipart body is not read")
    try:
        if kind == _FORM and not _begins_as_json(body):
            return _read_form(body)
        if kind.endswith("xml") and is_xml(kind) and not _begins_as_json(body):
            return read_xml(body.removeprefix(BOM_UTF8), max_depth=MAX_DEPTH, max_values=MAX_VALUES)
        return read_json(body)
    except UnicodeDecodeError as error:
        raise UnreadableBodyError(f"not UTF-8 at byte {error.start}") from error
    except XmlError as error:
        raise UnreadableBodyError(str(error)) from error


def is_xml(kind: str) -> bool:
    """Tell whether a media type is XML (RFC 7303)."""
    return kind in _XML or kind.endswith("+xml")


def _begins_as_json(body: bytes) -> bool:
    return body.lstrip(_WHITESPACE).startswith((b"{", b"["))


def _read_form(body: bytes) -> Json:
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise UnreadableBodyError(f"a form of more than {MAX_FORM_FIELDS} fields") from error
    return as_mapping(fields)


def as_mapping(fields: Sequence[tuple[str, str]]) -> Json:
    """Return the fields of a form, or of a query, as a mapping; one that is repeated becomes a list."""
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


def read_json(body: bytes, *, max_depth: int = MAX_DEPTH) -> Json:
    """Read JSON. Raises `UnreadableBodyError`, and `UnicodeDecodeError` for other encodings than UTF-8."""
    body = body.removeprefix(BOM_UTF8)
    if not body:
        raise UnreadableBodyError("the body is empty")
    openings = body.count(b"[") + body.count(b"{")
    if openings > max_depth or (len(body) > MAX_VALUES and openings + body.count(b",") > MAX_VALUES):
        _check_shape(body, max_depth)
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


def _check_shape(body: bytes, max_depth: int) -> None:
    # Outside of strings a backslash is no JSON, so taking escapes out first leaves quotes that begin and end strings.
    bare = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > MAX_VALUES:
        raise UnreadableBodyError(f"more than {MAX_VALUES:,} values")
    steps = memoryview(bare.translate(_STEPS, _NOT_BRACKETS)).cast("b")
    if max(accumulate(steps), default=0) > max_depth:
        raise UnreadableBodyError(f"more than {max_depth} levels deep")


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
