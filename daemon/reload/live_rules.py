"""The rule set that is live: built whole, checked whole, kept in the store, then swapped in by one reference."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import anyio

from hookline.daemon.config.settings import Settings
from hookline.daemon.delivery.actions import action_names
from hookline.daemon.delivery.runner import Inspection, Runner
from hookline.daemon.rule_files import read_rule_texts
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.port import Reader, Store
from hookline.daemon.version import VERSION
from hookline.rules import Problem, RulesError, RuleSet, World, load_rules
from hookline.rules.interpolation import Lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Rules from disk that may go live."""

    rules: RuleSet
    #: Worth a look, but no reason not to go live.
    warnings: tuple[Problem, ...]


def world_of(settings: Settings, secrets: Secrets, inspection: Inspection, *, is_offline: bool = False) -> World:
    """Return what rules may refer to under this configuration."""
    return World(
        sources={name: settings.source_types.event_types(source.type) for name, source in settings.sources.items()},
        destinations={name: destination.action for name, destination in settings.destinations.items()},
        # Broken ones too: a rule that names one is not the mistake.
        actions=action_names(settings.plugins),
        vars=settings.vars,
        lookup=secrets.with_variables(settings.vars),
        plugins={name: facts.digest for name, facts in inspection.actions.items()},
        version=VERSION,
        is_offline=is_offline,
    )


async def check_rules(
    settings: Settings, secrets: Secrets, runner: Runner, *, is_offline: bool = False, is_start: bool = False
) -> Checked:
    """Read the rules on disk and check them and every step's options.

    `is_offline`: secrets that are not set are warnings. `is_start`: a broken plug-in is no reason not to go live, as
    its deliveries are held and all others run; otherwise it is one. Raises `RulesError` with everything that is wrong
    at once.
    """
    inspection = await runner.inspect()
    if inspection.problems and not is_start:
        raise RulesError(inspection.problems)
    texts = read_rule_texts(settings.rules, relative_to=settings.path.parent)
    # In a thread: ten thousand rules take seconds, and the old ones go on matching meanwhile.
    world = world_of(settings, secrets, inspection, is_offline=is_offline)
    rules = await anyio.to_thread.run_sync(load_rules, texts, world)
    problems = await runner.validate(rules.steps)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise RulesError([*rules.warnings, *problems])
    return Checked(rules=rules, warnings=(*inspection.problems, *rules.warnings, *problems))


async def stored_rules(reader: Reader, version: str, lookup: Lookup) -> RuleSet:
    """Rebuild the rule set that ran under `version`.

    Raises `LookupError` if it is not kept (any more), and `RulesError` if this Hookline reads it otherwise.
    """
    texts: dict[str, str] = {}

    async def text(digest: str) -> str:
        kept = await reader.text(digest)
        if kept is None:
            raise LookupError(f"the rules {version} are not in the store any more")
        texts[digest] = kept
        return kept

    manifest = await text(version)
    for digest in json.loads(manifest)["files"].values():
        await text(digest)
    return RuleSet.from_manifest(manifest, texts.__getitem__, lookup=lookup)


class LiveRules:
    """The rule set that events are matched against now."""

    def __init__(self, *, settings: Settings, secrets: Secrets, runner: Runner, store: Store, log: Any) -> None:
        """Nothing is live until `start` returns."""
        self._settings = settings
        self._secrets = secrets
        self._runner = runner
        self._store = store
        self._log = log
        self._current: RuleSet | None = None
        #: Why the rules on disk are not the ones that run, or which plug-ins are broken; empty if all is well.
        self.problems: tuple[Problem, ...] = ()

    @property
    def current(self) -> RuleSet:
        """The live rule set."""
        assert self._current is not None, "start comes first"  # noqa: S101
        return self._current

    async def start(self) -> None:
        """Go live with the rules on disk, or, if they are bad, with the last good ones, degraded and loud.

        Raises `RulesError` if the rules on disk are bad and none have been good before.
        """
        try:
            checked = await check_rules(self._settings, self._secrets, self._runner, is_start=True)
            await self._go_live(checked.rules)
            self.problems = tuple(problem for problem in checked.warnings if problem.severity == "error")
            for problem in self.problems:
                self._log.error(
                    "plugin.broken", problem=str(problem), next_step="its deliveries are held until it is mended"
                )
        except RulesError as error:
            last_good = await self._last_good()
            if last_good is None:
                raise
            self.problems = error.problems
            self._current = last_good
            for problem in error.problems:
                self._log.error("rules.rejected", problem=str(problem))
            self._log.error(
                "rules.degraded", running=last_good.version, next_step="mend the rules, then: hookline check"
            )

    async def reload(self) -> RuleSet:
        """Go live with the rules on disk. Raises `RulesError` and changes nothing if they are bad."""
        try:
            checked = await check_rules(self._settings, self._secrets, self._runner)
        except RulesError as error:
            self.problems = error.problems
            self._log.error("rules.rejected", problems=len(error.problems), first=str(error.problems[0]))
            raise
        await self._go_live(checked.rules)
        return checked.rules

    async def _go_live(self, rules: RuleSet) -> None:
        # Kept before the swap: an event refers to its rule set and steps from its first moment.
        await self._store.keep(rules.texts)
        await self._store.keep_rules(rules.version)
        self._current = rules
        self.problems = ()
        self._log.info("rules.live", version=rules.version, rules=len(rules.rules))

    async def _last_good(self) -> RuleSet | None:
        reader = self._store.reader()
        try:
            version = await reader.last_good_rules()
            if version is None:
                return None
            return await stored_rules(reader, version, self._secrets.with_variables(self._settings.vars))
        except (LookupError, RulesError) as error:
            # Nothing to fall back on: what is wrong with the rules on disk is what the operator must read.
            self._log.warning("rules.last_good_unusable", version=version, why=str(error))
            return None
        finally:
            await reader.close()
