"""Reloads when somebody asks for it, and when what is on disk has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.config.load import ConfigError
from hookline.daemon.reload.live import Live, ReloadFaultError
from hookline.daemon.reload.watch import EVERY, Watch
from hookline.daemon.store.port import StoreError
from hookline.rules import RulesError


class Reloading:
    """The ways to a reload: the API, SIGHUP, and the watch."""

    def __init__(
        self,
        live: Live,
        *,
        started: anyio.Event,
        catch_up: Callable[[], Awaitable[None]],
        log: FilteringBoundLogger,
        told: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Nothing is reloaded before `started`; `catch_up` is called after each reload that went live.

        `told` is entered for the time of each reload: it tells the service manager.
        """
        self._live = live
        self._watch = Watch(files=live.files, fingerprint=live.look, log=log)
        self._started = started
        self._catch_up = catch_up
        self._log = log
        self._told = told

    async def reload(self) -> str:
        """Reload, and return the version of the rules that are live. Raises as `Live.reload`."""
        await self._started.wait()
        with self._told():
            generation = await self._live.reload()
            await self._catch_up()
        return generation.rules.version

    async def reload_quietly(self) -> None:
        """Reload for somebody who takes no answer: what is wrong is in the log, the status and the metrics."""
        try:
            await self.reload()
        except (ConfigError, RulesError):
            # What is wrong was logged where it was found; a traceback would bury it.
            self._log.warning("reload.kept_old", next_step="hookline check says all that is wrong")
        except StoreError as error:
            self._log.warning("reload.kept_old", why=str(error), next_step="mend the store; SIGHUP tries again")
        except ReloadFaultError:
            self._log.warning("reload.kept_old", next_step="report the fault that was logged")

    async def watch(self) -> None:
        """Reload whenever what is on disk has changed, where the configuration says `reload: watch`; never returns."""
        while True:
            if not self._live.is_watching:
                await anyio.sleep(EVERY.total_seconds())
                continue
            await self._watch.changed(lambda: self._live.fingerprint)
            # It may have been told otherwise meanwhile.
            if self._live.is_watching:
                await self.reload_quietly()
