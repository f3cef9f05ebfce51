"""A backup's file: a compressed tar with a manifest first, which says what else must be in it, byte for byte."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

#: The store's name inside, whatever it is called outside.
STORE: Final = "hookline.db"
ADMIN_TOKEN: Final = "admin-token"  # noqa: S105 - a file's name
#: Folders inside.
LEARNED_SECRETS: Final = "learned-secrets/"
CONFIG: Final = "config/"

_MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_MAX_MANIFEST_BYTES: Final = 16 << 20
_CHUNK: Final = 1 << 18
# Of a store of JSON bodies, 85 MB: 3 leaves 6 % more than 6, in half the time; 1 saves none over 3.
_LEVEL: Final = 3


class ArchiveError(Exception):
    """The file is no backup, or not what its manifest says. Caught by the commands and the daemon's schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file in the archive."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds, and of what."""

    #: Hookline's version.
    version: str
    schema: int
    made_at: datetime
    host: str
    #: Where the store lay.
    store: str
    #: `events`, and deliveries by state.
    counts: Mapping[str, int]
    #: When the newest event was received; None if there is none.
    newest: datetime | None
    #: By name.
    parts: Mapping[str, Part]

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the archive."""
        return {
            "format": _FORMAT,
            "hookline": self.version,
            "schema": self.schema,
            "made_at": self.made_at.isoformat(),
            "host": self.host,
            "store": self.store,
            "counts": dict(self.counts),
            "newest": self.newest and self.newest.isoformat(),
            "parts": {name: {"bytes": part.size, "sha256": part.sha256} for name, part in self.parts.items()},
        }


def digest_of(path: Path, seen: Callable[[int], None] = lambda _count: None) -> Part:
    """Read a file whole; `seen` is told of the bytes as they are read. Raises `OSError`."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            seen(len(chunk))
    return Part(size=size, sha256=digest.hexdigest())


def write_archive(
    target: Path, manifest: Manifest, files: Mapping[str, Path], *, seen: Callable[[int], None] = lambda _count: None
) -> None:
    """Write a new file, for us alone, and fsync it. `files`: where each part is to be read. Raises `OSError`."""
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=_LEVEL) as tar:
            text = json.dumps(manifest.to_json(), indent=2).encode()
            tar.addfile(_member(_MANIFEST, len(text), manifest), io.BytesIO(text))
            for name, path in files.items():
                with path.open("rb") as part:
                    tar.addfile(_member(name, manifest.parts[name].size, manifest), _Seen(part, seen))
        file.flush()
        os.fsync(descriptor)
        # What is read again to be verified comes from the disk.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _member(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(manifest.made_at.timestamp())
    return member


class _Seen(io.RawIOBase):
    """A file that tells of what is read of it."""

    def __init__(self, file: IO[bytes], seen: Callable[[int], None]) -> None:
        super().__init__()
        self._file = file
        self._seen = seen

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._seen(len(chunk))
        return chunk


def read_archive(path: Path, *, take: Callable[[str, Manifest], IO[bytes] | None]) -> Manifest:
    """Read the whole archive and compare every part with the manifest.

    `take` is asked for each part where to write it, None: nowhere; what it returns is closed. What was written is good
    only if this returns. Raises `ArchiveError`, and `OSError` for what cannot be written.
    """
    with _opened(path) as tar:
        manifest = _read_manifest(path, tar)
        missing = dict(manifest.parts)
        # Iterating would begin with the manifest again.
        while (member := tar.next()) is not None:
            part = missing.pop(member.name, None)
            source = tar.extractfile(member) if member.isreg() else None
            if part is None or source is None:
                raise ArchiveError(f"{path}: holds {member.name!r}, which its manifest does not name: do not use it")
            found = _copy(source, take(member.name, manifest))
            if found != part:
                raise ArchiveError(f"{path}: {member.name} in it is damaged: use another backup")
        if missing:
            raise ArchiveError(f"{path}: {', '.join(missing)} is missing in it: use another backup")
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Read what an archive says of itself, which is not verified. Raises `ArchiveError`."""
    with _opened(path) as tar:
        return _read_manifest(path, tar)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be opened: {error.strerror}") from error
    with file:
        try:
            with tarfile.open(fileobj=file, mode="r|gz") as tar:
                yield tar
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise ArchiveError(f"{path}: no whole backup of Hookline's ({error}): use another one") from error


def _read_manifest(path: Path, tar: tarfile.TarFile) -> Manifest:
    member = tar.next()
    source = tar.extractfile(member) if member is not None and member.isreg() else None
    if member is None or source is None or member.name != _MANIFEST or member.size > _MAX_MANIFEST_BYTES:
        raise ArchiveError(f"{path}: no backup of Hookline's: it does not begin with a manifest")
    try:
        said = json.loads(source.read())
        if said["format"] != _FORMAT:
            raise ArchiveError(f"{path}: made by a newer Hookline ({said['hookline']}): restore it with that one")
        return Manifest(
            version=str(said["hookline"]),
            schema=int(said["schema"]),
            made_at=datetime.fromisoformat(said["made_at"]),
            host=str(said["host"]),
            store=str(said["store"]),
            counts={str(name): int(count) for name, count in said["counts"].items()},
            newest=None if said["newest"] is None else datetime.fromisoformat(said["newest"]),
            parts={
                _safe(name): Part(size=int(part["bytes"]), sha256=str(part["sha256"]))
                for name, part in said["parts"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{path}: its manifest cannot be read ({error!r}): use another backup") from error


def _safe(name: str) -> str:
    """Return a name that stays inside the folder that it is unpacked to. Raises `ValueError`."""
    if name.startswith("/") or "\0" in name or any(step in {"", ".", ".."} for step in name.split("/")):
        raise ValueError(f"a part is called {name!r}")
    return name


def _copy(source: IO[bytes], target: IO[bytes] | None) -> Part:
    digest, size = hashlib.sha256(), 0
    try:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if target is not None:
                target.write(chunk)
        if target is not None:
            target.flush()
            os.fsync(target.fileno())
    finally:
        if target is not None:
            target.close()
    return Part(size=size, sha256=digest.hexdigest())
