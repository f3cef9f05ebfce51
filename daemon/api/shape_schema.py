"""JSON Schemas of shapes: typed mappings, with the comments beside their keys as descriptions."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Schema = dict[str, Any]

_PLAIN: Final[dict[Any, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Any: {},
    object: {},
}
_COMMENT: Final = "#:"


class Shapes:
    """Collects the schemas of the shapes that are asked for, and of those that they hold."""

    def __init__(self) -> None:
        """Begin with none."""
        #: By the shape's name.
        self.found: dict[str, Schema] = {}
        self._shapes: dict[str, Any] = {}

    def of(self, hint: Any) -> Schema:  # noqa: PLR0911 - one for each kind of type
        """Return the schema of a type. Raises `TypeError` for what JSON does not have."""
        if is_typeddict(hint):
            return self._reference(hint)
        if hint in _PLAIN:
            return dict(_PLAIN[hint])
        origin, args = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self.of(args[0]) | {"description": args[1]}
        if origin in {NotRequired, Required}:
            return self.of(args[0])
        if origin is Literal:
            return {"enum": [*args]}
        if origin in {Union, UnionType}:
            return {"anyOf": [self.of(one) for one in args]}
        if origin is list:
            return {"type": "array", "items": self.of(args[0])}
        if origin is dict and args[0] is str:
            return {"type": "object", "additionalProperties": self.of(args[1])}
        raise TypeError(f"no JSON: {hint}")

    def _reference(self, shape: Any) -> Schema:
        name = shape.__name__
        if self._shapes.setdefault(name, shape) is not shape:
            raise TypeError(f"two shapes are called {name}")
        if name not in self.found:
            # Before its keys are looked at: a shape may hold itself.
            schema: Schema = {"type": "object", "description": inspect.cleandoc(shape.__doc__ or "")}
            self.found[name] = schema
            comments = comments_of(shape)
            schema["properties"] = {
                key: self.of(hint) | ({"description": comments[key]} if key in comments else {})
                for key, hint in get_type_hints(shape, include_extras=True).items()
            }
            schema["required"] = sorted(shape.__required_keys__)
            schema["additionalProperties"] = False
        return {"$ref": f"#/components/schemas/{name}"}


@cache
def comments_of(shape: Any) -> dict[str, str]:
    """Return what the `#:` comments above the keys of a shape say, those that it inherits too."""
    found: dict[str, str] = {}
    for parent in getattr(shape, "__orig_bases__", ()):
        if is_typeddict(parent):
            found |= comments_of(parent)
    classes, lines = _classes_of(shape.__module__)
    for one in classes[shape.__name__].body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            above = []
            for line in reversed(lines[: one.lineno - 1]):
                if not line.strip().startswith("#"):
                    break
                above.append(line.strip().removeprefix(_COMMENT).strip())
            if above:
                found[one.target.id] = " ".join(reversed(above))
    return found


@cache
def _classes_of(module: str) -> tuple[dict[str, ast.ClassDef], list[str]]:
    # Once for a module: `inspect.getsource` parses it anew for each of its classes.
    source = inspect.getsource(sys.modules[module])
    return {one.name: one for one in ast.parse(source).body if isinstance(one, ast.ClassDef)}, source.splitlines()
