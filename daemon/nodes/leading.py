"""What one node does for all of them, as long as it leads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import anyio
from structlog.typing import FilteringBoundLogger

#: So soon a leader that lost its lead stops: for a moment two may lead, so each duty harms nothing when done twice.
_LOOK_EVERY_S: Final = 0.5


class Leading:
    """Runs duties while this node leads."""

    def __init__(
        self,
        duties: Sequence[Callable[[], Coroutine[Any, Any, None]]],
        *,
        is_leader: Callable[[], bool],
        log: FilteringBoundLogger,
    ) -> None:
        """Each of `duties` runs until it is cancelled, or once. `is_leader` is asked again and again."""
        self._duties = duties
        self._is_leader = is_leader
        self._log = log

    async def run(self) -> None:
        """Lead when there is nobody else, until cancelled."""
        while True:
            await self._until(is_leader=True)
            self._log.info("nodes.leads")
            async with anyio.create_task_group() as tasks:
                for duty in self._duties:
                    tasks.start_soon(duty)
                await self._until(is_leader=False)
                tasks.cancel_scope.cancel()
            self._log.info("nodes.leads_no_more")

    async def _until(self, *, is_leader: bool) -> None:
        # Nothing says when a session is lost: its lead ends with a time.
        while self._is_leader() is not is_leader:  # noqa: ASYNC110
            await anyio.sleep(_LOOK_EVERY_S)
