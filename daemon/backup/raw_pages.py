"""The pages of a SQLite file as they lie on the disk, with those of its -wal file over them.

The format: https://www.sqlite.org/fileformat2.html. SQLite itself opens nothing here, and nothing is written.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hookline.daemon.store.sqlite.file import APPLICATION_ID

HEADER_BYTES: Final = 100

_MAGIC: Final = b"SQLite format 3\0"
_USUAL_PAGE_BYTES: Final = 4096
# By the order of bytes in which checksums were made.
_WAL_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}
_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_POINTER_MAP_ENTRY_BYTES: Final = 5


@dataclass(slots=True, kw_only=True)
class RawPages:
    """Pages by their numbers, from 1."""

    #: In bytes.
    page_size: int
    count: int
    #: Whether the first 100 bytes are those of a store.
    has_header: bool
    #: Frames of the -wal file that are damaged.
    damaged_frames: int
    _file: int
    _wal: int | None
    #: Where newer versions begin in the -wal file, by page.
    _newer: dict[int, int] = field(repr=False)

    def page(self, number: int) -> bytes | None:
        """Return a page; None if it is not there, or the disk cannot read it."""
        at = self._newer.get(number)
        if at is not None and self._wal is not None:
            return _read(self._wal, at, self.page_size)
        return _read(self._file, (number - 1) * self.page_size, self.page_size) if number >= 1 else None

    def header_number(self, offset: int) -> int:
        """Return four bytes of the header as a number; 0 if there is none."""
        first = self.page(1) if self.has_header else None
        return 0 if first is None else int.from_bytes(first[offset : offset + 4])

    def bookkeeping(self) -> set[int]:
        """Return the pages that hold no rows: those that are free, and those that say where others belong."""
        found: set[int] = set()
        if self.header_number(52):
            found.update(range(2, self.count + 1, self.page_size // _POINTER_MAP_ENTRY_BYTES + 1))
        trunk = self.header_number(32)
        seen: set[int] = set()
        while trunk and trunk not in seen:
            page = self.page(trunk)
            if page is None:
                break
            following, count = struct.unpack_from(">II", page)
            if count > self.page_size // 4 - 2 or following > self.count:
                # Damaged: what it lists may be in use.
                break
            seen.add(trunk)
            found.update((trunk, *struct.unpack_from(f">{count}I", page, 8)))
            trunk = following
        return found


@contextmanager
def raw_pages(path: Path) -> Iterator[RawPages]:
    """Open a file and its -wal file, if there is one, to be read alone. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    wal: int | None = None
    try:
        try:
            wal = os.open(path.with_name(f"{path.name}-wal"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            wal = None
        yield _opened(file, wal)
    finally:
        os.close(file)
        if wal is not None:
            os.close(wal)


def _opened(file: int, wal: int | None) -> RawPages:
    head = _read(file, 0, HEADER_BYTES) or b""
    size = int.from_bytes(head[16:18]) if head.startswith(_MAGIC) else 0
    log = _WalFile.read(wal) if wal is not None else None
    if size == 1 or size < 512 or size & (size - 1):
        size = log.page_size if log is not None else _USUAL_PAGE_BYTES
    newer = log.newer if log is not None and log.page_size == size else {}
    pages = RawPages(
        page_size=size,
        count=max(os.fstat(file).st_size // size, *newer, 0) if newer else os.fstat(file).st_size // size,
        has_header=True,
        damaged_frames=0 if log is None else log.damaged,
        _file=file,
        _wal=wal,
        _newer=newer,
    )
    first = pages.page(1) or b""
    pages.has_header = first.startswith(_MAGIC) and int.from_bytes(first[68:72]) == APPLICATION_ID
    return pages


def _read(file: int, at: int, size: int) -> bytes | None:
    """Read so many bytes; None if they are not all there."""
    try:
        found = os.pread(file, size, at)
    except OSError:
        return None
    return found if len(found) == size else None


@dataclass(slots=True, kw_only=True)
class _WalFile:
    """What of a -wal file is committed."""

    page_size: int
    newer: dict[int, int]
    damaged: int

    @classmethod
    def read(cls, file: int) -> _WalFile | None:
        """Read it, past damaged frames too, to the last commit; None if there is nothing in it."""
        head = _read(file, 0, _WAL_HEADER_BYTES)
        first = _read(file, _WAL_HEADER_BYTES, _FRAME_HEADER_BYTES)
        if head is None or first is None:
            return None
        magic, _, size, _, *rest = struct.unpack(">8I", head)
        order = _WAL_MAGIC.get(magic, "<")
        sums: tuple[int, int] | None = (rest[2], rest[3])
        salts = head[16:24]
        if _sums(head[:24], (0, 0), order) != sums:
            # Each frame says it again.
            size, salts, sums = _USUAL_PAGE_BYTES, first[8:16], None
        log, pending = cls(page_size=size, newer={}, damaged=0), {}
        damaged, at = 0, _WAL_HEADER_BYTES
        while (frame := _read(file, at, _FRAME_HEADER_BYTES + size)) is not None:
            number, commit = struct.unpack_from(">II", frame)
            data_at, at = at + _FRAME_HEADER_BYTES, at + _FRAME_HEADER_BYTES + size
            if frame[8:16] != salts:
                # What was left by those before, or damaged.
                sums, damaged = None, damaged + 1
                continue
            own: tuple[int, int] = struct.unpack_from(">II", frame, 16)
            is_whole = sums is None or _sums(frame[24:], _sums(frame[:8], sums, order), order) == own
            sums = own
            if not is_whole:
                damaged += 1
                continue
            pending[number] = data_at
            if commit:
                # Frames that count as damaged only if whole ones follow: the file is longer than what is in use.
                log.newer.update(pending)
                log.damaged = damaged
                pending = {}
        return log


def _sums(data: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two
