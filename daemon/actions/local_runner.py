"""The runner in the parent process: renders a step, runs its action, and says how it ended."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import anyio
import anyio.to_thread
from pydantic import BaseModel

from hookline.daemon.config.settings import Destination, Settings
from hookline.daemon.delivery.actions import Action, Actions, load_actions
from hookline.daemon.delivery.context import AttemptContext, BlockingContext, MaskingLog
from hookline.daemon.delivery.dry_run import DRY_RUN_NOTE, dry_run_text, is_dry_run
from hookline.daemon.delivery.masking import Mask, credentials_of, shown_options
from hookline.daemon.delivery.options import OptionsError, PreparedOptions, prepare
from hookline.daemon.delivery.outbound import Listeners, Outbound
from hookline.daemon.delivery.runner import Inspection, Result
from hookline.daemon.delivery.step_check import check_options, check_step
from hookline.daemon.delivery.step_lookup import StepLookup
from hookline.daemon.log import get_logger
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.changes import Outcome
from hookline.plugins import Delivery, PermanentError, TransientError
from hookline.rules import Event, Json, Modifiers, Problem, Step
from hookline.rules.modifiers import MODIFIER_NAMES
from hookline.rules.options import lay_over
from hookline.rules.problem import dotted
from hookline.rules.suggestion import suggest
from hookline.rules.template import TemplateError

#: Of an answer, this much is kept with the attempt.
MAX_ANSWER_CHARACTERS = 4096
MAX_NOTE_CHARACTERS = 4096
#: Steps whose compiled options are kept at hand.
MAX_PREPARED_STEPS = 10_000
#: Plain functions that run at one time.
MAX_THREADS = 40

_MODIFIERS_AND_LIMITS = frozenset(MODIFIER_NAMES) | {"concurrency", "allow_networks"}


class UnrunnableError(Exception):
    """The step's destination or action does not exist. Caught by `run`, `render`, `validate`, previews."""

    def __init__(self, message: str, *, is_broken: bool = False) -> None:
        """`is_broken`: its plug-in is there, and could not be loaded."""
        super().__init__(message)
        self.is_broken = is_broken


@dataclass(slots=True)
class _Prepared:
    """A step's options with all that they were made from."""

    options: PreparedOptions
    action: Action
    destination: Destination | None
    lookup: StepLookup
    _mask: Mask | None = None

    def mask(self, filled: BaseModel) -> Mask:
        """Return what hides the secrets of `filled`; it is kept if these options are the same for every event."""
        mask = self._mask or Mask(self.options.secrets, tuple(credentials_of(filled)))
        if not self.options.computed:
            self._mask = mask
        return mask


class LocalRunner:
    """The `Runner` that runs actions in this process: `workers: 0`, and all there is until there are workers."""

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
        self._actions: Actions | None = None
        #: Those of the runner that this one follows.
        self._before: Actions | None = None
        self._prepared: dict[str, _Prepared] = {}
        self._threads = anyio.CapacityLimiter(MAX_THREADS)
        self._log = get_logger()

    def for_settings(self, settings: Settings, secrets: Secrets) -> LocalRunner:
        """Return a runner of another configuration: connections, threads and unchanged plug-ins are these.

        Either may be used while the other is; close one of them.
        """
        other = LocalRunner(settings, secrets, is_offline=self._is_offline)
        other._outbound, other._threads, other._before = self._outbound, self._threads, self._actions
        return other

    async def inspect(self) -> Inspection:
        """Load the actions and say what there is. New files take over only if all of them are well."""
        loaded = await anyio.to_thread.run_sync(
            lambda: load_actions(self._settings.plugins, reserved=_MODIFIERS_AND_LIMITS, before=self._before)
        )
        if self._actions is None or not loaded.problems:
            self._actions = loaded
            self._prepared.clear()
        facts = {name: action.facts for name, action in self._actions.by_name.items()}
        return Inspection(actions=facts, problems=loaded.problems)

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Check each step's options, laid over its destination's, and every destination's own."""
        # In a thread: ten thousand steps take seconds, and events keep coming.
        return await anyio.to_thread.run_sync(self._validate, steps)

    def _validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        found: dict[Problem, None] = {}
        for step in steps:
            try:
                action, destination = self.find(step)
            except UnrunnableError as error:
                # Of a broken plug-in the mistake is the plug-in's, which is reported with its line.
                severity: Literal["error", "warning"] = "warning" if error.is_broken else "error"
                found[Problem(place=step.place, path=step.label, message=str(error), severity=severity)] = None
                continue
            lookup = StepLookup(self._lookup, step)
            found.update(dict.fromkeys(check_step(step, action, destination, lookup)))
            self._soften(found, lookup)
        used = {step.destination for step in steps}
        for destination in self._settings.destinations.values():
            if destination.name not in used:
                lookup = StepLookup(self._lookup, _bare_step(destination))
                found.update(dict.fromkeys(self._check_unused(destination, lookup)))
                self._soften(found, lookup)
        return tuple(found)

    def _check_unused(self, destination: Destination, lookup: StepLookup) -> list[Problem]:
        """Check what a destination says; what it leaves for rules to say may be missing."""
        action = self._registry.by_name.get(destination.action)
        if action is None:
            return []
        where = ("destinations", destination.name, action.name)
        return [
            Problem(
                place=destination.place,
                path=dotted((*where, *mistake.path)),
                message=mistake.message,
                hint=mistake.hint,
            )
            for mistake in check_options(action, destination.options, lookup)
            if mistake.path and mistake.message != "is missing"
        ]

    async def run(self, delivery: Delivery, step: Step, *, limit: timedelta) -> Result:
        """Render the step for the delivery and run its action, at most `limit` long."""
        started = time.perf_counter()

        def ended(outcome: Outcome, note: str, **more: Any) -> Result:
            return Result(outcome=outcome, duration=timedelta(seconds=time.perf_counter() - started), note=note, **more)

        try:
            prepared = self._prepare(step)
        except UnrunnableError as error:
            return ended(Outcome.TRANSIENT, str(error), is_unrunnable=True)
        except TemplateError as error:
            return ended(Outcome.PERMANENT, self._secrets.masked(str(error)))
        try:
            options = self._render(prepared, delivery, step)
        except (TemplateError, OptionsError) as error:
            return ended(Outcome.PERMANENT, Mask(prepared.options.secrets)(str(error)))
        mask = prepared.mask(options)
        if is_dry_run(step, prepared.destination):
            unsent = dry_run_text(prepared.action.name, shown_options(options, mask), MAX_ANSWER_CHARACTERS)
            return ended(Outcome.DELIVERED, DRY_RUN_NOTE, answer=unsent)
        context = AttemptContext(
            delivery,
            outbound=self._outbound,
            targets=prepared.options.targets,
            allow_networks=prepared.destination.allow_networks if prepared.destination else (),
            log=MaskingLog(self._log, delivery, mask),
        )
        outcome, note, more = await self._attempt(prepared.action, delivery, options, context, limit)
        if context.reply is not None:
            more["status"] = context.reply.status
            more["answer"] = mask(context.reply.text[:MAX_ANSWER_CHARACTERS])
            more["is_gone"] = outcome is Outcome.PERMANENT and context.reply.status == 410 and context.is_reply_literal
        return ended(outcome, mask(note)[:MAX_NOTE_CHARACTERS], **more)

    async def _attempt(  # noqa: PLR0911 - a table of endings
        self, action: Action, delivery: Delivery, options: BaseModel, context: AttemptContext, limit: timedelta
    ) -> tuple[Outcome, str, dict[str, Any]]:
        """Call the action and say how it ended. Only cancellation from outside and Ctrl-C pass."""
        with anyio.move_on_after(limit.total_seconds()) as scope:
            try:
                note = await self._call(action, delivery, options, context)
                return Outcome.DELIVERED, note if isinstance(note, str) else "", {}
            except TransientError as error:
                outcome = Outcome.UNKNOWN if error.is_unknown else Outcome.TRANSIENT
                return outcome, str(error), {"retry_after": error.retry_after}
            except PermanentError as error:
                return Outcome.PERMANENT, str(error), {}
            except TimeoutError as error:
                return _timed_out(context), f"no answer in time: {error}".rstrip(": "), {}
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if scope.cancel_called or (task is not None and task.cancelling()):
                    raise
                # Nobody cancelled us: the plug-in let go of a cancelled task of its own.
                return Outcome.TRANSIENT, "the action cancelled itself", {}
            # One of the three broad handlers: what a plug-in raises, `sys.exit` included, ends its attempt
            # and nothing else.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                return Outcome.TRANSIENT, _traceback_of(error), {}
        return _timed_out(context), f"no answer within {limit.total_seconds():g} s", {}

    async def _call(self, action: Action, delivery: Delivery, options: BaseModel, context: AttemptContext) -> Any:
        if action.is_async:
            return await action.deliver(delivery, options, context)
        # Let go of at the deadline: a thread cannot be stopped, and the lane must not wait for it.
        return await anyio.to_thread.run_sync(
            action.deliver, delivery, options, BlockingContext(context), abandon_on_cancel=True, limiter=self._threads
        )

    async def render(self, delivery: Delivery, step: Step) -> Mapping[str, Any]:
        """Return what `run` would hand to the action, secrets masked. Raises `ValueError`."""
        try:
            prepared = self._prepare(step)
        except UnrunnableError as error:
            raise ValueError(str(error)) from error
        options = self._render(prepared, delivery, step)
        return shown_options(options, prepared.mask(options))

    async def close(self) -> None:
        """Let go of connections."""
        await self._outbound.close()

    @property
    def _registry(self) -> Actions:
        if self._actions is None:
            self._actions = load_actions(self._settings.plugins, reserved=_MODIFIERS_AND_LIMITS)
        return self._actions

    def find(self, step: Step) -> tuple[Action, Destination | None]:
        """Return the step's action, and its destination if it names one. Raises `UnrunnableError`."""
        return self.look_up(step.destination, step.action)

    def look_up(self, destination_name: str | None, action_name: str | None) -> tuple[Action, Destination | None]:
        """Return the action that a destination uses, or that is named itself. Raises `UnrunnableError`."""
        destination = None
        name = action_name or ""
        if destination_name is not None:
            destination = self._settings.destinations.get(destination_name)
            if destination is None:
                hint = suggest(destination_name, self._settings.destinations, what="destinations")
                raise UnrunnableError(f'no destination "{destination_name}"' + (f"; {hint}" if hint else ""))
            name = destination.action
        action = self._registry.by_name.get(name)
        if action is None:
            broken = next((problem for problem in self._registry.problems if problem.path == name), None)
            hint = str(broken) if broken else suggest(name, self._registry.by_name, what="actions")
            raise UnrunnableError(f'no action "{name}"' + (f"; {hint}" if hint else ""), is_broken=broken is not None)
        return action, destination

    def _prepare(self, step: Step) -> _Prepared:
        """Return the step compiled; again if its destination, its action or a `${…}` has changed since."""
        action, destination = self.find(step)
        kept = self._prepared.get(step.digest)
        if kept and kept.action is action and kept.destination is destination and kept.lookup.is_current():
            return kept
        lookup = StepLookup(self._lookup, step)
        options = lay_over(destination.options, step.options) if destination else step.options
        prepared = _Prepared(prepare(action.options, options, lookup), action, destination, lookup)
        if len(self._prepared) >= MAX_PREPARED_STEPS:
            self._prepared.pop(next(iter(self._prepared)))
        self._prepared[step.digest] = prepared
        return prepared

    def _render(self, prepared: _Prepared, delivery: Delivery, step: Step) -> BaseModel:
        return prepared.options.fill_in(template_variables(delivery.event, step, self._settings.vars))

    def _soften(self, found: dict[Problem, None], lookup: StepLookup) -> None:
        """Offline, what is wrong only because a secret is not set here is a warning."""
        if not self._is_offline:
            return
        for problem in [problem for problem in found if any(name in problem.message for name in lookup.unset)]:
            del found[problem]
            found[replace(problem, severity="warning")] = None


def template_variables(event: Event, step: Step, variables: Mapping[str, Json]) -> dict[str, Any]:
    """Return what templates see; `variables` are the configuration's, under those that the rule named."""
    return {
        "event": event,
        "payload": event.payload,
        "vars": {**variables, **step.vars},
        "rule": step.rule_facts,
    }


def _bare_step(destination: Destination) -> Step:
    """Return a step that adds nothing to its destination."""
    return Step(
        rule="", rule_facts={}, destination=destination.name, action=None, options={}, modifiers=Modifiers(), vars={}
    )


def _timed_out(context: AttemptContext) -> Outcome:
    return Outcome.UNKNOWN if context.was_sent else Outcome.TRANSIENT


def _traceback_of(error: BaseException) -> str:
    """Return the end of the traceback: the error and the lines next to it."""
    lines = traceback.format_exception(error)
    return f"{type(error).__name__}: {error}\n{''.join(lines)[-3000:]}"
