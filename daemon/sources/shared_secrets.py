"""Secrets that senders bring themselves (Asana), kept in the store that several nodes share."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hookline.daemon.log import get_logger
from hookline.daemon.sources.learned import MAX_SECRETS, WAIT, check_secret
from hookline.daemon.sources.port import RequestRejected
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.sharing import SharedStore

#: What the names begin with under which they are kept.
LEARNED: Final = "learned/"
#: What another node forgot is good here for as long at most.
_FRESH_S: Final = 1.0
_RETRY_S: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Learned:
    """What is kept of one source."""

    #: The newest first.
    secrets: tuple[str, ...] = ()
    #: By the server's clock; None if no other is waited for.
    waits_until: datetime | None = None

    def is_waiting(self, now: datetime) -> bool:
        return not self.secrets or (self.waits_until is not None and now < self.waits_until)

    def to_bytes(self) -> bytes:
        until = self.waits_until
        return json.dumps({"secrets": self.secrets, "waits_until": until and until.isoformat()}).encode()

    @classmethod
    def of(cls, kept: bytes | None) -> _Learned:
        if kept is None:
            return cls()
        said = json.loads(kept)
        until = said["waits_until"]
        return cls(secrets=tuple(said["secrets"]), waits_until=until and datetime.fromisoformat(until))


def learned_as_kept(source: str, secrets: Sequence[str]) -> tuple[str, bytes]:
    """Return under which name, and as what, a source's secrets are kept, the newest first."""
    return f"{LEARNED}{source}", _Learned(secrets=tuple(secrets)).to_bytes()


def secrets_of(kept: Mapping[str, bytes], source: str) -> tuple[str, ...]:
    """Return a source's secrets, the newest first, out of what is kept under `LEARNED`."""
    return _Learned.of(kept.get(f"{LEARNED}{source}")).secrets


class SharedLearnedSecrets:
    """Implements `KeptSecrets` for several nodes: what one of them learned, the others find before they refuse."""

    def __init__(self, store: SharedStore, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Open nothing. `monotonic` returns seconds."""
        self._store = store
        self._monotonic = monotonic
        self._known: dict[str, tuple[str, ...]] = {}
        self._waiting_until: dict[str, float] = {}
        # One question or change at a time: who asks while another does waits for an answer that is newer than theirs.
        self._lock = asyncio.Lock()
        self._looked_at = float("-inf")

    async def open(self) -> None:
        """Read what is kept. Raises `StoreError`."""
        await self._look()

    async def close(self) -> None:
        """Do nothing: the store ends what it began."""

    def known(self, source: str) -> tuple[str, ...]:
        """Return the secrets that a source had learned at the last look, the newest first."""
        return self._known.get(source, ())

    def is_waiting(self, source: str) -> bool:
        """Whether a source would have taken a secret at the last look."""
        return source not in self._known or self._monotonic() < self._waiting_until.get(source, 0.0)

    async def refresh(self, *, at_once: bool = False) -> None:
        """Look at what the nodes learned and forgot, if the last look is a second ago, or `at_once`.

        Raises `RequestRejected` (503): without the store nothing can be accepted anyway.
        """
        if not at_once and self._monotonic() - self._looked_at < _FRESH_S:
            return
        try:
            await self._look()
        except StoreError as error:
            why = "what this source learned cannot be read now"
            raise RequestRejected("store", 503, why, retry_after=_RETRY_S) from error

    async def wait(self, source: str, limit: timedelta = WAIT) -> None:
        """Take one more secret, at whichever node, if it comes within `limit`. Raises `StoreError`."""
        await self._change(source, lambda kept, now: _Learned(secrets=kept.secrets, waits_until=now + limit))

    async def learn(self, source: str, secret: str) -> None:
        """Keep a secret for good and wait no more; of two at one time, whichever nodes they came to, one is taken.

        Raises `RequestRejected`: 400 for what is no secret, 403 if the source waits for none, 503 if it cannot be kept.
        """
        check_secret(secret)
        is_taken = False

        def take(kept: _Learned, now: datetime) -> _Learned:
            nonlocal is_taken
            is_taken = secret in kept.secrets or kept.is_waiting(now)
            if not is_taken:
                return kept
            others = tuple(one for one in kept.secrets if one != secret)
            return _Learned(secrets=(secret, *others)[:MAX_SECRETS])

        try:
            await self._change(source, take)
        except StoreError as error:
            get_logger().error("source.not_learned", source=source, why=str(error), next_step="mend it; send it again")
            raise RequestRejected("handshake", 503, "the secret cannot be kept now; send it again") from error
        if not is_taken:
            raise RequestRejected("handshake", 403, "no secret is waited for")

    async def forget(self, source: str) -> int:
        """Forget what a source has learned, and wait for a secret again; return how many there were.

        Other nodes take them for a second more. Raises `StoreError`.
        """
        count = 0

        def drop(kept: _Learned, now: datetime) -> _Learned:  # noqa: ARG001 - as the others
            nonlocal count
            count = len(kept.secrets)
            return _Learned()

        await self._change(source, drop)
        return count

    async def _look(self) -> None:
        asked = self._monotonic()
        async with self._lock:
            if self._looked_at > asked:
                return
            began = self._monotonic()
            now, kept = await self._store.secrets(LEARNED)
            self._known.clear()
            self._waiting_until.clear()
            for name, value in kept.items():
                self._adopt(name.removeprefix(LEARNED), _Learned.of(value), now)
            self._looked_at = began

    async def _change(self, source: str, change: Callable[[_Learned, datetime], _Learned]) -> None:
        """Change what is kept of a source, and know it. Raises `StoreError`."""

        def changed(value: bytes | None, now: datetime) -> bytes | None:
            made = change(_Learned.of(value), now)
            # A source without a secret waits for one anyway.
            return made.to_bytes() if made.secrets else None

        async with self._lock:
            now, value = await self._store.change_secret(f"{LEARNED}{source}", changed)
            self._adopt(source, _Learned.of(value), now)

    def _adopt(self, source: str, learned: _Learned, now: datetime) -> None:
        self._known.pop(source, None)
        self._waiting_until.pop(source, None)
        if learned.secrets:
            self._known[source] = learned.secrets
        if learned.waits_until is not None:
            self._waiting_until[source] = self._monotonic() + (learned.waits_until - now).total_seconds()
