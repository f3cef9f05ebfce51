"""Carries attempts out in the process at hand: prepares a kit once, renders it, runs its action, hides its secrets."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import anyio
import anyio.to_thread
from pydantic import BaseModel

from hookline.daemon.actions.context import AttemptContext, BlockingContext, MaskingLog
from hookline.daemon.actions.dry_run import DRY_RUN_NOTE, dry_run_text
from hookline.daemon.actions.kits import MAX_KITS, Kit, KitLookup
from hookline.daemon.actions.masking import Mask, credentials_of, shown_options
from hookline.daemon.actions.options import OptionsError, PreparedOptions, prepare
from hookline.daemon.actions.registry import Action
from hookline.daemon.actions.summary import SUMMARY_OPTION, summary_line
from hookline.daemon.actions.variables import delivery_variables
from hookline.daemon.delivery.runner import Result
from hookline.daemon.outbound.addresses import IPNetwork
from hookline.daemon.outbound.connections import Outbound
from hookline.daemon.store.changes import Outcome
from hookline.plugins import Delivery, PermanentError, TransientError
from hookline.rules.template import TemplateError

#: Of an answer, this much is kept with the attempt.
MAX_ANSWER_CHARACTERS = 4096
MAX_NOTE_CHARACTERS = 4096
#: Plain functions that run at one time.
MAX_THREADS = 40


@dataclass(slots=True)
class _Prepared:
    """A kit with all that is made from it once."""

    options: PreparedOptions
    action: Action
    allow_networks: tuple[IPNetwork, ...]
    _mask: Mask | None = None

    def mask(self, filled: BaseModel) -> Mask:
        """Return what hides the secrets of `filled`; it is kept if these options are the same for every event."""
        mask = self._mask or Mask(self.options.secrets, tuple(credentials_of(filled)))
        if not self.options.computed:
            self._mask = mask
        return mask


class Executor:
    """Carries out attempts, many at one time."""

    def __init__(self, find: Callable[[str], Action | None], *, outbound: Outbound, log: Any) -> None:
        """`find` returns an action by its name, and is asked each time. `log` has structlog's `bind`."""
        self._find = find
        self._outbound = outbound
        self._log = log
        self._prepared: dict[str, _Prepared] = {}
        self._threads = anyio.CapacityLimiter(MAX_THREADS)
        self._contexts: dict[str, AttemptContext] = {}
        #: Deliveries whose plain function runs, given up on or not.
        self.in_threads: set[str] = set()

    async def run(self, kit: Kit, delivery: Delivery, limit: timedelta) -> Result:
        """Render the kit for the delivery and run its action. Raises nothing but the caller's own cancellation."""
        started = time.perf_counter()

        def ended(outcome: Outcome, note: str, **more: Any) -> Result:
            return Result(outcome=outcome, duration=timedelta(seconds=time.perf_counter() - started), note=note, **more)

        try:
            prepared = self._prepare(kit)
            options = _filled(prepared.options, kit, delivery)
        except LookupError as error:
            return ended(Outcome.TRANSIENT, str(error.args[0]), is_unrunnable=True)
        except (TemplateError, OptionsError) as error:
            secrets = (*kit.secrets.values(), *kit.files.values())
            return ended(Outcome.PERMANENT, Mask(secrets)(str(error)))
        mask = prepared.mask(options)
        if kit.is_dry_run:
            unsent = dry_run_text(prepared.action.name, shown_options(options, mask), MAX_ANSWER_CHARACTERS)
            return ended(Outcome.DELIVERED, DRY_RUN_NOTE, answer=unsent)
        context = AttemptContext(
            delivery,
            outbound=self._outbound,
            targets=prepared.options.targets,
            allow_networks=prepared.allow_networks,
            log=MaskingLog(self._log, delivery, mask),
            limit=limit,
        )
        self._contexts[delivery.id] = context
        try:
            outcome, note, more = await self._attempt(prepared.action, delivery, options, context, limit)
        finally:
            # A lease that was lost and taken anew may have a second attempt of it here.
            if self._contexts.get(delivery.id) is context:
                del self._contexts[delivery.id]
        if context.reply is not None:
            more["status"] = context.reply.status
            more["answer"] = mask(context.reply.text[:MAX_ANSWER_CHARACTERS])
            more["is_gone"] = outcome is Outcome.PERMANENT and context.reply.status == 410 and context.is_reply_literal
        return ended(outcome, mask(note)[:MAX_NOTE_CHARACTERS], **more)

    async def render(self, kit: Kit, delivery: Delivery) -> Mapping[str, Any]:
        """Return what `run` would hand to the action, secrets masked. Raises `ValueError`."""
        try:
            prepared = self._prepare(kit)
        except LookupError as error:
            raise ValueError(error.args[0]) from error
        options = _filled(prepared.options, kit, delivery)
        return shown_options(options, prepared.mask(options))

    def how_cut_off(self, delivery_id: str) -> Outcome:
        """Say how an attempt ended that is cut off now: unknown, if something of it was sent."""
        context = self._contexts.get(delivery_id)
        return Outcome.TRANSIENT if context is None else _timed_out(context)

    def forget(self) -> None:
        """Prepare every kit anew: actions have changed."""
        self._prepared.clear()

    def _prepare(self, kit: Kit) -> _Prepared:
        """Return the kit compiled. Raises `LookupError` if there is no such action, and `TemplateError`."""
        prepared = self._prepared.get(kit.digest)
        if prepared is None:
            action = self._find(kit.action)
            if action is None:
                raise LookupError(f'no action "{kit.action}"')
            options = prepare(action.options, kit.options, KitLookup(kit))
            prepared = _Prepared(options, action, tuple(map(ip_network, kit.allow_networks)))
            if len(self._prepared) >= MAX_KITS:
                self._prepared.pop(next(iter(self._prepared)))
            self._prepared[kit.digest] = prepared
        return prepared

    async def _attempt(  # noqa: PLR0911 - a table of endings
        self, action: Action, delivery: Delivery, options: BaseModel, context: AttemptContext, limit: timedelta
    ) -> tuple[Outcome, str, dict[str, Any]]:
        """Call the action and say how it ended. Only cancellation from outside passes."""
        try:
            # Not anyio's: that cancels again and again, and one that swallows it would take all of the loop's time.
            async with asyncio.timeout(limit.total_seconds()):
                try:
                    note = await self._call(action, delivery, options, context)
                    return Outcome.DELIVERED, note if isinstance(note, str) else "", {}
                except TransientError as error:
                    outcome = Outcome.UNKNOWN if error.is_unknown else Outcome.TRANSIENT
                    return outcome, str(error), {"retry_after": _as_wait(error.retry_after)}
                except PermanentError as error:
                    return Outcome.PERMANENT, str(error), {}
                except TimeoutError as error:
                    return _timed_out(context), f"no answer in time: {error}".rstrip(": "), {}
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise
                    # Nobody cancelled us: the plug-in let go of a cancelled task of its own.
                    return Outcome.TRANSIENT, "the action cancelled itself", {}
                except GeneratorExit:
                    # The coroutine is thrown away, and must not go on.
                    raise
                # One of the three broad handlers: what a plug-in raises, `sys.exit` and errors that are no
                # `Exception` included, ends its attempt and nothing else.
                except BaseException as error:  # noqa: BLE001
                    return Outcome.TRANSIENT, _traceback_of(error), {}
        except TimeoutError:
            return _timed_out(context), f"no answer within {limit.total_seconds():g} s", {}

    async def _call(self, action: Action, delivery: Delivery, options: BaseModel, context: AttemptContext) -> Any:
        process = os.getpid()
        if action.is_async:
            answer = await action.deliver(delivery, options, context)
            _end_if_forked(process)
            return answer

        def call() -> Any:
            self.in_threads.add(delivery.id)
            try:
                return action.deliver(delivery, options, BlockingContext(context))
            finally:
                _end_if_forked(process)
                self.in_threads.discard(delivery.id)

        # Let go of at the deadline: a thread cannot be stopped, and the lane must not wait for it.
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)


def _filled(prepared: PreparedOptions, kit: Kit, delivery: Delivery) -> BaseModel:
    """Return the action's options for the delivery. Raises `TemplateError` and `OptionsError`."""
    if not prepared.computed and not delivery.suppressed:
        # The same for every event, so its payload need not even be read.
        return prepared.fill_in({})
    variables = delivery_variables(delivery, rule=kit.rule, variables=kit.vars)
    if not delivery.suppressed:
        return prepared.fill_in(variables)
    rendered = prepared.render(variables)
    within = None if kit.once_within is None else timedelta(seconds=kit.once_within)
    rendered[SUMMARY_OPTION] = summary_line(delivery.suppressed, within, delivery.rule)
    return prepared.validate(rendered)


def _end_if_forked(process: int) -> None:
    if os.getpid() != process:
        # The plug-in has forked, and this is the copy: going on would answer and send everything twice.
        os._exit(0)


def _as_wait(asked: Any) -> timedelta | None:
    return asked if isinstance(asked, timedelta) else None


def _timed_out(context: AttemptContext) -> Outcome:
    return Outcome.UNKNOWN if context.was_sent else Outcome.TRANSIENT


def _traceback_of(error: BaseException) -> str:
    """Return the end of the traceback: the error and the lines next to it."""
    lines = traceback.format_exception(error)
    return f"{type(error).__name__}: {error}\n{''.join(lines)[-3000:]}"
