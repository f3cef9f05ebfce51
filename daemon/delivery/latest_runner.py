"""The runner that is live at each moment: what runs goes on in the one that it began in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hookline.daemon.delivery.runner import Inspection, Result, Runner, Work
from hookline.rules import Problem, Step


class LatestRunner:
    """Stands for the runner that is live."""

    def __init__(self, runner: Callable[[], Runner]) -> None:
        """Ask `runner` for each call."""
        self._runner = runner

    async def inspect(self) -> Inspection:
        """Do as the runner does."""
        return await self._runner().inspect()

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Do as the runner does."""
        return await self._runner().validate(steps)

    async def run(self, work: Work) -> Result:
        """Do as the runner does."""
        return await self._runner().run(work)

    async def close(self) -> None:
        """Do as the runner does."""
        await self._runner().close()
