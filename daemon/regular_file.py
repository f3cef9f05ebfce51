"""Reads files that an operator names: regular ones only, and not without end."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular(path: Path, *, limit: int) -> bytes:
    """Return a file's bytes.

    Raises `ValueError` with a sentence for people if it cannot be read, is a FIFO, device or folder, or is larger
    than `limit` bytes.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"cannot read {path}: {reason}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path} is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise ValueError(f"{path} is larger than {limit:,} bytes")
    return data
