"""Changes of who may ask the admin API, and of which sources wait: tokens and pauses."""

from __future__ import annotations

from hookline.daemon.store.changes import AccessChange, DropToken, KeepToken, SetSourceState, UseToken
from hookline.daemon.store.rows import HOUR, length
from hookline.daemon.store.sqlite.batch import Batch
from hookline.daemon.store.sqlite.rows import bound
from hookline.daemon.store.sqlite.statements import statements

_SQL = statements("write")
_MAX_REASON = 500


def change_access(batch: Batch, change: AccessChange) -> bool | None:
    """Make the change and answer it."""
    match change:
        case SetSourceState():
            _set_source_state(batch, change)
        case KeepToken():
            return _keep_token(batch, change)
        case UseToken():
            batch.connection.execute(_SQL["use_token"], (batch.moment.now // HOUR * HOUR, bound(change.name)))
        case DropToken():
            return batch.connection.execute(_SQL["drop_token"], (bound(change.name),)).rowcount == 1
    return None


def _set_source_state(batch: Batch, change: SetSourceState) -> None:
    """Pause the source, since now if it was not, or let it go on."""
    if change.is_paused:
        row = (bound(change.source), batch.moment.now, bound(change.reason[:_MAX_REASON]))
        batch.connection.execute(_SQL["pause"], row)
    else:
        batch.connection.execute(_SQL["resume"], (bound(change.source),))


def _keep_token(batch: Batch, change: KeepToken) -> bool:
    """Keep the token; return whether its name was free, or is its own: a change that is repeated finds its row."""
    now = batch.moment.now
    expires_at = None if change.expires_in is None else now + length(change.expires_in)
    row = (bound(change.name), change.digest, change.scope, now, expires_at)
    batch.connection.execute(_SQL["keep_token"], row)
    (digest,) = batch.connection.execute(_SQL["token_digest"], (bound(change.name),)).fetchone()
    is_own: bool = digest == change.digest
    return is_own
