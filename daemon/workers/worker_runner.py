"""The runner whose actions run in worker processes. What it needs of secrets it looks up here, and sends no more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio
import anyio.to_thread

from hookline.daemon.actions.catalog import Catalog, UnrunnableError
from hookline.daemon.actions.kits import Kits, make_kit
from hookline.daemon.actions.plugin_folder import read_plugin_folder
from hookline.daemon.actions.previewing import (
    EmptyLookup,
    MaskedLookup,
    PreviewKit,
    preview_kit,
    without_unset,
)
from hookline.daemon.actions.step_check import bare_step, check_use, unrunnable_problem, unused_destinations
from hookline.daemon.actions.step_lookup import StepLookup
from hookline.daemon.config.settings import Destination, Settings
from hookline.daemon.delivery.runner import ActionFacts, Inspection, Rendered, Result, Work, WorkerTally
from hookline.daemon.log import get_logger
from hookline.daemon.outbound.connections import Listeners
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.changes import Outcome
from hookline.daemon.workers.deaths import Deaths
from hookline.daemon.workers.group import Size, WorkerGroup, interrupted
from hookline.daemon.workers.inspector import LOAD_SECONDS, Inspector, InspectorError
from hookline.daemon.workers.messages import place_values
from hookline.daemon.workers.plan import Plan
from hookline.daemon.workers.rehearser import Rehearser
from hookline.daemon.workers.worker import Surroundings
from hookline.rules import Event, Problem, Step


@dataclass(slots=True, kw_only=True, eq=False)
class _House:
    """What the runners of one daemon share, each following another."""

    listeners: Listeners
    load_seconds: float
    #: Of the runner that is live, and of each that may become so or only tries something out.
    secrets: list[Secrets]
    deaths: Deaths = field(default_factory=Deaths)
    tally: WorkerTally = field(default_factory=WorkerTally)
    live: WorkerRunner | None = None
    #: Those that may have workers, the live one last.
    groups: list[WorkerGroup] = field(default_factory=list)
    #: Of the live one's plug-ins; None until somebody asks.
    rehearser: Rehearser | None = None

    def masked(self, text: str) -> str:
        """Hide every secret that was given out."""
        for one in self.secrets:
            text = one.masked(text)
        return text


class WorkerRunner:
    """The `LiveRunner` of a daemon with workers. Use it in one event loop, in the main thread."""

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        *,
        listeners: Listeners = tuple,
        load_seconds: float = LOAD_SECONDS,
    ) -> None:
        """Start nothing yet.

        `listeners`: our own addresses and ports at this moment, which are never dialled. `load_seconds`: how long one
        plug-in may take to load.
        """
        self._settings = settings
        self._secrets = secrets
        self._lookup = secrets.with_variables(settings.vars)
        self._kits = Kits(settings.vars, self._lookup)
        self._house = _House(listeners=listeners, load_seconds=load_seconds, secrets=[secrets])
        self._inspector: Inspector | None = None
        self._group: WorkerGroup | None = None
        self._catalog = Catalog(settings.destinations, {})
        self._is_closed = False

    def for_settings(self, settings: Settings, secrets: Secrets) -> WorkerRunner:
        """Return a runner of another configuration; its `go_live` keeps these workers if plug-ins are the same."""
        other = WorkerRunner(settings, secrets)
        other._house = self._house
        self._house.secrets.append(secrets)
        return other

    @property
    def tally(self) -> WorkerTally:
        """How many workers there are and were."""
        return self._house.tally

    @property
    def catalog(self) -> Catalog:
        """What there is, by the last `inspect`."""
        return self._catalog

    @property
    def without_worker(self) -> timedelta:
        """How long there has been no worker that serves."""
        return timedelta(0) if self._group is None else self._group.without_worker

    async def inspect(self) -> Inspection:
        """Have a fresh worker load the plug-ins that are there now, and say what there is."""
        if self._inspector is not None:
            await self._inspector.close()
        folder = await anyio.to_thread.run_sync(read_plugin_folder, self._settings.plugins)
        plan = Plan(folder=folder, memory_bytes=self._settings.worker_memory_bytes)
        self._inspector = Inspector(plan, self._surroundings(), seconds=self._house.load_seconds)
        try:
            await self._inspector.load()
        except (InspectorError, OSError) as error:
            hint = "see to it that processes can be started, then try again"
            problem = Problem(place=None, path="workers", message=str(error), hint=hint)
            return Inspection(actions={}, problems=(problem,))
        actions, problems = self._inspector.actions, self._inspector.problems
        self._catalog = Catalog(
            self._settings.destinations,
            actions,
            problems,
            allow_commands=self._settings.allow_commands,
            why_set_aside=self._house.deaths.why_set_aside,
        )
        return Inspection(actions=actions, problems=problems)

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Check each step's options, laid over its destination's, and every destination's own."""
        if self._inspector is None:
            await self.inspect()
        assert self._inspector is not None  # noqa: S101 - made by inspect
        # In a thread: ten thousand steps take seconds, and events keep coming.
        found, items = await anyio.to_thread.run_sync(self._prepare_checks, steps)
        try:
            found.update(dict.fromkeys(await self._inspector.validate(items)))
        except InspectorError as error:
            hint = "a check must be quick, and never end the process"
            found[Problem(place=None, path="plugins", message=str(error), hint=hint)] = None
        return tuple(found)

    def _prepare_checks(self, steps: Sequence[Step]) -> tuple[dict[Problem, None], list[dict[str, Any]]]:
        found: dict[Problem, None] = {}
        items = []
        for step in steps:
            try:
                action, destination = self._catalog.find(step)
            except UnrunnableError as error:
                found[unrunnable_problem(step, error)] = None
                continue
            found.update(dict.fromkeys(check_use(step, action, destination)))
            items.append(self._item(step, action, destination, StepLookup(self._lookup, step)))
        for destination in unused_destinations(self._settings.destinations, steps):
            step = bare_step(destination)
            try:
                action, _ = self._catalog.find(step)
            except UnrunnableError:
                continue
            item = self._item(step, action, destination, StepLookup(self._lookup, step))
            items.append({**item, "step": None, "place": None})
        return found, items

    def _item(
        self, step: Step, action: ActionFacts, destination: Destination | None, lookup: StepLookup
    ) -> dict[str, Any]:
        kit = make_kit(step, action, destination, variables=self._settings.vars, lookup=lookup)
        about = None
        if destination is not None:
            where = place_values(destination.place)
            about = {"name": destination.name, "options": destination.options, "place": where}
        place = place_values(step.place)
        return {"kit": kit.to_json(), "destination": about, "label": step.label, "step": step.text, "place": place}

    def go_live(self) -> None:
        """Take over: with the workers there are if plug-ins are the same, else with new ones while those finish."""
        house, inspector = self._house, self._inspector
        assert inspector is not None, "inspect comes first"  # noqa: S101
        worker, self._inspector = inspector.give_up_worker(), None
        house.live, house.secrets = self, [self._secrets]
        former = house.groups[-1] if house.groups else None
        if former is not None and self._may_keep(former, inspector.plan):
            self._group = former
            if worker is not None:
                worker.kill()
            return
        size = Size(workers=self._settings.workers, memory_bytes=self._settings.worker_memory_bytes)
        self._group = WorkerGroup(
            inspector.plan, size, self._surroundings(), deaths=house.deaths, listeners=house.listeners
        )
        self._group.begin(worker)
        if former is not None:
            former.retire()
        house.groups = [*(group for group in house.groups if not group.has_ended), self._group]

    @staticmethod
    def _may_keep(group: WorkerGroup, plan: Plan) -> bool:
        # What could not be loaded may load now, for a reason that lies elsewhere.
        return plan.is_well and group.plan.digest == plan.digest

    async def run(self, work: Work) -> Result:
        """Have a worker render the step for the delivery and run its action."""
        group = self._group
        if group is None:
            return interrupted("no worker was ready for it")
        try:
            action, destination = self._catalog.find(work.step)
        except UnrunnableError as error:
            return Result(outcome=Outcome.TRANSIENT, duration=timedelta(0), note=str(error), is_unrunnable=True)
        return await group.run(work, self._kits.kit(work.step, action, destination), action)

    async def preview(self, event: Event, steps: Sequence[Step], *, is_typed: bool = False) -> Sequence[Rendered]:
        """Have steps rendered in a process of their own."""
        lookup = MaskedLookup(self._settings, None if is_typed else self._secrets)
        kits = [preview_kit(step, self._catalog, lookup) for step in steps]
        asked = [kit for kit in kits if isinstance(kit, PreviewKit)]
        shown = iter(await (await self._rehearser()).show(event, asked) if asked else ())
        return [kit if isinstance(kit, Rendered) else next(shown) for kit in kits]

    async def check(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Have steps that somebody typed checked in a process of their own."""
        found: dict[Problem, None] = {}
        items = []
        lookups = [StepLookup(EmptyLookup(self._settings), step) for step in steps]
        for step, lookup in zip(steps, lookups, strict=True):
            try:
                action, destination = self._catalog.find(step)
            except UnrunnableError as error:
                found[unrunnable_problem(step, error)] = None
                continue
            found.update(dict.fromkeys(check_use(step, action, destination)))
            items.append(self._item(step, action, destination, lookup))
        problems = await (await self._rehearser()).validate(items) if items else ()
        for lookup in lookups:
            problems = tuple(without_unset(problems, lookup))
        return [*found, *problems]

    async def warm(self) -> None:
        """Have the process start in which steps are rendered to be looked at."""
        (await self._rehearser()).warm()

    async def _rehearser(self) -> Rehearser:
        house = self._house
        assert self._group is not None, "go_live comes first"  # noqa: S101
        plan, former = self._group.plan, house.rehearser
        if former is None or former.plan is not plan:
            new = house.rehearser = Rehearser(plan, self._surroundings())
            if former is not None:
                await former.close()
            return new
        return former

    async def close(self) -> None:
        """End every worker, if this is the live runner; else the one that only inspected."""
        house = self._house
        groups = house.groups if house.live is self else []
        if house.live is not self and not self._is_closed and self._secrets in house.secrets:
            house.secrets.remove(self._secrets)
        self._is_closed = True
        try:
            if self._inspector is not None:
                await self._inspector.close()
            if house.live is self and house.rehearser is not None:
                await house.rehearser.close()
            for group in groups:
                await group.close()
        finally:
            for group in groups:
                group.kill()

    def _surroundings(self) -> Surroundings:
        return Surroundings(environ=os.environ, log=get_logger(), mask=self._house.masked, tally=self._house.tally)
