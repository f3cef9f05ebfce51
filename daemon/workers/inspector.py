"""Has a fresh worker load plug-ins and check options, and names the file if that kills it or does not end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from hookline.daemon.delivery.runner import ActionFacts
from hookline.daemon.workers.messages import event_values, read_facts, read_problem
from hookline.daemon.workers.plan import Plan
from hookline.daemon.workers.wire import Head
from hookline.daemon.workers.worker import Surroundings, Worker, start_worker
from hookline.rules import Event, Place, Problem

#: How long a plug-in may take to load, and options to be checked.
LOAD_SECONDS: Final = 30.0
#: How long a process may take until it begins to load them.
_START_SECONDS: Final = 60.0
#: How many options are checked in one go.
_BATCH: Final = 100


class InspectorError(Exception):
    """The worker that inspects cannot do its work. Caught by the runner."""


class Inspector:
    """A worker that does not serve yet."""

    def __init__(self, plan: Plan, surroundings: Surroundings, *, seconds: float = LOAD_SECONDS) -> None:
        """Start nothing yet. `seconds`: how long one file may take to load."""
        self.plan = plan
        self._surroundings = surroundings
        self._seconds = seconds
        self._worker: Worker | None = None
        self._heard: asyncio.Queue[Head] = asyncio.Queue()
        #: Whether all plug-ins were loaded that can be.
        self.is_loaded = False
        self.actions: dict[str, ActionFacts] = {}
        self.problems: tuple[Problem, ...] = ()

    def begin(self) -> None:
        """Have the worker start and load beside what else goes on; `load` then waits for it. Raises `OSError`."""
        if self._worker is None:
            self._worker = start_worker(self._surroundings, on_frame=self._hear, on_end=self._note_end)
            self._worker.send(*self.plan.frame())

    async def load(self) -> None:
        """Load all plug-ins but those that kill the worker or do not end, which become problems.

        Raises `InspectorError`.
        """
        while True:
            self.begin()
            assert self._worker is not None  # noqa: S101 - it was begun
            loading = ""
            while True:
                head = await self._hear_next(self._seconds if loading else _START_SECONDS)
                if head is None or head[0] == "ended":
                    break
                if head[0] == "loading":
                    loading = str(head[1])
                elif head[0] == "inspected":
                    self._read(head)
                    self.is_loaded = True
                    return
            how = self._worker.how_it_ended if head is not None else ""
            await self._kill()
            if not loading:
                raise InspectorError(f"a worker does not come up: {how or 'it says nothing'}")
            self.plan = self.plan.without(loading, self._problem_of(loading, how))

    async def validate(self, items: Sequence[dict[str, Any]]) -> tuple[Problem, ...]:
        """Have options checked: items as the worker's `main` reads them. Raises `InspectorError`."""
        found: list[Problem] = []
        for start in range(0, len(items), _BATCH):
            if self._worker is None:
                raise InspectorError("the worker that checks options is gone")
            self._worker.send(["validate", items[start : start + _BATCH]])
            label = ""
            while True:
                head = await self._hear_next(self._seconds)
                if head is None or head[0] == "ended":
                    await self._kill()
                    how = "the worker did not end checking" if head is None else "the worker died while it checked"
                    raise InspectorError(f"{how} the options of {label}")
                if head[0] == "checking":
                    label = str(head[1])
                elif head[0] == "validated":
                    found += map(read_problem, head[1])
                    break
        return tuple(found)

    async def show(
        self, event: Event, items: Sequence[dict[str, Any]], *, seconds: float
    ) -> AsyncIterator[tuple[dict[str, Any], str | None]]:
        """Have steps rendered; yields of each its options and why it would fail. Raises `InspectorError`.

        `seconds`: how long one may take. What is not waited for to its end must be closed.
        """
        if self._worker is None:
            raise InspectorError("the worker that renders is gone")
        self._worker.send(["show", event_values(event), items])
        for _ in items:
            match await self._hear_next(seconds):
                case ["shown", dict(options), None | str() as problem]:
                    yield options, problem
                case None:
                    await self._kill()
                    raise InspectorError(f"it takes longer than {seconds:g} s")
                case _:
                    await self._kill()
                    raise InspectorError("the worker died while it was rendered")

    def give_up_worker(self) -> Worker | None:
        """Return the worker, to serve; it is not the inspector's any more."""
        worker, self._worker = self._worker, None
        return worker

    async def close(self) -> None:
        """End the worker, if it is ours yet."""
        await self._kill()

    async def _kill(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            await worker.ended.wait()
        self._heard = asyncio.Queue()

    def _read(self, head: Head) -> None:
        facts = [read_facts(values) for values in head[1]]
        self.actions = {one.name: one for one in facts}
        self.problems = (*map(read_problem, head[2]), *self.plan.problems)

    async def _hear_next(self, seconds: float) -> Head | None:
        try:
            async with asyncio.timeout(seconds):
                return await self._heard.get()
        except TimeoutError:
            return None

    def _hear(self, worker: Worker, head: Head) -> None:
        if worker is self._worker:
            self._heard.put_nowait(head)

    def _note_end(self, worker: Worker) -> None:
        self._hear(worker, ["ended"])

    def _problem_of(self, name: str, how: str) -> Problem:
        what = f"ended the process while it was loaded ({how})" if how else (
            f"was not loaded within {self._seconds:g} s"
        )  # fmt: skip
        hint = "do in deliver what takes time, and never end the process"
        if name in self.plan.folder.texts and self.plan.folder.path is not None:
            path = self.plan.folder.path / name
            return Problem(place=Place(str(path), 1), path=path.stem, message=f"it {what}", hint=hint)
        return Problem(place=None, path="plugins", message=f"the action {name} of a package {what}", hint=hint)
