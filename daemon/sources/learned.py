"""Secrets that senders bring themselves (Asana), kept in files of one daemon: one a source, for its owner alone."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from hookline.daemon.folder_sync import sync_folder
from hookline.daemon.log import get_logger
from hookline.daemon.regular_file import read_regular
from hookline.daemon.sources.port import LearnedSecrets, RequestRejected
from hookline.daemon.store.port import StoreError

#: A source may have several webhooks at its sender, each with a secret of its own.
MAX_SECRETS: Final = 8
#: How long a source waits for another secret once an operator asks it to.
WAIT: Final = timedelta(minutes=10)
_SECRET: Final = re.compile(r"[\x21-\x7e]{8,255}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MAX_FILE_BYTES: Final = MAX_SECRETS * 256


def learned_secrets_folder(state: Path) -> Path:
    """Return where learned secrets are kept."""
    return state / "learned-secrets"


class KeptSecrets(LearnedSecrets, Protocol):
    """What senders brought, as the daemon keeps it."""

    async def open(self) -> None:
        """Read what is kept. Call before anything is received. Raises `StoreError`."""
        ...

    async def close(self) -> None:
        """Wait for what is being kept. Call after the listeners closed."""
        ...

    async def wait(self, source: str, limit: timedelta = WAIT) -> None:
        """Take one more secret if it comes within `limit`. Raises `StoreError`."""
        ...

    async def forget(self, source: str) -> int:
        """Forget what a source has learned, and wait for a secret again; return how many there were.

        Raises `StoreError` if that cannot be.
        """
        ...


def check_secret(secret: str) -> None:
    """Raise `RequestRejected` (400) for what is no secret."""
    if not _SECRET.fullmatch(secret):
        raise RequestRejected("handshake", 400, "a secret is 8 to 255 printable ASCII characters without blanks")


class FileLearnedSecrets:
    """Implements `KeptSecrets`: a file a source, one secret a line, the newest first."""

    def __init__(self, folder: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`folder` is made, for its owner alone, when the first secret is learned. `monotonic` returns seconds."""
        self._folder = folder
        self._monotonic = monotonic
        self._known: dict[str, tuple[str, ...]] = {}
        self._waiting_until: dict[str, float] = {}
        # What is being written, by source. The loop keeps only weak references to tasks.
        self._writing: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Read what is kept. Call before anything else. Raises `StoreError` as `load` does."""
        await asyncio.to_thread(self.load)

    def load(self) -> None:
        """Read what is kept; it reads files.

        Raises `StoreError` if a file cannot be read as written: its source would wait for a secret of anybody's.
        """
        try:
            files = sorted(self._folder.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"cannot read {self._folder}: {error.strerror}; let the daemon's user own it") from error
        for path in (self._folder, *files):
            _warn_if_open(path)
        # What another name than a source's stands on was being written when the daemon died.
        self._known = {path.name: _read(path) for path in files if _NAME.fullmatch(path.name)}

    def known(self, source: str) -> tuple[str, ...]:
        """Return the secrets that a source has learned, the newest first."""
        return self._known.get(source, ())

    def is_waiting(self, source: str) -> bool:
        """Whether a source would take a secret now: it has none yet, or an operator asked it to wait for another."""
        if source in self._writing:
            return False
        return source not in self._known or self._monotonic() < self._waiting_until.get(source, 0.0)

    async def refresh(self, *, at_once: bool = False) -> None:
        """Do nothing: nobody else learns or forgets."""

    async def wait(self, source: str, limit: timedelta = WAIT) -> None:
        """Take one more secret if it comes within `limit`."""
        self._waiting_until[source] = self._monotonic() + limit.total_seconds()

    async def learn(self, source: str, secret: str) -> None:
        """Keep a secret for good (fsynced) and wait no more; of two at one time, one is taken.

        Raises `RequestRejected`: 400 for what is no secret, 403 if the source waits for none, 503 if it cannot be kept.
        """
        check_secret(secret)
        if not self.is_waiting(source):
            raise RequestRejected("handshake", 403, "no secret is waited for")
        others = tuple(one for one in self.known(source) if one != secret)
        try:
            await self._change(source, (secret, *others)[:MAX_SECRETS])
        except OSError as error:
            get_logger().error("source.not_learned", source=source, why=str(error), next_step="mend it; send it again")
            raise RequestRejected("handshake", 503, "the secret cannot be kept now; send it again") from error

    async def forget(self, source: str) -> int:
        """Forget what a source has learned, and wait for a secret again; return how many there were.

        Raises `StoreError` if the file cannot be removed.
        """
        count = len(self.known(source))
        try:
            await self._change(source, ())
        except OSError as error:
            raise StoreError(f"cannot remove {self._folder / source}: {error.strerror}") from error
        return count

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._writing:
            await asyncio.wait(self._writing.values())

    async def _change(self, source: str, secrets: tuple[str, ...]) -> None:
        """Write a source's secrets, or remove its file; what is known follows. Raises `OSError`."""
        while earlier := self._writing.get(source):
            await asyncio.wait((earlier,))
        writing = self._writing[source] = asyncio.ensure_future(self._write(source, secrets))
        writing.add_done_callback(lambda _: self._writing.pop(source))
        # A write that has begun is ended and becomes known, even if its sender hangs up: file and memory agree.
        await asyncio.shield(writing)

    async def _write(self, source: str, secrets: tuple[str, ...]) -> None:
        # In a thread: an fsync may take 100 ms.
        if secrets:
            await asyncio.to_thread(_write_file, self._folder, source, secrets)
            self._known[source] = secrets
        else:
            await asyncio.to_thread(_remove_file, self._folder, source)
            self._known.pop(source, None)
        self._waiting_until.pop(source, None)


def _read(path: Path) -> tuple[str, ...]:
    next_step = "mend it, or remove it and make the webhook anew"
    try:
        lines = read_regular(path, limit=_MAX_FILE_BYTES).decode("ascii", "replace").splitlines()
    except ValueError as error:
        raise StoreError(f"{error}; {next_step}") from error
    wrong = next((number for number, line in enumerate(lines, 1) if not _SECRET.fullmatch(line)), None)
    if wrong is not None or not lines:
        raise StoreError(f"{path}:{wrong or 1}: this is no secret of 8 to 255 printable characters; {next_step}")
    return tuple(lines[:MAX_SECRETS])


def _write_file(folder: Path, name: str, secrets: tuple[str, ...]) -> None:
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written under another name first: whoever reads it never sees half a secret.
    fresh = folder / f"{name}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        os.fchmod(descriptor, 0o600)
        file.write("".join(f"{secret}\n" for secret in secrets))
        file.flush()
        os.fsync(descriptor)
    fresh.replace(folder / name)
    sync_folder(folder)
    if is_new:
        sync_folder(folder.parent)


def _remove_file(folder: Path, name: str) -> None:
    if folder.exists():
        (folder / name).unlink(missing_ok=True)
        sync_folder(folder)


def _warn_if_open(path: Path) -> None:
    mode = path.lstat().st_mode & 0o777
    if mode & 0o077:
        get_logger().warning(
            "learned_secrets.readable",
            path=str(path),
            mode=f"{mode:03o}",
            next_step=f"others can read it: chmod go= {path}, then make the webhook anew",
        )
