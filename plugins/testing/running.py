"""Runs an action as the daemon does: its options rendered and checked, its addresses too, under a deadline."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import importlib
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol, TypeVar

from pydantic import BaseModel

from hookline.plugins.delivery import Delivery
from hookline.plugins.testing.deliveries import delivery as example

#: A file, a module, or the name of an action that is built in or offered by an installed package.
Named = Path | ModuleType | str
# What runs actions stands right of here, and imports go one way. It is looked up by name, when an author runs a test:
# a second way to run them here would be one that tells authors what is not so.
_RUNS: Final = "hookline.daemon.actions.plugin_bench"
#: How much longer than its deadline an action may keep the test waiting before the test gives up on it.
_GRACE_S: Final = 5.0

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How one attempt ended, and what was seen of it."""

    #: `delivered`, `transient` (it is tried again), `permanent` (a dead letter), or `unknown` (sent, and no answer).
    outcome: str
    #: What is kept with the attempt: status, note and answer, secrets hidden.
    status: int | None
    note: str
    answer: str
    #: How long the other side asked to wait.
    retry_after: timedelta | None
    #: What the options were when `deliver` got them; None if it was not called.
    options: BaseModel | None
    #: What `deliver` returned, and what it raised; None if neither.
    returned: Any
    raised: BaseException | None
    #: True if it was cancelled at its deadline, and went on as if it had not been.
    swallowed_cancellation: bool
    #: Lines of `context.log`: the event, then its fields.
    log: tuple[tuple[str, Mapping[str, Any]], ...]
    #: What was written to standard output and standard error.
    printed: str
    #: True if the deadline was needed.
    is_timed_out: bool


class Bench(Protocol):
    """One action, loaded."""

    @property
    def name(self) -> str:
        """What rules call it."""
        ...

    @property
    def module(self) -> Any:
        """Where its `Options` and `deliver` stand."""
        ...

    @property
    def is_async(self) -> bool:
        """False: a plain function, which runs in a thread."""
        ...

    def mistakes(self, options: Mapping[str, Any]) -> Sequence[str]:
        """Return what `hookline check` would say of options."""
        ...

    async def run(
        self, options: Mapping[str, Any], delivery: Delivery, *, limit: timedelta, allow_networks: Sequence[str]
    ) -> Ran:
        """Make one attempt."""
        ...


def run(
    action: Named,
    options: Mapping[str, Any],
    delivery: Delivery | None = None,
    *,
    timeout: float = 5.0,
    allow_networks: Sequence[str] = (),
) -> Ran:
    """Run an action once, as a step of a rule that writes `options`, and return how it ended.

    `delivery`: left out, an example. `timeout`: in seconds. `allow_networks`: as on a destination, for a host that a
    template computes. Raises `AssertionError` if the action cannot be loaded, if `hookline check` would refuse the
    options, or if the action does not let itself be stopped.
    """
    bench = load(action)
    mistakes = bench.mistakes(options)
    if mistakes:
        raise AssertionError(f"hookline check refuses these options: {'; '.join(mistakes)}")
    limit = timedelta(seconds=timeout)
    made = bench.run(options, delivery or example(), limit=limit, allow_networks=allow_networks)
    return wait_for(made, timeout + _GRACE_S)


def load(action: Named) -> Bench:
    """Load an action. Raises `AssertionError` that says what is wrong with it, and where."""
    if isinstance(action, Path):
        return _load_file(action.resolve(), action.stat().st_mtime_ns) if action.is_file() else _missing(action)
    return _load(action)


def _missing(path: Path) -> Bench:
    raise AssertionError(f"there is no file {path}")


@functools.lru_cache(maxsize=64)
def _load_file(path: Path, _changed: int) -> Bench:
    return _load(path)


def _load(action: Named) -> Bench:
    try:
        bench: Bench = importlib.import_module(_RUNS).PluginBench(action)
    except LookupError as error:
        raise AssertionError(error.args[0]) from error
    return bench


def wait_for(made: Coroutine[Any, Any, _Answer], seconds: float) -> _Answer:
    """Run a coroutine on the loop that all runs share, as they do in a worker; give up on a loop that is stuck."""
    future = asyncio.run_coroutine_threadsafe(made, _Loop.current())
    try:
        return future.result(seconds)
    except concurrent.futures.TimeoutError:
        _Loop.give_up()
        message = (
            "the action neither ended nor could be cancelled: it blocks the loop (use context.http instead of a "
            "blocking library, or make deliver a plain function), or it swallows cancellation (let "
            "asyncio.CancelledError pass)"
        )
        raise AssertionError(message) from None


class _Loop:
    """An event loop in a thread of its own, which ends with the process."""

    _current: asyncio.AbstractEventLoop | None = None

    @classmethod
    def current(cls) -> asyncio.AbstractEventLoop:
        if cls._current is None:
            cls._current = asyncio.new_event_loop()
            threading.Thread(target=cls._current.run_forever, daemon=True, name="actions under test").start()
        return cls._current

    @classmethod
    def give_up(cls) -> None:
        """Leave the loop to what does not end in it."""
        cls._current = None
