"""The admin token of nodes that share a store: configured, or made once by the node that starts first."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Final

from anyio import to_thread
from structlog.typing import FilteringBoundLogger

from hookline.daemon.admin_token import read_admin_token, write_admin_token
from hookline.daemon.config.settings import Settings
from hookline.daemon.store.sharing import SharedStore

#: Under which name the token is kept, in ASCII.
KEPT_TOKEN: Final = "admin-token"  # noqa: S105 - its name
#: And what the node that started last goes by, as nobody can read it.
_LAST_USED: Final = "admin-token-in-use"
_DIFFERS_STEP: Final = (
    "sessions of one node are no good at another, nor is its token: give all the same `admin: {token: …}`, or none"
)


async def shared_admin_token(settings: Settings, store: SharedStore, *, log: FilteringBoundLogger) -> str:
    """Return the admin token, the same at all nodes, and keep it in `Settings.state` too, for commands that are typed.

    Warns if the node that started before this one goes by another. Raises `StoreError`, and `OSError` if it cannot be
    kept there.
    """
    token = settings.admin.token
    if token is None:
        made = secrets.token_urlsafe(32).encode()
        _, kept = await store.change_secret(KEPT_TOKEN, lambda before, _: before or made)
        token = (kept or made).decode("ascii")
        await to_thread.run_sync(_keep_here, settings.state, token)
    # Slow to compute, because a token that somebody thought up could be guessed from what is quick.
    print_of = await to_thread.run_sync(_print_of, token)
    former: bytes | None = None

    def note(before: bytes | None, _: object) -> bytes:
        nonlocal former
        former = before
        return print_of

    await store.change_secret(_LAST_USED, note)
    if former is not None and former != print_of:
        log.warning("admin_token.differs", next_step=_DIFFERS_STEP)
    return token


def _keep_here(state: Path, token: str) -> None:
    if read_admin_token(state) != token:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_admin_token(state, token)


def _print_of(token: str) -> bytes:
    return hashlib.scrypt(token.encode("utf-8", "surrogatepass"), salt=b"hookline admin token", n=1 << 14, r=8, p=1)
