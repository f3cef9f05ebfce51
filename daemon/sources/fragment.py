"""The piece of `hookline.yaml` that configures a source, made of what its type says of its options."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from hookline.daemon.sources.proof_text import signs_url, ways_of
from hookline.daemon.sources.source_type import SourceType
from hookline.rules import Json
from hookline.rules.interpolation import find_references

_WIDEST: Final = 118
# Written as it is, YAML reads it as the same text again.
_PLAIN: Final = re.compile(r"(?!(?:true|false|null|yes|no|on|off|none)$)[A-Za-z$][A-Za-z0-9_.$*/-]*", re.IGNORECASE)


def fragment(kind: SourceType, *, name: str, public_url: str) -> str:
    """Return YAML that loads: `public_url`, and a source of this type with the options that it needs.

    Secrets are references, such as `${STRIPE_SECRET}`. It lacks only `version: 1` to be a configuration.
    """
    why = f"   # {kind.title} signs the URL: write it just as it was given there" if signs_url(kind.declaration) else ""
    said: dict[str, Json] = {"type": kind.name, **dict(_options(kind))}
    line = f"  {name}: {_flow(said)}"
    if len(line) > _WIDEST:
        line = "\n".join([f"  {name}:", *(f"    {key}: {_flow(value)}" for key, value in said.items())])
    return f"public_url: {public_url}{why}\nsources:\n{line}\n"


def secret_names(text: str) -> tuple[str, ...]:
    """Return the names of the secrets that a fragment refers to."""
    return tuple(one.name for one in find_references(text) if one.kind == "secret")


def _options(kind: SourceType) -> Iterator[tuple[str, Json]]:
    if any(way.get("secret") == "learned" for way in ways_of(kind.declaration)):
        # Whoever finds its URL first is believed.
        yield "path_token", _reference(kind, "path_token")
    for name, slot in kind.options.items():
        if slot.is_required or slot.example is not None or name in kind.one_of[:1]:
            yield name, _reference(kind, name) if slot.example is None else slot.example


def _reference(kind: SourceType, option: str) -> str:
    return f"${{{re.sub('[^A-Z0-9]', '_', f'{kind.name}_{option}'.upper())}}}"


def _flow(value: Json) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_flow(name)}: {_flow(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case str() if _PLAIN.fullmatch(value):
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)
