"""Questions put together from the statements of read.sql and search.sql, whose values have names."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from hookline.daemon.store.named_sql import Row, named_statements

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Connection

_SQL: Final = {**named_statements(__package__, "read"), **named_statements(__package__, "search")}
# Not the second half of a cast.
_NAME: Final = re.compile(r"(?<!:):([a-z_]+)")


async def ask(connection: Connection, *parts: str, **values: Any) -> list[Row]:
    """Return all rows of the question that these statements make; each value is one that they name."""
    sql, names = _written(parts)
    rows: list[Row] = await connection.fetch(sql, *(values[name] for name in names))
    return rows


def question(*parts: str) -> str:
    """Return the SQL of a question as the server sees it."""
    return _written(parts)[0]


# The same few filters are asked for again and again; each has a text of its own.
@lru_cache(maxsize=512)
def _written(parts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Put the statements together, and number the values: asyncpg knows no names."""
    sql = "\n".join(_SQL[part] for part in parts)
    numbers: dict[str, int] = {}
    written = _NAME.sub(lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", sql)
    return written, tuple(numbers)
