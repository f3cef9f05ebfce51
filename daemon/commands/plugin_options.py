"""An action's options as the author of a rule reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
from pydantic import BaseModel

from hookline.daemon.actions.fields import escaping_of, fields_by_key, is_address, is_credential
from hookline.daemon.commands.output import print_table

_TYPES: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "nothing",
    "array": "list",
    "object": "mapping",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What may be written under an action."""

    name: str
    #: In words.
    type: str
    is_required: bool
    #: As JSON; None if there is none to speak of.
    default: str | None
    description: str
    is_secret: bool
    #: It decides where a delivery goes: a rule cannot change it on a destination.
    is_address: bool
    #: What the event says in it is escaped.
    is_escaped: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as programs read it."""
        return {name: getattr(self, name) for name in self.__slots__}


def options_of(model: type[BaseModel]) -> tuple[Option, ...]:
    """Return the options that a model takes, required ones first."""
    schema = model.model_json_schema()
    known, parts = schema.get("properties", {}), schema.get("$defs", {})
    found = []
    for name, field in fields_by_key(model).items():
        described = known.get(name, {})
        default = described.get("default")
        found.append(
            Option(
                name=name,
                type=_type(described, parts),
                is_required=field.is_required(),
                default=None if field.is_required() or default in (None, "", [], {}) else json.dumps(default),
                description=" ".join((field.description or "").split()),
                is_secret=is_credential(field),
                is_address=is_address(field),
                is_escaped=escaping_of(field) is not None,
            )
        )
    return tuple(sorted(found, key=lambda option: not option.is_required))


def print_options(action: str, options: Sequence[Option]) -> None:
    """Print a line an option, and what the marks mean that occur."""
    if not options:
        click.echo(f"  It takes no options: write {action}: {{}}")
        return
    click.echo("")
    rows = [
        [
            f"{option.name}{'*' if option.is_required else ''}",
            option.type + (", secret" if option.is_secret else ""),
            option.default or "",
            option.description,
        ]
        for option in options
    ]
    print_table(rows, [f"{action}:", "type", "default", "what"])
    notes = [
        (any(option.is_required for option in options), "* required, in the rule or in its destination"),
        (
            any(option.is_address for option in options),
            f"set by the destination, not by its rules: {_named(options, 'is_address')}",
        ),
        (
            any(option.is_escaped for option in options),
            f"texts of the event are escaped in: {_named(options, 'is_escaped')}",
        ),
    ]
    for is_so, note in notes:
        if is_so:
            click.echo(note, err=True)


def _named(options: Sequence[Option], mark: str) -> str:
    return ", ".join(option.name for option in options if getattr(option, mark))


def _type(described: Mapping[str, Any], parts: Mapping[str, Any]) -> str:  # noqa: PLR0911 - a table
    """Say in words what a JSON Schema takes."""
    if "$ref" in described:
        return _type(parts.get(described["$ref"].rpartition("/")[2], {}), parts)
    if "enum" in described:
        return " or ".join(map(str, described["enum"]))
    if "const" in described:
        return str(described["const"])
    for several in ("anyOf", "oneOf"):
        if several in described:
            words = [_type(one, parts) for one in described[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(words))
    kind = described.get("type")
    if kind == "array" and described.get("items"):
        return f"list of {_type(described['items'], parts)}"
    if kind == "object" and described.get("properties"):
        return f"mapping of {' '.join(described['properties'])}"
    return _TYPES.get(str(kind), "anything")
