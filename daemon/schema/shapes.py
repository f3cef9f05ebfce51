"""What schemas are made of, put so that an editor's message says what to write.

`errorMessage`, `examples` and `defaultSnippets` are for yaml-language-server; validators ignore them. A union is
written with `if`, for of an `anyOf` that fails nobody can say which branch was meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Schema: TypeAlias = "dict[str, Any]"

#: A text that is rendered, or looked up, before anybody asks what it is.
TEMPLATE: Final = r"\{\{|\{%|\$\{"
#: A text in which `${…}` stands.
REFERENCE: Final = r"\$\{"
_MOST_LISTED: Final = 40

_DURATION_MESSAGE: Final = "not a duration: write it as in 250ms, 10s, 5m, 2h30m or 7d"
_DURATION: Final = r"^([0-9]{1,15}(\.[0-9]{1,9})?(ms|[dhms]))+$"
DURATION: Final[Schema] = {"type": "string", "pattern": _DURATION, "errorMessage": _DURATION_MESSAGE}
RATE: Final[Schema] = {
    "type": "string",
    "pattern": r"^ *(?!0+ */)[0-9]{1,9} */ *(s|m|h|d) *$",
    "errorMessage": "not a rate: write a number for each second, minute or hour, as in 50/s or 10/m",
}
TEXT: Final[Schema] = {"type": "string"}
#: Text, or what YAML reads as something else and we take as it is written.
WRITTEN: Final[Schema] = {
    # Not as a `type` of three, of which an editor would offer `true` and `false`.
    "if": {"type": ["null", "array", "object"]},
    "then": {"type": "string", "errorMessage": "must be a text"},
}
FLAG: Final[Schema] = {"type": "boolean"}


def described(schema: Mapping[str, Any], description: str) -> Schema:
    """Return the schema with what an editor shows beside it."""
    # Beside a $ref nothing else is read.
    inner: Mapping[str, Any] = {"allOf": [dict(schema)]} if "$ref" in schema else schema
    return {"description": description, **inner}


def ref(name: str) -> Schema:
    """Return a reference to a definition."""
    return {"$ref": f"#/definitions/{name}"}


def refused(message: str) -> Schema:
    """Return a schema that no text, mapping, number or null fits, and that says why."""
    # `false` has no message, and an empty enum no editor takes.
    return {"type": "array", "errorMessage": message}


def named(names: Iterable[str], message: str) -> Schema:
    """Return a schema that these words fit, and whose message lists them."""
    words = list(names)
    return {"enum": words, "errorMessage": f"{message}: {listed(words)}"} if words else refused(message)


def listed(names: Iterable[str]) -> str:
    """Return names for a message, not all of a great many."""
    words = list(names)
    return ", ".join(words[:_MOST_LISTED]) + (", …" if len(words) > _MOST_LISTED else "")


def mapping(
    properties: Mapping[str, Schema],
    *,
    what: str,
    unknown: str = "key",
    required: Sequence[str] = (),
    least: int | None = None,
) -> Schema:
    """Return a mapping that holds these keys and no other. The message about another: `unknown key; what has: …`."""
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = list(required)
    if least is not None:
        schema["minProperties"] = least
    # Not `additionalProperties`, whose message lists nothing; and apart, or the editor offers every key twice.
    schema["allOf"] = [{"propertyNames": named(properties, f"unknown {unknown}; {what} has")}]
    return schema


def one_or_many(schema: Schema, *, least: int = 0, examples: Sequence[Any] = ()) -> Schema:
    """Return what fits one such thing or a list of them. `examples` are offered where nothing is written yet."""
    shown = {"examples": list(examples)} if examples else {}
    many: Schema = {"type": "array", "items": schema if "$ref" in schema else schema | shown}
    if least:
        many["minItems"] = least
    return {"if": {"type": "array"}, "then": many, "else": schema, **shown}


def unless_text(pattern: str, schema: Schema) -> Schema:
    """Return what fits any text with the pattern in it, and otherwise what the schema asks for."""
    if schema == TEXT or not _asks(schema):
        return schema
    shown: Schema = {key: schema[key] for key in ("description", "default", "examples") if key in schema}
    # An editor offers the words of an enum only where it stands at the top.
    if "enum" in schema and "examples" not in shown:
        shown["examples"] = [word for word in schema["enum"] if word is not None]
    rest = {key: value for key, value in schema.items() if key not in shown}
    return {**shown, "if": {"type": "string", "pattern": pattern}, "else": rest}


def _asks(schema: Schema) -> bool:
    return any(key not in {"description", "default", "examples", "defaultSnippets"} for key in schema)


def one_name(names: Sequence[str], properties: Mapping[str, Schema], *, what: str, several: str, none: str) -> Schema:
    """Return a mapping with exactly one of `names` among its keys, and any of the others in `properties`.

    The messages: `what` is known if a key is not, `several` if two names stand together, `none` if there is none.
    """
    others = [key for key in properties if key not in names]
    return {
        "type": "object",
        "properties": dict(properties),
        "errorMessage": "write a name, or {name: {its options}}",
        "allOf": [
            {"propertyNames": named(properties, what)},
            {"if": {"type": "object", "propertyNames": {"enum": others}}, "then": refused(none)},
            *(
                {"if": {"required": [name]}, "then": {"propertyNames": _only(name, names, several)}}
                for name in names
                if len(names) > 1
            ),
        ],
    }


def _only(name: str, names: Sequence[str], message: str) -> Schema:
    # A key that nobody knows is reported once, as that.
    return {"if": {"enum": list(names)}, "then": {"enum": [name], "errorMessage": message}}
