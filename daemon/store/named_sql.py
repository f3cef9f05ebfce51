"""SQL files beside the modules that use them, read into named statements."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

#: A row as a driver takes or gives it.
Row: TypeAlias = "tuple[Any, ...]"

_HEADER = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


@cache
def named_statements(package: str, name: str) -> Mapping[str, str]:
    """Read `<name>.sql` of a package: what stands below each `-- name: x`, without comments and the last semicolon."""
    text = files(package).joinpath(f"{name}.sql").read_text("utf-8")
    parts = _HEADER.split(text)[1:]
    return {
        title: _COMMENT.sub("", body).strip().removesuffix(";")
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }
