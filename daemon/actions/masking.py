"""Hide an attempt's secrets in what is shown of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, SecretBytes, SecretStr
from yarl import URL

from hookline.daemon.actions.fields import secretive_fields
from hookline.daemon.secrets import MASK, masked

#: A path or query of a secret URL that is shorter says nothing.
_SHORTEST_PART = 8


class Mask:
    """Hides the secrets of one attempt, in the forms that they are written in on their way."""

    def __init__(self, *groups: Collection[str]) -> None:
        """Take values of `${NAME}` and of credentials; how they may be written is found out when first needed."""
        self._groups = groups
        self._written: frozenset[str] | None = None

    def __call__(self, text: str) -> str:
        """Return `text` with the secrets hidden."""
        if not text:
            return text
        if self._written is None:
            self._written = frozenset(form for group in self._groups for secret in group for form in forms_of(secret))
        return masked(text, self._written)


@lru_cache(maxsize=4096)
def forms_of(secret: str) -> tuple[str, ...]:
    """Return how a secret may be written: JSON escapes a slash, URLs quote, headers encode."""
    raw = secret.encode("utf-8", "surrogatepass")
    forms = [
        secret,
        json.dumps(secret)[1:-1],
        secret.replace("/", "\\/"),
        quote(raw, safe=""),
        base64.b64encode(raw).decode(),
    ]
    if "://" in secret:
        try:
            tail = URL(secret).raw_path_qs
        except ValueError:
            tail = ""
        if len(tail) >= _SHORTEST_PART:
            forms.append(tail)
    return tuple(forms)


def shown_options(options: BaseModel, mask: Mask) -> Mapping[str, Any]:
    """Return options as plain values, secrets masked, without what was not set."""
    shown: Mapping[str, Any] = _shown(options.model_dump(by_alias=True, exclude_unset=True), mask)
    return shown


def _shown(value: Any, mask: Mask) -> Any:
    match value:
        case SecretStr() | SecretBytes():
            return MASK
        case str():
            return mask(value)
        case Mapping():
            return {key: _shown(item, mask) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_shown(item, mask) for item in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return mask(str(value))


def credentials_of(value: Any) -> Iterator[str]:
    """Yield every credential in an action's options."""
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case SecretBytes():
            yield value.get_secret_value().decode("utf-8", "replace")
        case BaseModel():
            for name in secretive_fields(type(value)):
                yield from credentials_of(getattr(value, name))
        case Mapping():
            for item in value.values():
                yield from credentials_of(item)
        case list() | tuple() | set() | frozenset():
            for item in value:
                yield from credentials_of(item)
