"""Where a store is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

#: The schema in which the tables are, if `store:` names no other.
DEFAULT_SCHEMA = "hookline"


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """One file, for one daemon."""

    path: Path

    def __str__(self) -> str:
        """Write it as `store:` does."""
        return f"sqlite:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresDatabase:
    """A database, for any number of daemons."""

    #: As asyncpg takes it, password and all.
    url: str = field(repr=False)
    #: In which our tables are, beside whatever else the database holds.
    schema: str = DEFAULT_SCHEMA
    #: The same without the password, for people.
    shown: str

    def __str__(self) -> str:
        """Write it as `store:` does, without the password."""
        return self.shown


@dataclass(frozen=True, slots=True)
class UnsetStore:
    """One that cannot be told from here: it is named by a secret that is not set. A daemon does not start with it."""

    #: As it stands in the configuration.
    written: str

    def __str__(self) -> str:
        """Write it as `store:` does."""
        return self.written


StorePlace: TypeAlias = SqliteFile | PostgresDatabase | UnsetStore
