"""Tokens and pauses of the in-memory store."""

from __future__ import annotations

from dataclasses import replace

from hookline.daemon.store.changes import AccessChange, DropToken, KeepToken, SetSourceState, UseToken
from hookline.daemon.store.memory.tables import Tables, hour_of
from hookline.daemon.store.stored import Pause, StoredToken

_MAX_REASON = 500


def change_access(tables: Tables, change: AccessChange) -> bool | None:
    """Make the change and answer it."""
    match change:
        case SetSourceState():
            _set_source_state(tables, change)
        case KeepToken():
            return _keep_token(tables, change)
        case UseToken():
            _use_token(tables, change)
        case DropToken():
            return tables.tokens.pop(change.name, None) is not None
    return None


def _set_source_state(tables: Tables, change: SetSourceState) -> None:
    known = tables.pauses.pop(change.source, None)
    if change.is_paused:
        since = tables.clock() if known is None else known.since
        tables.pauses[change.source] = Pause(since=since, reason=change.reason[:_MAX_REASON])


def _keep_token(tables: Tables, change: KeepToken) -> bool:
    now = tables.clock()
    new = StoredToken(
        name=change.name,
        digest=change.digest,
        scope=change.scope,
        created_at=now,
        expires_at=None if change.expires_in is None else now + change.expires_in,
        last_used_at=None,
    )
    return tables.tokens.setdefault(change.name, new).digest == change.digest


def _use_token(tables: Tables, change: UseToken) -> None:
    known = tables.tokens.get(change.name)
    if known is not None:
        hour = hour_of(tables.clock())
        tables.tokens[change.name] = replace(known, last_used_at=max(known.last_used_at or hour, hour))
