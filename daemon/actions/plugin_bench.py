"""Runs one action outside the daemon for its author's tests: the `Bench` of `hookline.plugins.testing`."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from hookline.daemon.actions.executor import Executor
from hookline.daemon.actions.kits import make_kit
from hookline.daemon.actions.local_runner import RESERVED_NAMES
from hookline.daemon.actions.plugin_folder import PluginFolder, read_plugin_folder
from hookline.daemon.actions.registry import Action, PluginLoadError, load_actions, read_action
from hookline.daemon.actions.step_check import check_step
from hookline.daemon.config.settings import Destination
from hookline.daemon.outbound.connections import Outbound
from hookline.plugins import Delivery
from hookline.plugins.testing.running import Named, Ran
from hookline.rules import Modifiers, Step
from hookline.rules.world import NoLookup

_LOOKUP = NoLookup()


class PluginBench:
    """One action, loaded; it can be run again and again, in one loop."""

    def __init__(self, named: Named) -> None:
        """Load a file of a plug-ins folder, a module, or an action that is known by name.

        Raises `LookupError` that says what is wrong, with file and line.
        """
        self._action = _load(named)

    @property
    def name(self) -> str:
        """What rules call it."""
        return self._action.name

    @property
    def module(self) -> Any:
        """Where its `Options` and `deliver` stand."""
        return sys.modules[self._action.deliver.__module__]

    @property
    def is_async(self) -> bool:
        """False: a plain function, which runs in a thread."""
        return self._action.is_async

    def mistakes(self, options: Mapping[str, Any]) -> Sequence[str]:
        """Return what `hookline check` would say of options."""
        problems = check_step(self._step(options, "", to=None), self._action, None, _LOOKUP)
        return [f"{problem.path}: {problem.message}" for problem in problems]

    async def run(
        self, options: Mapping[str, Any], delivery: Delivery, *, limit: timedelta, allow_networks: Sequence[str]
    ) -> Ran:
        """Make one attempt."""
        destination = Destination(
            name=delivery.destination,
            action=self.name,
            options={},
            modifiers=Modifiers(),
            concurrency=1,
            allow_networks=tuple(map(ip_network, allow_networks)),
        )
        step = self._step(options, delivery.rule, to=destination.name)
        kit = make_kit(step, self._action.facts, destination, variables={}, lookup=_LOOKUP)
        seen, log, outbound = _Seen(), _Lines(), Outbound()
        executor = Executor(lambda _: _watched(self._action, seen), outbound=outbound, log=log)
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            try:
                result = await executor.run(kit, delivery, limit)
            finally:
                await outbound.close()
        return Ran(
            outcome=result.outcome.value,
            status=result.status,
            note=result.note,
            answer=result.answer,
            retry_after=result.retry_after,
            options=seen.options,
            returned=seen.returned,
            raised=seen.raised,
            swallowed_cancellation=seen.swallowed,
            log=tuple(log.kept),
            printed=out.getvalue(),
            is_timed_out=result.duration >= limit,
        )

    def _step(self, options: Mapping[str, Any], rule: str, *, to: str | None) -> Step:
        return Step(
            rule=rule,
            rule_facts={"name": rule},
            destination=to,
            action=self.name if to is None else None,
            options=options,
            modifiers=Modifiers(),
            vars={},
        )


@dataclass(slots=True)
class _Seen:
    """What came of the call itself."""

    options: BaseModel | None = None
    returned: Any = None
    raised: BaseException | None = None
    swallowed: bool = False


@dataclass(slots=True)
class _Lines:
    """A log that keeps what it is told."""

    kept: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def bind(self, **_: Any) -> _Lines:
        return self

    def debug(self, event: str, **fields: Any) -> None:
        self.kept.append((event, fields))

    info = warning = debug


def _load(named: Named) -> Action:
    if isinstance(named, ModuleType):
        name = named.__name__.rpartition(".")[2]
        try:
            return read_action(named, name, origin=str(named.__file__), digest="")
        except PluginLoadError as error:
            raise LookupError(f"{named.__file__}:{error.line}: {error}") from error
    folder = read_plugin_folder(named.parent) if isinstance(named, Path) else PluginFolder()
    name = named.stem if isinstance(named, Path) else named
    loaded = load_actions(folder, reserved=RESERVED_NAMES)
    found = loaded.by_name.get(name)
    is_other = isinstance(named, Path) and found is not None and found.facts.origin != str(named)
    if found is None or is_other:
        problems = [str(one) for one in loaded.problems if one.path in (name, "plugins")]
        raise LookupError("; ".join(problems) or f'there is no action "{name}"')
    return found


def _watched(action: Action, seen: _Seen) -> Action:
    """Return the action, its calls noted."""

    async def deliver(delivery: Delivery, options: BaseModel, context: Any) -> Any:
        seen.options = options
        task = asyncio.current_task()
        try:
            seen.returned = await action.deliver(delivery, options, context)
        except BaseException as error:
            seen.raised = error
            seen.swallowed = _was_cancelled(task) and not isinstance(error, asyncio.CancelledError)
            raise
        seen.swallowed = _was_cancelled(task)
        return seen.returned

    def deliver_plainly(delivery: Delivery, options: BaseModel, context: Any) -> Any:
        seen.options = options
        try:
            seen.returned = action.deliver(delivery, options, context)
        except BaseException as error:
            seen.raised = error
            raise
        return seen.returned

    watched: Callable[..., Any] = deliver if action.is_async else deliver_plainly
    return replace(action, deliver=watched)


def _was_cancelled(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and task.cancelling() > 0
