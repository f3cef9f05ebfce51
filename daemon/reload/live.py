"""What is live, and how something else comes to be: built and checked beside it, kept in the store, then swapped in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.config.load import ConfigError, load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.delivery.runner import LiveRunner
from hookline.daemon.reload.collector import set_aside, take_apart, without_full_collections
from hookline.daemon.reload.generation import AT_START, Generation, policies_of
from hookline.daemon.reload.history import HISTORY, WentLive, live_history, with_latest
from hookline.daemon.reload.live_rules import check_rules, last_good_rules
from hookline.daemon.reload.live_sources import LiveSources
from hookline.daemon.reload.watch import Fingerprints, files_of
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.port import Store, StoreError
from hookline.rules import Json, Problem, RulesError, RuleSet

#: How many reloads are remembered.
_REMEMBERED: Final = 20
#: How a reload ended: it is live; what is on disk is bad; the store could not keep it; a fault of ours.
Outcome = Literal["live", "refused", "failed", "fault"]


class ReloadFaultError(Exception):
    """A reload that failed by a fault of ours. Caught where it was asked for: what was live still is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReload:
    """How the last reload, or the start, ended."""

    at: datetime
    outcome: Outcome
    #: Why what runs is not what is on disk; empty if it is.
    problems: tuple[Problem, ...] = ()
    #: When what is on disk went live last; None: not since the start, which runs the last good rules.
    live_at: datetime | None = None

    def to_json(self) -> dict[str, Json]:
        """Return when and how as JSON; the problems stand elsewhere."""
        live_at = None if self.live_at is None else self.live_at.isoformat()
        return {"at": self.at.isoformat(), "outcome": self.outcome, "live_at": live_at}


class Live:
    """Holds the generation that is live. Everybody asks it each time, so that a swap counts at once and for all."""

    def __init__(  # noqa: PLR0913 - what a generation is made with, each by name
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        runner: LiveRunner,
        sources: LiveSources,
        store: Store,
        clock: Callable[[], datetime],
        log: FilteringBoundLogger,
        on_live: Callable[[], None],
        on_reload: Callable[[LastReload], None],
    ) -> None:
        """Nothing is live until `start` returns.

        `runner` is of `settings`; it, and those that follow it, are closed by `close`. `on_live` is called at each
        swap, before anything else gets a turn; `on_reload` when a start or reload has ended.
        """
        self._at_start = settings
        self._environ = environ
        self._first_runner = runner
        self._sources = sources
        self._store = store
        self._clock = clock
        self._log = log
        self._on_live = on_live
        self._on_reload = on_reload
        self._one_at_a_time = anyio.Lock()
        self._fingerprints = Fingerprints()
        self._current: Generation | None = None
        #: The runner of a reload that is not live yet.
        self._candidate: LiveRunner | None = None
        #: The configuration that was tried last, live or not: what it names is watched too.
        self._tried = settings
        self._tried_secrets = Secrets(environ, folder=settings.path.parent)
        #: Of what was tried last; None if it is to be tried again.
        self.fingerprint: Mapping[Path, str] | None = None
        self.last: LastReload | None = None
        #: The last ones of this process, the start among them; the newest last.
        self.history: deque[LastReload] = deque(maxlen=_REMEMBERED)

    @property
    def current(self) -> Generation:
        """What is live."""
        assert self._current is not None, "start comes first"  # noqa: S101
        return self._current

    @property
    def is_watching(self) -> bool:
        """Whether a change on disk is to go live by itself."""
        return self.current.settings.reload == "watch"

    def files(self) -> frozenset[Path]:
        """Return every file and folder that what is live, or was tried last, is made of. Lists folders."""
        live = self._current
        settings = [self._tried] if live is None else [self._tried, live.settings]
        secrets = [self._tried_secrets] if live is None else [self._tried_secrets, live.secrets]
        return frozenset().union(
            *(one.files.copy() for one in secrets), *(one.secret_files for one in settings), *map(files_of, settings)
        )

    async def look(self) -> dict[Path, str]:
        """Return the fingerprint of what is on disk now, file by file."""
        return await anyio.to_thread.run_sync(lambda: self._fingerprints.take(self.files()))

    async def start(self, secrets: Secrets) -> None:
        """Go live with what is on disk, or, if the rules are bad, with the last good ones, degraded and loud.

        Raises `RulesError` if the rules on disk are bad and none have been good before, and `StoreError`.
        """
        settings = self._at_start
        self._tried_secrets = secrets
        self.fingerprint = await self.look()
        outcome: Outcome = "live"
        try:
            checked = await check_rules(settings, secrets, self._first_runner, is_start=True)
            rules = checked.rules
            await self._keep(rules)
            problems = tuple(problem for problem in checked.warnings if problem.severity == "error")
            for problem in problems:
                self._log.error(
                    "plugin.broken", problem=str(problem), next_step="its deliveries are held until it is mended"
                )
        except RulesError as error:
            last_good = await self._last_good(secrets.with_variables(settings.vars))
            if last_good is None:
                raise
            outcome, rules, problems = "refused", last_good, error.problems
            for problem in problems:
                self._log.error("rules.rejected", problem=str(problem))
            self._log.error("rules.degraded", running=rules.version, next_step="mend the rules, then: hookline check")
        sources = await anyio.to_thread.run_sync(self._sources.build, settings, None)
        await self._look_further()
        self._first_runner.go_live()
        self._swap(
            Generation(
                settings=settings,
                secrets=secrets,
                sources=sources,
                runner=self._first_runner,
                rules=rules,
                policies=policies_of(settings),
            )
        )
        set_aside()
        self._note(outcome, problems)

    async def close(self) -> None:
        """Close what runs actions. Call at the end, whether or not `start` returned."""
        await (self._first_runner if self._current is None else self._current.runner).close()

    async def reload(self) -> Generation:
        """Go live with what is on disk, all of it or nothing; one after the other, whoever asks.

        Raises `ConfigError` or `RulesError` if it is bad, `StoreError` if it cannot be kept, and `ReloadFaultError`.
        Then nothing has changed.
        """
        async with self._one_at_a_time:
            try:
                return await self._reload(self.current)
            finally:
                if self._candidate is not None:
                    # It may be a process, and nothing else would end it.
                    with anyio.CancelScope(shield=True):
                        await self._candidate.close()
                    self._candidate = None

    async def _reload(self, former: Generation) -> Generation:
        try:
            # Before anything is read: what changes meanwhile is found to differ, and tried in its turn.
            self.fingerprint = await self.look()
            with without_full_collections():
                generation = await self._build(former)
                await self._keep(generation.rules)
        except (ConfigError, RulesError) as error:
            await self._look_further()
            self._log.error("reload.refused", problems=len(error.problems), first=str(error.problems[0]))
            self._note("refused", error.problems)
            raise
        except StoreError as error:
            self.fingerprint = None
            self._note("failed", (_of_no_file(f"the store could not keep the rules: {error}"),))
            raise
        except Exception as error:
            # Raised as an error that is caught: a fault in reading rules must not end a daemon that has good ones.
            self._log.exception("reload.fault")
            self._note("fault", (_of_no_file(f"the reload failed by a fault of Hookline: {error!r}"),))
            raise ReloadFaultError(repr(error)) from error
        await self._look_further()
        generation.runner.go_live()
        self._candidate = None
        self._swap(generation)
        set_aside()
        self._note("live", ())
        self._tell(former, generation)
        parts: list[object] = [*former.rules.rules, *former.rules.fallback]
        del former
        # Ten thousand rules that die at once would hold the loop for 200 ms.
        await anyio.to_thread.run_sync(take_apart, parts)
        return generation

    async def _build(self, former: Generation) -> Generation:
        secrets = Secrets(self._environ, folder=self._at_start.path.parent)
        self._tried_secrets = secrets
        read = await anyio.to_thread.run_sync(self._read, secrets)
        restart = tuple(key for key in AT_START if getattr(read, key) != getattr(self._at_start, key))
        settings = replace(read, **{key: getattr(self._at_start, key) for key in AT_START})
        self._tried = settings
        await self._look_further()
        runner = self._candidate = former.runner.for_settings(settings, secrets)
        checked = await check_rules(settings, secrets, runner)
        return Generation(
            settings=settings,
            secrets=secrets,
            sources=await anyio.to_thread.run_sync(self._sources.build, settings, former),
            runner=runner,
            rules=checked.rules,
            policies=policies_of(settings),
            restart=restart,
        )

    async def _look_further(self) -> None:
        """Add files that nobody had named before, as they are now; of the others, what was seen first stays."""
        known = self.fingerprint or {}
        self.fingerprint = {path: known.get(path, print_) for path, print_ in (await self.look()).items()}

    def _read(self, secrets: Secrets) -> Settings:
        return load_settings(self._at_start.path, environ=self._environ, secrets=secrets)

    async def _keep(self, rules: RuleSet) -> None:
        # Before the swap: an event refers to its rule set and steps from its first moment.
        await self._store.keep(rules.texts)
        await self._store.keep_rules(rules.version)
        reader = self._store.reader()
        try:
            history = live_history(await reader.facts())
        finally:
            await reader.close()
        count = len(rules.rules) + len(rules.fallback)
        noted = with_latest(history, WentLive(version=rules.version, at=self._clock(), rules=count))
        if noted is not None:
            await self._store.note(HISTORY, noted)

    def _swap(self, generation: Generation) -> None:
        self._current = generation
        self._on_live()
        rules = generation.rules
        self._log.info("rules.live", version=rules.version, rules=len(rules.rules))

    def _note(self, outcome: Outcome, problems: tuple[Problem, ...]) -> None:
        now = self._clock()
        before = self.last.live_at if self.last else None
        self.last = LastReload(at=now, outcome=outcome, problems=problems, live_at=now if outcome == "live" else before)
        self.history.append(self.last)
        self._on_reload(self.last)

    def _tell(self, former: Generation, generation: Generation) -> None:
        """Say what came and went, and what has to wait for a restart."""
        changes = {
            f"{kind}_{verb}": sorted(names)
            for kind, old, new in (
                ("sources", former.settings.sources, generation.settings.sources),
                ("destinations", former.settings.destinations, generation.settings.destinations),
            )
            for verb, names in (("added", new.keys() - old.keys()), ("removed", old.keys() - new.keys()))
            if names
        }
        if changes:
            self._log.info("configuration.live", **changes)
        if generation.restart and generation.restart != former.restart:
            keys = " and ".join(generation.restart)
            self._log.warning(
                "restart.needed", keys=list(generation.restart), next_step=f"restart to use the new {keys}"
            )
        self._sources.warn(former)

    async def _last_good(self, lookup: Secrets) -> RuleSet | None:
        reader = self._store.reader()
        try:
            return await last_good_rules(reader, lookup, self._log)
        finally:
            await reader.close()


def _of_no_file(message: str) -> Problem:
    return Problem(place=None, path="", message=message, hint="the old configuration stays; try again")
