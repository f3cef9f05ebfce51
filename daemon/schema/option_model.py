"""Turns the JSON Schema of an action's options, which pydantic writes, into one for an editor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from hookline.daemon.schema.shapes import TEMPLATE, Schema, mapping, named, ref, refused, unless_text
from hookline.rules.modifiers import MODIFIER_NAMES

#: Kept as they are: what they ask, draft-07 asks too.
_KEPT: Final = (
    "description", "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "required", "examples",
)  # fmt: skip
#: They concern values of every type.
_SHARED: Final = frozenset({"enum", "const", "if", "anyOf"})
_DEFINITION: Final = "#/$defs/"


def option_definitions(action: str, options: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    """Yield the definitions of an action's options by name: first the options themselves, then the models in them.

    The first says neither what must be there, which a destination and a rule may share between them, nor that it is a
    mapping, for there may be nothing.
    """
    reader = _Reader(action)
    whole = reader.converted(options)
    for key in ("type", "required"):
        whole.pop(key, None)
    modifier = refused("a modifier, not an option: move it left, so that it stands beside the name")
    whole["allOf"] = [
        {"propertyNames": {"if": {"enum": sorted(MODIFIER_NAMES)}, "then": modifier, "else": part["propertyNames"]}}
        for part in whole["allOf"]
    ]
    yield definition_name(action), whole
    for name, model in options.get("$defs", {}).items():
        yield definition_name(action, name), reader.converted(model)


def definition_name(action: str, model: str = "") -> str:
    """Return what the definition of an action's options, or of a model in them, is called."""
    return f"action.{action}.{model}" if model else f"action.{action}"


class _Reader:
    """Reads the schemas of one action."""

    def __init__(self, action: str) -> None:
        self._action = action

    def option(self, schema: Any) -> Schema:
        """Convert what an option may hold: any option may be a template as well."""
        return unless_text(TEMPLATE, self.converted(schema))

    def converted(self, schema: Any) -> Schema:
        """Convert one schema."""
        if not isinstance(schema, Mapping):
            return {}
        if "$ref" in schema:
            target = ref(definition_name(self._action, str(schema["$ref"]).removeprefix(_DEFINITION)))
            return {"description": schema["description"], "allOf": [target]} if "description" in schema else target
        if "discriminator" in schema:
            made = self._tagged(schema)
        elif "anyOf" in schema or "oneOf" in schema:
            made = self._union(schema)
        elif "properties" in schema:
            made = self._model(schema)
        else:
            made = {key: schema[key] for key in _KEPT if key in schema} | self._inside(schema)
        for key in ("description", "default"):
            if schema.get(key) is not None:
                made[key] = schema[key]
        return made

    def _inside(self, schema: Mapping[str, Any]) -> Schema:
        made: Schema = {}
        if "items" in schema:
            made["items"] = self.option(schema["items"])
        if "prefixItems" in schema:
            made["items"] = [self.option(item) for item in schema["prefixItems"]]
        if isinstance(schema.get("additionalProperties"), Mapping):
            made["additionalProperties"] = self.option(schema["additionalProperties"])
        if "allOf" in schema:
            made["allOf"] = [self.converted(part) for part in schema["allOf"]]
        return made

    def _model(self, schema: Mapping[str, Any]) -> Schema:
        properties = {key: self.option(value) for key, value in schema["properties"].items()}
        # Whatever the model says of other keys: here they are mistakes.
        made = mapping(properties, what=f"{self._action}", unknown="option", required=schema.get("required", ()))
        if not properties:
            made["allOf"] = [{"propertyNames": named((), f"unknown option; {self._action} has none")}]
        return made

    def _union(self, schema: Mapping[str, Any]) -> Schema:
        branches = [self.converted(branch) for branch in schema.get("anyOf", schema.get("oneOf", ()))]
        merged = _merged(branches)
        return {"anyOf": branches} if merged is None else merged

    def _tagged(self, schema: Mapping[str, Any]) -> Schema:
        tags = schema["discriminator"].get("mapping", {})
        key = schema["discriminator"]["propertyName"]
        return {
            "type": "object",
            "required": [key],
            "properties": {key: unless_text(TEMPLATE, {"enum": sorted(tags)})},
            "allOf": [
                {
                    "if": {"type": "object", "properties": {key: {"enum": [tag]}}, "required": [key]},
                    "then": self.converted({"$ref": target}),
                }
                for tag, target in sorted(tags.items())
            ],
        }


def _merged(branches: Sequence[Schema]) -> Schema | None:
    """Put branches of different types into one schema, whose keywords concern one of them each; None if that fails.

    Of an `anyOf` an editor complains about a branch that was not meant.
    """
    rest = [branch for branch in branches if branch != {"type": "null"}]
    null = ["null"] if len(rest) < len(branches) else []
    if len(rest) == 1 and "enum" in rest[0]:
        return {"enum": [*rest[0]["enum"], *(None for _ in null)]}
    types = [branch.get("type") for branch in rest]
    keywords = [key for branch in rest for key in branch if key != "type"]
    is_apart = all(isinstance(kind, str) for kind in types) and len({*map(str, types)}) == len(types)
    if not is_apart or len(set(keywords)) < len(keywords) or _SHARED & set(keywords):
        return None
    merged: Schema = {}
    for branch in rest:
        merged |= branch
    return {**merged, "type": [*types, *null]}
