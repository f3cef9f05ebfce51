"""Read a request's document where its body and content type alone do not say it: `body:` of a declaration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from hookline.daemon.sources.body import MAX_DEPTH, UnreadableBodyError, is_form, read_body, read_json
from hookline.daemon.sources.cloudevents import is_binary, read_cloudevents
from hookline.daemon.sources.options import Options
from hookline.daemon.sources.places import parse_direct
from hookline.daemon.sources.port import IncomingRequest
from hookline.rules import Json

_READERS: Final = ("cloudevents",)
_PLACE_HINT: Final = "write names, as in $.Message or $.records[*].body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How to read a document."""

    #: The field of a form that holds it as JSON; None if a form is the document itself.
    form_json: str | None = None
    #: Where a text is to be read as JSON if it is an object or array; None stands for each element.
    json_at: tuple[str | int | None, ...] | None = None
    is_cloudevents: bool = False

    def document(self, request: IncomingRequest, content_type: str) -> tuple[Json, bool]:
        """Read it; tell whether it is other than what `read_body` makes of the body.

        Raises `UnreadableBodyError`, and `RequestRejected` (415) for a format that nobody knows.
        """
        is_reshaped = False
        if self.is_cloudevents:
            document = read_cloudevents(request.body, request.headers, content_type)
            is_reshaped = is_binary(request.headers, content_type)
        else:
            document = read_body(request.body, content_type)
            if self.form_json is not None and isinstance(document, dict) and is_form(request.body, content_type):
                is_reshaped = self.form_json in document
                document = _in_field(document, self.form_json)
        if self.json_at is not None and _unfold(document, self.json_at, MAX_DEPTH):
            is_reshaped = True
        return document, is_reshaped


def read_reading(options: Options) -> Reading | None:
    """Read `body`; None if it is not there, or, with problems, wrong."""
    below = options.below("body", hint="write {form_json: payload}")
    if below is None:
        return None
    before = len(below.problems)
    form_json = below.text("form_json", "")
    written = below.text("json_at", "")
    json_at = parse_direct(written) if written.startswith("$") else None
    if "json_at" in below and isinstance(below.get("json_at"), str) and not json_at:
        below.problem("json_at", f"{written[:80]!r} is no path of names, indexes and [*] below $", _PLACE_HINT)
    reader = below.choice("reader", _READERS, "")
    if reader and form_json:
        below.problem("form_json", f"the reader {reader} takes no forms", "take one of the two away")
    below.finish()
    if len(below.problems) > before:
        return None
    return Reading(form_json=form_json or None, json_at=json_at or None, is_cloudevents=bool(reader))


def _in_field(form: dict[str, Json], name: str) -> Json:
    text = form.get(name)
    if text is None:
        return form
    if not isinstance(text, str):
        raise UnreadableBodyError(f"the form's field {name[:40]!a} stands twice")
    try:
        return read_json(text.encode())
    except ValueError as error:
        raise UnreadableBodyError(f"in the form's field {name[:40]!a}: {error}") from error


def _unfold(value: Json, steps: tuple[str | int | None, ...], levels: int) -> bool:
    """Put JSON in the place of the texts that `steps` lead to, in the value itself; tell whether there were any."""
    step, rest = steps[0], steps[1:]
    places: list[Any]
    if isinstance(value, dict):
        places = [step] if step in value else []
    elif isinstance(value, list):
        places = list(range(len(value))) if step is None else [step] if isinstance(step, int) else []
        places = [place for place in places if place < len(value)]
    else:
        return False
    inside: Any = value
    is_changed = False
    for place in places:
        if rest:
            is_changed |= _unfold(inside[place], rest, levels - 1)
            continue
        read = _as_json(inside[place], levels - 1)
        is_changed |= read is not inside[place]
        inside[place] = read
    return is_changed


def _as_json(value: Json, levels: int) -> Json:
    if not isinstance(value, str) or not value.lstrip(" \t\r\n").startswith(("{", "[")):
        return value
    try:
        return read_json(value.encode("utf-8", "surrogatepass"), max_depth=levels)
    except ValueError:  # not read as strictly as a body has to be: then it is a text
        return value
