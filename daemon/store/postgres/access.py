"""Changes of who may ask the admin API, and of which sources wait: tokens and pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookline.daemon.store.changes import AccessChange, DropToken, KeepToken, SetSourceState, UseToken
from hookline.daemon.store.named_sql import named_statements
from hookline.daemon.store.postgres.nodes import raise_revision
from hookline.daemon.store.postgres.rows import bound
from hookline.daemon.store.rows import HOUR, length

if TYPE_CHECKING:
    from hookline.daemon.store.postgres.batch import Batch

_SQL = named_statements(__package__, "operate")
_MAX_REASON = 500


async def change_access(batch: Batch, change: AccessChange) -> bool | None:
    """Make the change and answer it."""
    match change:
        case SetSourceState():
            await _set_source_state(batch, change)
        case KeepToken():
            return await _keep_token(batch, change)
        case UseToken():
            hour = batch.moment.now // HOUR * HOUR
            await batch.connection.execute(_SQL["use_token"], bound(change.name), hour)
        case DropToken():
            if await batch.connection.fetchval(_SQL["drop_token"], bound(change.name)) is None:
                return False
            await raise_revision(batch)
            return True
    return None


async def _set_source_state(batch: Batch, change: SetSourceState) -> None:
    """Pause the source, since now if it was not, or let it go on."""
    if change.is_paused:
        row = (bound(change.source), batch.moment.now, bound(change.reason[:_MAX_REASON]))
        await batch.connection.execute(_SQL["pause"], *row)
    else:
        await batch.connection.execute(_SQL["resume"], bound(change.source))
    await raise_revision(batch)


async def _keep_token(batch: Batch, change: KeepToken) -> bool:
    """Keep the token; return whether its name was free, or is its own: a change that is repeated finds its row."""
    now = batch.moment.now
    expires_at = None if change.expires_in is None else now + length(change.expires_in)
    row = (bound(change.name), change.digest, change.scope, now, expires_at)
    await batch.connection.execute(_SQL["keep_token"], *row)
    digest: str = await batch.connection.fetchval(_SQL["token_digest"], bound(change.name))
    if digest != change.digest:
        return False
    await raise_revision(batch)
    return True
