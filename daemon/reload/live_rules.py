"""Rules from disk, checked whole; and rules as they were, from the store."""

from __future__ import annotations

import json
from dataclasses import dataclass

import anyio
from structlog.typing import FilteringBoundLogger

from hookline.daemon.actions.registry import action_names
from hookline.daemon.config.settings import Settings
from hookline.daemon.delivery.runner import Inspection, Runner
from hookline.daemon.rule_files import read_rule_texts
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.port import Reader
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
        defaults={name: destination.modifiers for name, destination in settings.destinations.items()},
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
    world = world_of(settings, secrets, inspection, is_offline=is_offline)
    # In a thread: ten thousand rules take seconds, and the old ones go on matching meanwhile.
    rules = await anyio.to_thread.run_sync(_read, settings, world)
    problems = await runner.validate(rules.steps)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise RulesError([*rules.warnings, *problems])
    return Checked(rules=rules, warnings=(*inspection.problems, *rules.warnings, *problems))


def _read(settings: Settings, world: World) -> RuleSet:
    rules = load_rules(read_rule_texts(settings.rules, relative_to=settings.path.parent), world)
    # Asked for here, where nobody waits for it: it is kept with the rules.
    _ = rules.texts
    return rules


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
    # In a thread: ten thousand rules take seconds.
    return await anyio.to_thread.run_sync(lambda: RuleSet.from_manifest(manifest, texts.__getitem__, lookup=lookup))


async def last_good_rules(reader: Reader, lookup: Lookup, log: FilteringBoundLogger) -> RuleSet | None:
    """Return the rule set that went live last; None if there is none, or this Hookline cannot read it."""
    version = await reader.last_good_rules()
    if version is None:
        return None
    try:
        return await stored_rules(reader, version, lookup)
    except (LookupError, RulesError) as error:
        # Nothing to fall back on: what is wrong with the rules on disk is what the operator must read.
        log.warning("rules.last_good_unusable", version=version, why=str(error))
        return None
