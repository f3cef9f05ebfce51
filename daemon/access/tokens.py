"""The admin API's tokens: the configured one, and those made by `hookline token`, kept by their hash."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.api.caller import SCOPES, Caller, Scope
from hookline.daemon.store.changes import DropToken, KeepToken, UseToken
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import Store, StoreError
from hookline.daemon.store.stored import StoredToken

#: What the configured token is called, in the audit and in a session.
CONFIGURED: Final = "admin"
#: By it, tokens are found where they do not belong: in logs, in repositories.
PREFIX: Final = "hookline_"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MOST_TOKENS: Final = 1_000
_LONGEST: Final = timedelta(days=3650)
_NOTE_EVERY_S: Final = 60.0
_HOUR: Final = timedelta(hours=1)


class TokenNameError(ValueError):
    """A token that cannot be made: its name, its end, or their number. Caught by the API, which answers 422 or 409."""

    def __init__(self, message: str, *, is_taken: bool = False) -> None:
        """`is_taken`: there is one of that name."""
        super().__init__(message)
        self.is_taken = is_taken


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeToken:
    """A token that was made just now."""

    kept: StoredToken
    #: Nobody can say it again.
    token: str


class Tokens:
    """All tokens, known in memory: to ask who calls costs no look into the store."""

    def __init__(
        self,
        configured: str,
        *,
        store: Store,
        commit: GroupCommit,
        clock: Callable[[], datetime],
        log: FilteringBoundLogger,
    ) -> None:
        """Know `configured`, the admin token, and none other before `load`; `clock` returns the time, aware."""
        self._store = store
        self._commit = commit
        self._clock = clock
        self._log = log
        first = StoredToken(
            name=CONFIGURED,
            digest=digest_of(configured),
            scope="admin",
            created_at=clock(),
            expires_at=None,
            last_used_at=None,
        )
        self._configured = first
        self._by_name = {first.name: first}
        self._by_digest = {first.digest: first}
        #: Used since it was noted last.
        self._used: set[str] = set()
        self._noted: dict[str, datetime] = {}

    async def load(self) -> None:
        """Read what is kept. Raises `StoreError`."""
        reader = self._store.reader()
        try:
            kept = await reader.tokens()
        finally:
            await reader.close()
        all_ = (self._configured, *(one for one in kept if one.name != CONFIGURED))
        self._by_name = {one.name: one for one in all_}
        # The configured one stands first, and keeps its scope whatever is in the store.
        self._by_digest = {one.digest: one for one in reversed(all_)}

    def caller_of(self, token: str) -> Caller | None:
        """Return whose token that is; None if it is nobody's, or over."""
        # Tokens are found by their hash, so the time that this takes says nothing about any that exists.
        return self._caller(self._by_digest.get(digest_of(token)))

    def caller_named(self, name: str) -> Caller | None:
        """Return who holds the token of that name; None if it was dropped, or is over."""
        return self._caller(self._by_name.get(name))

    def digest_named(self, name: str) -> str | None:
        """Return the hash of a token that is good; None if there is none of that name."""
        known = self._by_name.get(name)
        return known.digest if known is not None and not self._is_over(known) else None

    def _caller(self, known: StoredToken | None) -> Caller | None:
        if known is None or self._is_over(known):
            return None
        if known.name != CONFIGURED:
            self._used.add(known.name)
        return Caller(name=known.name, scope=_scope(known.scope))

    def _is_over(self, known: StoredToken) -> bool:
        return known.expires_at is not None and known.expires_at <= self._clock()

    async def list(self) -> list[StoredToken]:
        """Return the tokens that were made, by name; those that are over too. Raises `StoreError`."""
        reader = self._store.reader()
        try:
            return await reader.tokens()
        finally:
            await reader.close()

    async def make(self, name: str, scope: Scope, *, expires_in: timedelta | None = None) -> MadeToken:
        """Make a token. Raises `TokenNameError` and `StoreError`."""
        if not _NAME.fullmatch(name):
            raise TokenNameError(
                "a token's name is 1 to 64 letters, digits, `.`, `_` or `-`, and begins with a letter or digit"
            )
        if name == CONFIGURED:
            raise TokenNameError("`admin` is the configured token's name: choose another", is_taken=True)
        if expires_in is not None and not timedelta(0) < expires_in <= _LONGEST:
            raise TokenNameError("a token lasts 3,650 days at most, or for ever")
        if len(self._by_name) > _MOST_TOKENS:
            raise TokenNameError(f"there are {_MOST_TOKENS} tokens: drop some first (hookline token)")
        token = PREFIX + secrets.token_urlsafe(32)
        change = KeepToken(name=name, digest=digest_of(token), scope=scope, expires_in=expires_in)
        if not await self._commit.submit(change):
            raise TokenNameError(f"there is a token {name!r}: drop it first (hookline token drop)", is_taken=True)
        await self.load()
        return MadeToken(kept=self._by_name[name], token=token)

    async def drop(self, name: str) -> bool:
        """Forget a token; whoever holds it is shut out at once. False if there is none. Raises `StoreError`."""
        known = self._by_name.get(name)
        if known is None or name == CONFIGURED:
            return False
        is_gone = await self._commit.submit(DropToken(name=name))
        await self.load()
        return is_gone

    async def run(self) -> None:
        """Note once an hour of each token that it was used; never returns."""
        while True:
            await anyio.sleep(_NOTE_EVERY_S)
            await self.note_used()

    async def note_used(self) -> None:
        """Note which tokens were used, unless that was noted in this hour."""
        now = self._clock()
        used, self._used = self._used, set()
        for name in sorted(used):
            if name in self._noted and now - self._noted[name] < _HOUR:
                continue
            try:
                await self._commit.submit(UseToken(name=name))
            except StoreError as error:
                self._log.debug("token.use_not_noted", token=name, why=str(error))
                return
            self._noted[name] = now


def digest_of(token: str) -> str:
    """Return the hash by which a token is kept.

    SHA-256 without salt or stretching: a token is 32 random bytes, which nobody can guess from its hash.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _scope(written: str) -> Scope:
    for one in SCOPES:
        if one == written:
            return one
    # What a later version may have kept grants nothing more than to look.
    return "read"
