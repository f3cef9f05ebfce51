"""What an options model says of its fields: their names, their marks, and the models inside them."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from hookline.plugins.options import AddressMark, Escaped

MarkT = TypeVar("MarkT")
Path = tuple[str | int, ...]


@lru_cache(maxsize=512)
def fields_by_key(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return the fields by the key that people write for them."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        for key in _keys(name, field, model):
            found[key] = field
    return found


def _keys(name: str, field: FieldInfo, model: type[BaseModel]) -> Iterator[str]:
    alias = field.validation_alias if field.validation_alias is not None else field.alias
    match alias:
        case str():
            yield alias
        case AliasChoices():
            yield from (choice for choice in alias.choices if isinstance(choice, str))
        case AliasPath():
            yield str(alias.path[0])
    if alias is None or model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"):
        yield name


def mark_of(field: FieldInfo, kind: type[MarkT]) -> MarkT | None:
    """Return the field's mark of this kind, wherever in its annotation it stands."""
    for mark in (*field.metadata, *_marks_in(field.annotation)):
        if isinstance(mark, kind):
            return mark
    return None


def _marks_in(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
        annotation = annotation.__origin__
    for part in get_args(annotation):
        yield from _marks_in(part)


def is_address(field: FieldInfo) -> bool:
    """Whether the field decides where a delivery goes."""
    return mark_of(field, AddressMark) is not None


def is_credential(field: FieldInfo) -> bool:
    """Whether the field holds a secret."""
    return any(part in {SecretStr, SecretBytes} for part in _parts(field.annotation))


@lru_cache(maxsize=512)
def secretive_fields(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of the fields in which a credential can be, itself or inside another model."""
    return tuple(
        name
        for name, field in model.model_fields.items()
        if is_credential(field)
        or any(isinstance(p, type) and issubclass(p, BaseModel) for p in _parts(field.annotation))
    )


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def escaping_of(field: FieldInfo) -> Escaped | None:
    """Return how texts of the event are escaped for this field."""
    return mark_of(field, Escaped)


def unknown_keys(annotation: Any, value: Any, path: Path = ()) -> Iterator[tuple[Path, Mapping[str, FieldInfo]]]:
    """Find keys that no model knows, at any depth, each with what there is; whatever the model says of extras."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from unknown_keys(arguments[0], value, path)
    elif origin in {Union, types.UnionType}:
        # Of several models, the one that knows most of the keys is meant; a bare dict takes anything.
        found = [list(unknown_keys(branch, value, path)) for branch in arguments if _takes(branch, value)]
        yield from min(found, key=len, default=[])
    elif isinstance(value, Mapping) and _is_model(annotation):
        fields = fields_by_key(annotation)
        for key, item in value.items():
            if key not in fields:
                yield (*path, key), fields
            else:
                yield from unknown_keys(fields[key].annotation, item, (*path, key))
    elif isinstance(value, Mapping) and origin in {dict, Mapping} and len(arguments) == 2:
        for key, item in value.items():
            yield from unknown_keys(arguments[1], item, (*path, key))
    elif isinstance(value, list) and origin in {list, Sequence} and arguments:
        for index, item in enumerate(value):
            yield from unknown_keys(arguments[0], item, (*path, index))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel) and not issubclass(annotation, RootModel)


def _takes(annotation: Any, value: Any) -> bool:
    """Whether a branch of a union is about values of this shape at all."""
    plain = get_origin(annotation) or annotation
    if plain is Annotated:
        return _takes(get_args(annotation)[0], value)
    if isinstance(value, Mapping):
        return plain is Any or plain in {dict, Mapping} or _is_model(plain)
    return not _is_model(plain)
