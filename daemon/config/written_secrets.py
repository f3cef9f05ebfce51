"""Secrets that stand in the configuration itself, found by the keys that they stand under."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from hookline.daemon.config.database import secrets_in
from hookline.daemon.config.settings import Settings
from hookline.daemon.store.places import PostgresDatabase

#: Keys of what nobody but the two sides should know.
SECRET_KEY: Final = re.compile(
    r"(?:.*[_-])?(?:secrets?|tokens?|passwords?|authorization|api[_-]?keys?|credentials?)", re.IGNORECASE
)


def written_secrets(settings: Settings) -> Iterator[str]:
    """Yield every text under such a key, of the admin listener, the store, the sources and the destinations."""
    if isinstance(settings.store, PostgresDatabase):
        yield from secrets_in(settings.store)
    if settings.admin.token is not None:
        yield settings.admin.token
    for source in settings.sources.values():
        yield from _below(source.options, is_secret=False)
    for destination in settings.destinations.values():
        yield from _below(destination.options, is_secret=False)


def _below(value: Any, *, is_secret: bool) -> Iterator[str]:
    if isinstance(value, str):
        if is_secret:
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _below(item, is_secret=is_secret)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _below(item, is_secret=is_secret or SECRET_KEY.fullmatch(key) is not None)
