"""A source type's declaration: what a user writes under `type: generic`, and what the built-in types are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hookline.daemon.sources.fields import Field, compile_field
from hookline.daemon.sources.options import Options
from hookline.daemon.sources.port import OptionProblem
from hookline.daemon.sources.split import SplitPath, parse_split
from hookline.daemon.sources.verification import Verification, read_verification
from hookline.rules import Json

#: The type of an event whose sender says none, where the source type does not promise one.
UNTYPED: Final = "untyped"
_DEFAULT_TYPE: Final = ("$.type", "$.event_type", "$.event", UNTYPED)
_FIELD_HINT: Final = (
    'write a path ($.id), header.NAME, query.NAME, a format ("{$.type}.{$.action}"), or a list of these'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Where an event says what it is."""

    type: Field
    #: What the sender calls it.
    id: Field | None
    #: What makes two requests the same event, if that is not `id`.
    key: Field | None
    tenant: Field | None
    time: Field | None

    def _all(self) -> tuple[Field, ...]:
        return tuple(field for field in (self.type, self.id, self.key, self.tenant, self.time) if field is not None)

    @property
    def headers(self) -> frozenset[str]:
        """Lower-case names of all headers that they read."""
        return frozenset[str]().union(*(field.headers for field in self._all()))

    @property
    def query(self) -> frozenset[str]:
        """Names of all query parameters that they read."""
        return frozenset[str]().union(*(field.query for field in self._all()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """How a source verifies its requests and reads events from them."""

    verification: Verification
    fields: Fields
    #: Where the events of a batch stand; None if a request is one event.
    split: SplitPath | None


def read_declaration(
    values: Mapping[str, Json], *, has_public_url: bool, problems: list[OptionProblem]
) -> Declaration | None:
    """Read `verify`, `event` and `split`; None, with problems, if something is wrong."""
    before = len(problems)
    options = Options(values, (), problems)
    verification = read_verification(
        options.get("verify"), path=("verify",), has_public_url=has_public_url, problems=problems
    )
    fields = _read_fields(options)
    split = None
    if "split" in options:
        split = _read_split(options)
    options.finish()
    if verification is None or len(problems) > before:
        return None
    return Declaration(verification=verification, fields=fields, split=split)


def _read_split(options: Options) -> SplitPath | None:
    path = options.text("split", "")
    if not isinstance(options.get("split"), str):
        return None
    try:
        return parse_split(path)
    except ValueError as error:
        options.problem("split", str(error))
        return None


def _read_fields(options: Options) -> Fields:
    event = options.below("event", hint="write {type: $.type, id: $.id}") or Options({}, ("event",), options.problems)
    fields = Fields(
        type=_read_field(event, "type", default=_DEFAULT_TYPE, allow_literal=True) or _field(_DEFAULT_TYPE),
        id=_read_field(event, "id"),
        key=_read_field(event, "key"),
        tenant=_read_field(event, "tenant", allow_literal=True),
        time=_read_field(event, "time"),
    )
    event.finish()
    return fields


def _field(specs: tuple[str, ...]) -> Field:
    return compile_field(specs, allow_literal=True)


def _read_field(
    event: Options, key: str, *, default: tuple[str, ...] | None = None, allow_literal: bool = False
) -> Field | None:
    specs = event.texts(key) if key in event else default
    event.get(key)
    if specs is None:
        return None
    try:
        return compile_field(specs, allow_literal=allow_literal)
    except ValueError as error:
        hint = getattr(error, "hint", None)
        event.problem(key, str(error), hint or _FIELD_HINT)
        return None
