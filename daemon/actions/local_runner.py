"""The runner in the process at hand: `workers: 0`, and every command that does not serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import anyio.to_thread

from hookline.daemon.actions.catalog import Catalog, UnrunnableError
from hookline.daemon.actions.executor import Executor
from hookline.daemon.actions.kits import Kit, Kits
from hookline.daemon.actions.plugin_folder import read_plugin_folder
from hookline.daemon.actions.plugin_imports import install
from hookline.daemon.actions.previewing import EmptyLookup, MaskedLookup, preview_kit, show, without_unset
from hookline.daemon.actions.registry import Action, Actions, load_actions
from hookline.daemon.actions.step_check import (
    bare_step,
    check_destination,
    check_step,
    check_use,
    unrunnable_problem,
    unused_destinations,
)
from hookline.daemon.actions.step_lookup import StepLookup
from hookline.daemon.config.settings import Destination, Settings
from hookline.daemon.delivery.runner import Inspection, Rendered, Result, Work, WorkerTally
from hookline.daemon.log import get_logger
from hookline.daemon.outbound.connections import Listeners, Outbound
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.changes import Outcome
from hookline.plugins import Delivery
from hookline.rules import Event, Problem, Step
from hookline.rules.modifiers import MODIFIER_NAMES

#: What an action cannot be called: these stand beside one.
RESERVED_NAMES = frozenset(MODIFIER_NAMES) | {"concurrency", "allow_networks"}


class LocalRunner:
    """The `Runner` that runs actions in this process."""

    def __init__(
        self, settings: Settings, secrets: Secrets, *, listeners: Listeners = tuple, is_offline: bool = False
    ) -> None:
        """Open nothing yet.

        `listeners`: our own addresses and ports at this moment, which are never dialled.
        `is_offline`: `${NAME}` that are not set are warnings, for checking where the secrets are not.
        """
        self._settings = settings
        self._secrets = secrets
        self._lookup = secrets.with_variables(settings.vars)
        self._is_offline = is_offline
        self._outbound = Outbound(listeners=listeners)
        #: That of the runner that this one may take over from; its connections are not ours to close before.
        self._before: Actions | None = None
        self._is_successor = False
        self._loaded: Actions | None = None
        self._catalog: Catalog | None = None
        self._kits = Kits(settings.vars, self._lookup)
        self._executor = self._new_executor()

    @property
    def without_worker(self) -> timedelta:
        """Nothing: there are none here."""
        return timedelta(0)

    @property
    def tally(self) -> WorkerTally:
        """None: there are none here."""
        return WorkerTally()

    def for_settings(self, settings: Settings, secrets: Secrets) -> LocalRunner:
        """Return a runner of another configuration: connections and unchanged plug-ins are these.

        Either may be used while the other is; `go_live` decides whose they are.
        """
        other = LocalRunner(settings, secrets, is_offline=self._is_offline)
        other._outbound, other._before, other._is_successor = self._outbound, self._loaded, True
        other._executor = other._new_executor()
        return other

    def go_live(self) -> None:
        """Take over from the runner that this one was made of, which has nothing to close any more."""
        self._before, self._is_successor = None, False

    async def inspect(self) -> Inspection:
        """Load the actions and say what there is. New files take over only if all of them are well."""
        loaded = await anyio.to_thread.run_sync(self._load)
        if self._loaded is None or not loaded.problems:
            self._loaded, self._catalog = loaded, None
            self._executor.forget()
        facts = {name: action.facts for name, action in self._loaded.by_name.items()}
        return Inspection(actions=facts, problems=loaded.problems)

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Check each step's options, laid over its destination's, and every destination's own."""
        # In a thread: ten thousand steps take seconds, and events keep coming.
        return await anyio.to_thread.run_sync(self._validate, steps)

    def _validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        found: dict[Problem, None] = {}
        catalog = self.catalog
        for step in steps:
            try:
                facts, destination = catalog.find(step)
            except UnrunnableError as error:
                found[unrunnable_problem(step, error)] = None
                continue
            lookup = StepLookup(self._lookup, step)
            action = self._actions.by_name[facts.name]
            found.update(dict.fromkeys(check_use(step, facts, destination)))
            found.update(dict.fromkeys(check_step(step, action, destination, lookup)))
            self._soften(found, lookup)
        for destination in unused_destinations(self._settings.destinations, steps):
            unused = self._actions.by_name.get(destination.action)
            if unused is not None:
                lookup = StepLookup(self._lookup, bare_step(destination))
                found.update(dict.fromkeys(check_destination(destination, unused, lookup)))
                self._soften(found, lookup)
        return tuple(found)

    async def run(self, work: Work) -> Result:
        """Render the step for the delivery and run its action."""
        try:
            kit = self._kit(work.step)
        except UnrunnableError as error:
            return Result(outcome=Outcome.TRANSIENT, duration=timedelta(0), note=str(error), is_unrunnable=True)
        return await self._executor.run(kit, work.delivery, work.limit)

    async def render(self, delivery: Delivery, step: Step) -> Mapping[str, Any]:
        """Return what `run` would hand to the action, secrets masked. Raises `ValueError`."""
        try:
            kit = self._kit(step)
        except UnrunnableError as error:
            raise ValueError(str(error)) from error
        return await self._executor.render(kit, delivery)

    async def warm(self) -> None:
        """Everything is here already."""

    async def preview(self, event: Event, steps: Sequence[Step], *, is_typed: bool = False) -> Sequence[Rendered]:
        """Say what steps would send for an event."""
        lookup = MaskedLookup(self._settings, None if is_typed else self._secrets)
        return await anyio.to_thread.run_sync(self._preview, event, steps, lookup)

    def _preview(self, event: Event, steps: Sequence[Step], lookup: MaskedLookup) -> list[Rendered]:
        kits = [preview_kit(step, self.catalog, lookup) for step in steps]
        return [
            kit if isinstance(kit, Rendered) else kit.rendered(*show(kit.kit, kit.secretive, self._action, event))
            for kit in kits
        ]

    async def check(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Check steps that somebody typed."""
        return await anyio.to_thread.run_sync(self._check, steps)

    def _check(self, steps: Sequence[Step]) -> list[Problem]:
        found: dict[Problem, None] = {}
        for step in steps:
            try:
                facts, destination = self.catalog.find(step)
            except UnrunnableError as error:
                found[unrunnable_problem(step, error)] = None
                continue
            lookup = StepLookup(EmptyLookup(self._settings), step)
            problems = check_step(step, self._actions.by_name[facts.name], destination, lookup)
            found.update(dict.fromkeys(check_use(step, facts, destination)))
            found.update(dict.fromkeys(without_unset(problems, lookup)))
        return list(found)

    async def close(self) -> None:
        """Let go of connections; of what was loaded and never went live, nothing stays."""
        if not self._is_successor:
            await self._outbound.close()
        elif self._before is not None:
            install(self._before.folder, self._before.modules)

    @property
    def catalog(self) -> Catalog:
        """What there is."""
        if self._catalog is None:
            facts = {name: action.facts for name, action in self._actions.by_name.items()}
            self._catalog = Catalog(
                self._settings.destinations,
                facts,
                self._actions.problems,
                allow_commands=self._settings.allow_commands,
            )
        return self._catalog

    def find(self, step: Step) -> tuple[Action, Destination | None]:
        """Return the step's action, and its destination if it names one. Raises `UnrunnableError`."""
        facts, destination = self.catalog.find(step)
        return self._actions.by_name[facts.name], destination

    @property
    def _actions(self) -> Actions:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> Actions:
        before = self._loaded or self._before
        return load_actions(read_plugin_folder(self._settings.plugins), reserved=RESERVED_NAMES, before=before)

    def _new_executor(self) -> Executor:
        return Executor(self._action, outbound=self._outbound, log=get_logger())

    def _action(self, name: str) -> Action | None:
        return self._actions.by_name.get(name)

    def _kit(self, step: Step) -> Kit:
        return self._kits.kit(step, *self.catalog.find(step))

    def _soften(self, found: dict[Problem, None], lookup: StepLookup) -> None:
        """Offline, what is wrong only because a secret is not set here is a warning."""
        if not self._is_offline:
            return
        for problem in [problem for problem in found if any(name in problem.message for name in lookup.unset)]:
            del found[problem]
            found[replace(problem, severity="warning")] = None
