"""The body of a sample: a file's, made fresh, of the event type that is asked for, and as its sender writes it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from hookline.daemon.sources.body import media_type
from hookline.daemon.sources.fields import Alternative, Field, Placeholder
from hookline.daemon.sources.filters import Filter
from hookline.daemon.sources.fresh import RENEWALS, Moment
from hookline.daemon.sources.places import follow, parse_direct
from hookline.daemon.sources.sample_files import sample_body, sample_names
from hookline.daemon.sources.source_type import SourceType
from hookline.rules import Json

_FORM: Final = "application/x-www-form-urlencoded"

_MOST_WAYS: Final = 1_000


def bodies_of(kind: SourceType, wanted: str) -> Iterator[tuple[Json, bool]]:
    """Give bodies that a sample of an event type may be made of, and whether it is of that type already.

    Its own, else those whose types have the same first word, and, if the source type's event types are open, any.
    """
    names = sample_names(kind)
    if wanted in names:
        yield sample_body(kind, wanted), True
        return
    if kind.event_types is not None and wanted not in kind.event_types:
        return
    family = [name for name in names if _family(name) == _family(wanted)]
    for name in family or (names if kind.event_types is None else ()):
        yield sample_body(kind, name), False


def _family(event_type: str) -> str:
    return event_type.partition(".")[0]


def bare_body(fields: Mapping[str, Field | None], wanted: str, moment: Moment) -> Json:
    """Return a body for a declaration that has no samples: type, id and time stand where it reads them."""
    document: Json = {"data": {}}
    texts = {"type": wanted, "id": moment.identity, "key": moment.identity, "time": str(RENEWALS["iso"](moment))}
    for name, text in texts.items():
        field = fields.get(name)
        if field is not None:
            _write_first(document, field.alternatives[0], text)
    return document


def wrapped(element: Json, split: Json) -> Json:
    """Put an element where `split` finds it."""
    path = split[0] if isinstance(split, list) and split else split
    for step in reversed(parse_direct(path) or ()) if isinstance(path, str) else ():
        element = [element] if step is None else {str(step): element}
    return element


def retyped(document: Json, field: Field, wanted: str, maps: Json) -> Iterator[None]:
    """Write another event type into an event's document, in each way in which it might be read back."""
    words = _words(maps)
    for alternative in field.alternatives:
        pieces = [piece for piece in alternative.pieces if isinstance(piece, Placeholder)]
        parts = _taken_apart(alternative, wanted)
        ways = [_written(piece.filters, part, words) for piece, part in zip(pieces, parts, strict=False)]
        if not parts or not all(_is_there(document, piece) for piece in pieces):
            continue
        for way in itertools.islice(itertools.product(*ways), _MOST_WAYS):
            for piece, text in zip(pieces, way, strict=True):
                _put(document, piece, text)
            yield


def _words(maps: Json) -> list[str]:
    tables = [table for table in maps.values() if isinstance(table, dict)] if isinstance(maps, dict) else []
    return [word for table in tables for word in table]


def _taken_apart(alternative: Alternative, text: str) -> tuple[str, ...]:
    pattern = "".join(re.escape(piece) if isinstance(piece, str) else "(.+?)" for piece in alternative.pieces)
    found = re.fullmatch(pattern, text, re.DOTALL)
    return found.groups() if found else ()


def _written(filters: tuple[Filter, ...], part: str, words: list[str]) -> list[str]:
    """Return the texts that the filters make `part` of."""
    # Who lowers what is upper case sends it in upper case.
    first = part.upper() if str.lower in filters else part
    likely = [first, part, part.upper(), part.capitalize(), part.replace("_", " ").title(), part.title(), *words]
    return [text for text in dict.fromkeys(likely) if _filtered(filters, text) == part]


def _filtered(filters: tuple[Filter, ...], text: str) -> str:
    for change in filters:
        text = change(text)
    return text


def _write_first(document: Json, alternative: Alternative, text: str) -> None:
    pieces = [piece for piece in alternative.pieces if isinstance(piece, Placeholder)]
    parts = _taken_apart(alternative, text) or (text,) * len(pieces)
    for piece, part in zip(pieces, parts, strict=True):
        _put(document, piece, next(iter(_written(piece.filters, part, [])), part))


def _steps(piece: Placeholder) -> tuple[str | int, ...]:
    steps = parse_direct(piece.expression) if piece.expression.startswith("$") else None
    return () if steps is None or None in steps else tuple(step for step in steps if step is not None)


def _is_there(document: Json, piece: Placeholder) -> bool:
    return not piece.expression.startswith("$") or follow(document, _steps(piece)) is not None


def _put(document: Any, piece: Placeholder, text: str) -> None:
    steps = _steps(piece)
    for step in steps[:-1]:
        if not isinstance(document, dict) or not isinstance(step, str):
            return
        document = document.setdefault(step, {})
    if steps and isinstance(document, dict) and isinstance(steps[-1], str):
        document[steps[-1]] = text


def encoded(document: Json, content_type: str, json_at: Json) -> bytes:
    """Write a body as its sender does. Raises `ValueError` for a form that is no mapping."""
    steps = parse_direct(json_at) if isinstance(json_at, str) else None
    if steps:
        _fold(document, steps)
    if media_type(content_type) != _FORM:
        return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return urlencode(as_fields(document), doseq=False).encode()


def as_fields(document: Json) -> list[tuple[str, str]]:
    """Return a mapping as the fields of a form or query. Raises `ValueError` for anything else."""
    if not isinstance(document, dict):
        raise ValueError(  # noqa: TRY004 - of what a file says, and its catcher is the same
            "a form or a query is a mapping of fields"
        )
    return [
        (name, one if isinstance(one, str) else json.dumps(one, ensure_ascii=False))
        for name, value in document.items()
        for one in (value if isinstance(value, list) else [value])
    ]


def _fold(document: Any, steps: tuple[str | int | None, ...]) -> None:
    step, rest = steps[0], steps[1:]
    if isinstance(document, dict):
        chosen: list[Any] = [step] if step in document else []
    else:
        chosen = [number for number in range(len(document)) if step in (None, number)] if document else []
    for one in chosen:
        if rest:
            _fold(document[one], rest)
        elif isinstance(document[one], (dict, list)):
            document[one] = json.dumps(document[one], ensure_ascii=False)
