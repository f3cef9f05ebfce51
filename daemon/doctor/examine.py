"""Looks at an installation and runs every check: none ends the run, and none is waited for longer than it may take."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from hookline.daemon.config.load import ConfigError, find_config, load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.doctor.bounded import Bounded, Failed, failure_of
from hookline.daemon.doctor.clock import check_clock, check_zones
from hookline.daemon.doctor.configuration import check_configuration, check_live, check_rules
from hookline.daemon.doctor.database import check_nodes
from hookline.daemon.doctor.destinations import check_dead, check_destinations
from hookline.daemon.doctor.finding import Finding, warn
from hookline.daemon.doctor.listeners import check_listeners
from hookline.daemon.doctor.look import look_at_daemon, look_at_database, look_at_rules, look_at_store
from hookline.daemon.doctor.online import SECONDS, begin_online
from hookline.daemon.doctor.permissions import check_permissions, check_root
from hookline.daemon.doctor.process import check_daemon, check_limits
from hookline.daemon.doctor.program import check_driver, check_python
from hookline.daemon.doctor.room import check_room
from hookline.daemon.doctor.secrets import check_secrets
from hookline.daemon.doctor.service import check_unit, look_at_unit
from hookline.daemon.doctor.sight import DaemonSight, Sight
from hookline.daemon.doctor.sources import check_public_url, check_sources
from hookline.daemon.doctor.store import check_backups, check_store
from hookline.daemon.secrets import Secrets

_LOOK_SECONDS: Final = 15.0
_RULES_SECONDS: Final = 30.0
_CHECK_SECONDS: Final = 5.0

#: In the order in which they are shown.
_CHECKS: Final[Mapping[str, Callable[[Sight], list[Finding]]]] = {
    "configuration": check_configuration,
    "rules": check_rules,
    "live": check_live,
    "daemon": check_daemon,
    "service": check_unit,
    "listen": check_listeners,
    "files": check_limits,
    "store": check_store,
    "nodes": check_nodes,
    "backup": check_backups,
    "disk": check_room,
    "permissions": lambda sight: [*check_permissions(sight), *check_root(sight)],
    "secrets": check_secrets,
    "public_url": check_public_url,
    "sources": check_sources,
    "destinations": check_destinations,
    "dead letters": check_dead,
    "clock": check_clock,
    "time zones": lambda _: check_zones(),
    "python": lambda _: [check_python()],
    "sqlite": check_driver,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found."""

    findings: tuple[Finding, ...]
    #: False: the configuration cannot be used, and only what does not need it was looked at.
    has_configuration: bool
    #: Something that was not waited for still hangs: the process does not end by itself.
    has_hung: bool


def examine(config_path: Path | None, environ: Mapping[str, str], *, online: bool) -> Examination:
    """Look at everything; call it in the main thread. `online`: ask destinations, too."""
    bounded = Bounded()
    try:
        sight = _look(config_path, environ, bounded)
        asked = begin_online(sight, bounded) if online else {}
        checks = {name: bounded.begin(partial(check, sight)) for name, check in _CHECKS.items()}
        found = _findings(bounded.results(checks, seconds=_CHECK_SECONDS), sight)
        found += _findings(bounded.results(asked, seconds=SECONDS), sight)
        has_configuration = not isinstance(sight.settings, Failed)
        return Examination(findings=tuple(found), has_configuration=has_configuration, has_hung=bounded.has_hung)
    finally:
        bounded.close()


def _findings(results: Mapping[str, list[Finding] | Failed], sight: Sight) -> list[Finding]:
    found: list[Finding] = []
    for name, result in results.items():
        if not isinstance(result, Failed):
            found += result
        elif result.is_forbidden:
            found.append(warn(name, result.why, sight.as_root))
        else:
            step = "look at what it names; the other checks do not depend on it"
            found.append(warn(name, f"could not be looked at: {result.why}", step))
    return found


def _look(config_path: Path | None, environ: Mapping[str, str], bounded: Bounded) -> Sight:
    read = _one(bounded, partial(_read_settings, config_path, environ))
    settings, problems = (read, ()) if isinstance(read, Failed) else read
    sight = Sight(
        now=datetime.now(UTC),
        config_path=config_path,
        environ=environ,
        uid=os.getuid(),
        settings=settings,
        problems=problems,
    )
    if isinstance(settings, Failed):
        return replace(sight, unit=_one(bounded, partial(look_at_unit, None, None)))
    daemon = _one(bounded, partial(look_at_daemon, settings))
    known = DaemonSight() if isinstance(daemon, Failed) else daemon
    begun: dict[str, Future[Any]] = {
        "store": bounded.begin(partial(look_at_store, settings, known, sight.now)),
        "database": bounded.begin(partial(look_at_database, settings)),
        "unit": bounded.begin(partial(look_at_unit, known.pid, settings)),
    }
    rules = _load_rules(settings, environ)
    return replace(sight, daemon=daemon, rules=rules, **bounded.results(begun, seconds=_LOOK_SECONDS))


def _one(bounded: Bounded, call: Callable[[], Any]) -> Any:
    return bounded.results({"": bounded.begin(call)}, seconds=_LOOK_SECONDS)[""]


def _read_settings(config_path: Path | None, environ: Mapping[str, str]) -> tuple[Settings | Failed, Any]:
    try:
        path = find_config(config_path, environ)
        return load_settings(path, environ=environ, offline=True), ()
    except ConfigError as error:
        return Failed(why=str(error)), error.problems


def _load_rules(settings: Settings, environ: Mapping[str, str]) -> Any:
    async def load() -> Any:
        with anyio.move_on_after(_RULES_SECONDS):
            return await look_at_rules(settings, Secrets(environ, folder=settings.path.parent), uid=os.getuid())
        return Failed(why=f"gave no answer within {_RULES_SECONDS:.0f} s")

    try:
        return anyio.run(load)
    except (OSError, sqlite3.Error, ValueError) as error:
        return failure_of(error)
