"""Writes a secret into a file of its own: whole or not at all, for its owner alone, and never over another."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hookline.daemon.folder_sync import sync_folder


def write_credential(path: Path, secret: str) -> None:
    """Write a secret to a new file of mode 0600, fsynced with its folder, which is made with mode 0700.

    Raises `FileExistsError` if there is a file already, and `OSError`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = _write_fresh(path, secret)
    try:
        # A link fails where a rename would replace what is there.
        os.link(fresh, path)
    finally:
        fresh.unlink()
    sync_folder(path.parent)


def check_writable(path: Path) -> None:
    """Do all that `write_credential` would do, but for the secret. Raises `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A secret's length, so that a full disk shows; linked, since not every file system can.
    fresh = _write_fresh(path, "x" * 4096)
    second = fresh.with_name(f"{fresh.name}.2")
    try:
        os.link(fresh, second)
        second.unlink()
    finally:
        fresh.unlink()


def _write_fresh(path: Path, text: str) -> Path:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        fresh.unlink()
        raise
    return fresh
