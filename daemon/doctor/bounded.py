"""Runs functions beside each other and waits for none of them longer than it may take, whatever it hangs on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from hookline.daemon.store.port import StoreError

#: More than any machine has of what can hang: each function needs one.
_MOST_THREADS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A function that gave no result."""

    #: For people.
    why: str
    #: It was not allowed to look: somebody else may be.
    is_forbidden: bool = False


class Bounded:
    """Threads that are left to themselves if what they do does not end, as on a file system whose server is gone."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="doctor")
        self._begun: list[Future[Any]] = []

    @property
    def has_hung(self) -> bool:
        """Whether something still runs: then the process does not end by itself."""
        return any(not future.done() for future in self._begun)

    def begin(self, call: Callable[[], Any]) -> Future[Any]:
        """Run a function on a thread of its own."""
        future = self._threads.submit(call)
        self._begun.append(future)
        return future

    def results(self, futures: Mapping[str, Future[Any]], *, seconds: float) -> dict[str, Any]:
        """Return by name what each function returned, or `Failed`; together they may take `seconds` from now."""
        since = time.monotonic()
        wait(futures.values(), timeout=seconds)
        return {name: _result(future, time.monotonic() - since) for name, future in futures.items()}

    def close(self) -> None:
        """Begin nothing more; what hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[Any], waited: float) -> Any:
    if not future.done():
        return Failed(why=f"gave no answer within {waited:.0f} s")
    error = future.exception()
    if error is None:
        return future.result()
    return failure_of(error)


def failure_of(error: BaseException) -> Failed:
    """Say for people why something could not be looked at."""
    if isinstance(error, PermissionError):
        return Failed(why=f"{error.filename or 'it'} may not be read by this user", is_forbidden=True)
    if isinstance(error, OSError | ValueError | StoreError):
        return Failed(why=str(error))
    return Failed(why=f"the check itself failed: {type(error).__name__}: {error}")
