"""What pages load besides themselves: read once, named by their content, kept by browsers for ever."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """One file as it is served."""

    body: bytes
    content_type: str
    #: The first characters of its SHA-256: a new content has a new URL.
    digest: str


class StaticFiles:
    """The files of the pages, in memory."""

    def __init__(self) -> None:
        """Read them. Raises `OSError` if the installation lacks them."""
        self._files = {path.name: _read(path) for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}

    def url(self, name: str) -> str:
        """Return where a file is; raises `KeyError` for an unknown one."""
        return f"/static/{self._files[name].digest}/{name}"

    def find(self, digest: str, name: str) -> StaticFile | None:
        """Return a file; None if there is none of that name and content."""
        found = self._files.get(name)
        return found if found is not None and found.digest == digest else None


def _read(path: Path) -> StaticFile:
    body = path.read_bytes()
    return StaticFile(body=body, content_type=_TYPES[path.suffix], digest=hashlib.sha256(body).hexdigest()[:16])
