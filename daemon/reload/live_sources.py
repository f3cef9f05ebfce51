"""The sources that are live, and the secrets that their senders bring themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from structlog.typing import FilteringBoundLogger

from hookline.daemon.config.settings import Settings
from hookline.daemon.outbound.addresses import AddressPolicy
from hookline.daemon.reload.generation import Generation
from hookline.daemon.sources.build import build_source
from hookline.daemon.sources.declared import DeclaredSource
from hookline.daemon.sources.learned import WAIT, KeptSecrets
from hookline.daemon.sources.outside import HttpOutside
from hookline.daemon.sources.port import Source, SourceSettings
from hookline.rules import Problem, RulesError
from hookline.rules.units import format_duration

_FIRST_COMES_STEP = "anybody may send the first secret: add a path_token; it takes no other once it has one"
_UNVERIFIED_STEP = "anybody may send to it: add a path_token"


class LearnsNothingError(Exception):
    """A source whose sender brings no secret. Caught by the admin API, which answers 409."""


class LiveSources:
    """Builds the configured sources and keeps what they learn."""

    def __init__(self, learned: KeptSecrets, *, live: Callable[[], Generation], log: FilteringBoundLogger) -> None:
        """Open nothing. `learned`: what senders bring. `live` returns what is live."""
        self._live = live
        self._log = log
        self._learned = learned
        # What a sender names may be fetched from public addresses alone.
        self._outside = HttpOutside(AddressPolicy(is_literal=False).refusal)

    def build(self, settings: Settings, former: Generation | None) -> dict[str, Source]:
        """Return the sources of a configuration by name; those that are as they were are those of `former`.

        Raises `RulesError` if a package cannot build one after all.
        """
        built: dict[str, Source] = {}
        problems: list[Problem] = []
        for name, source in settings.sources.items():
            # A source may have fetched keys: one that did not change keeps them.
            if former is not None and _is_same(source, settings, former.settings):
                built[name] = former.sources[name]
                continue
            try:
                built[name] = build_source(
                    source,
                    types=settings.source_types,
                    batch_limit=settings.limits.batch,
                    dedupe_window=settings.retention.dedupe,
                    outside=self._outside,
                    learned=self._learned,
                )
            except ValueError as error:
                problems.append(Problem(place=None, path="", message=str(error)))
        if problems:
            raise RulesError(problems)
        return built

    async def open(self) -> None:
        """Read the secrets that were learned. Call before anything is received. Raises `StoreError`."""
        await self._learned.open()

    async def close(self) -> None:
        """Wait for secrets that are being written. Call after the listeners closed."""
        await self._learned.close()

    def warn(self, former: Generation | None = None) -> None:
        """Say which sources take what anybody sends; with `former`, of those that are new or changed since."""
        live = self._live()
        for name, source in live.settings.sources.items():
            is_known = former is not None and former.sources.get(name) is live.sources[name]
            if is_known or "path_token" in source.options:
                continue
            if source.options.get("verify") == "none":
                self._log.warning("source.unverified", source=name, next_step=_UNVERIFIED_STEP)
            elif self._learns(name) and self._learned.is_waiting(name):
                self._log.warning("source.waiting", source=name, next_step=_FIRST_COMES_STEP)

    def status(self) -> list[dict[str, Any]]:
        """Return what is known of each source: `name`, `type`, `waiting` for a secret, and how many it has `learned`.

        `learned` is None for a source whose sender brings none.
        """
        return [
            {
                "name": name,
                "type": source.type,
                "waiting": self._learns(name) and self._learned.is_waiting(name),
                "learned": len(self._learned.known(name)) if self._learns(name) else None,
            }
            for name, source in self._live().settings.sources.items()
        ]

    async def await_secret(self, name: str) -> None:
        """Let a source take one more secret, if it comes soon.

        Raises `KeyError`, `LearnsNothingError`, and `StoreError` if the other nodes cannot be told.
        """
        self._check(name)
        await self._learned.wait(name)
        self._log.info("source.waiting", source=name, limit=format_duration(WAIT))

    async def forget_secrets(self, name: str) -> int:
        """Forget what a source has learned, so that it waits anew; return how many secrets there were.

        Raises `KeyError`, `LearnsNothingError`, and `StoreError` if they cannot be removed.
        """
        self._check(name)
        count = await self._learned.forget(name)
        self._log.warning("source.forgot", source=name, count=count, next_step="make its webhooks anew")
        return count

    def _check(self, name: str) -> None:
        if name not in self._live().sources:
            raise KeyError(name)
        if not self._learns(name):
            raise LearnsNothingError(name)

    def _learns(self, name: str) -> bool:
        source = self._live().sources[name]
        return isinstance(source, DeclaredSource) and source.declaration.verification.learns


def _is_same(source: SourceSettings, settings: Settings, former: Settings) -> bool:
    """Say whether a source would be built as it was before."""
    return (
        former.sources.get(source.name) == source
        and settings.limits.batch == former.limits.batch
        and settings.retention.dedupe == former.retention.dedupe
        and settings.source_types.get(source.type) == former.source_types.get(source.type)
    )
