"""The schema of a source: what its type asks for."""

from __future__ import annotations

from typing import Final

from hookline.daemon.schema.declaration import DURATION_OR_REFERENCE, schema_at
from hookline.daemon.schema.shapes import (
    RATE,
    REFERENCE,
    TEXT,
    Schema,
    described,
    mapping,
    named,
    one_or_many,
    unless_text,
)
from hookline.daemon.sources.source_type import OptionSlot, SourceType
from hookline.daemon.sources.types import SourceTypes

_OF_EVERY: Final = {
    "path_token": described(TEXT, "A secret at the end of the path: /hooks/NAME/TOKEN; 16 characters or more."),
    "public_url": described(TEXT, "How the sender calls it, if that is not the configuration's public_url."),
    "dedupe_window": described(DURATION_OR_REFERENCE, "How long a key is remembered."),
    "expect_every": described(DURATION_OR_REFERENCE, "How often something should come."),
    "rate": described(unless_text(REFERENCE, RATE), "How many requests it may send; what is above is answered 429."),
}


def source_schema(types: SourceTypes) -> Schema:
    """Return one source of the configuration."""
    titles = [types.get(name).title for name in types.names]
    return {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {
                "description": "What sends: hookline sources --types says more of each.",
                **named(types.names, "source types are"),
                "enumDescriptions": titles,
            },
            **_OF_EVERY,
        },
        "allOf": [
            {
                "if": {"type": "object", "properties": {"type": {"enum": [name]}}, "required": ["type"]},
                "then": {"$ref": f"#/definitions/source.{name}"},
            }
            for name in types.names
        ],
    }


def source_definitions(types: SourceTypes) -> dict[str, Schema]:
    """Return what the options of each source type are, as `source.TYPE`."""
    return {f"source.{name}": _of_type(types.get(name)) for name in types.names}


def _of_type(kind: SourceType) -> Schema:
    if kind.code is not None:
        # What a package takes, its own code says.
        return {}
    open_to_all = described({"enum": ["none"]}, "none: accept anything from anyone.")
    options = {name: _option(slot) for name, slot in kind.options.items()}
    made = mapping(
        {"type": {}, **_OF_EVERY, "verify": open_to_all, **options},
        what=f"a source of type {kind.name}",
        unknown="option",
    )
    always = [name for name, slot in kind.options.items() if slot.is_required and not slot.proves]
    proofs = [name for name, slot in kind.options.items() if slot.is_required and slot.proves]
    made["required"] = always
    closed = "a source fails closed: {}, or write verify: none to accept anything from anyone"
    unproved: Schema = {}
    if proofs:
        unproved = {"required": proofs, "errorMessage": closed.format(f"give {', '.join(proofs)}")}
    if kind.one_of:
        message = closed.format(f"give {' or '.join(kind.one_of)}")
        unproved = {**unproved, **_one_of(kind.one_of, message)}
    if unproved:
        made |= {"if": {"required": ["verify"]}, "else": unproved}
    if "verify" in kind.options and not kind.one_of:
        made["required"] = [*always, "verify"]
    return made


def _one_of(names: tuple[str, ...], message: str) -> Schema:
    """Return what must have one of these keys. The message stands at the last of them, as nothing else can say it."""
    *first, last = names
    made: Schema = {"required": [last], "errorMessage": message}
    for name in reversed(first):
        made = {"if": {"required": [name]}, "else": made}
    return made


def _option(slot: OptionSlot) -> Schema:
    if slot.values is None:
        return described(schema_at(slot.to[0]), f"{slot.about[:1].upper()}{slot.about[1:]}.")
    # `true` and `false` may be written without quotes.
    words = [*slot.values, *({"true": True, "false": False}[word] for word in slot.values if word in {"true", "false"})]
    one: Schema = unless_text(REFERENCE, {"enum": words, "errorMessage": f"there are: {', '.join(slot.values)}"})
    return described(one_or_many(one, least=1, examples=words) if slot.is_list else one, slot.about)
