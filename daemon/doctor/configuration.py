"""The configuration, rules and plug-ins: whether they can be used, and whether it is they that run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, counted, listed, ok, warn, wrong
from hookline.daemon.doctor.sight import UNUSED_AFTER, RulesSight, Sight
from hookline.rules import Problem

#: What is said of a `${NAME}` that cannot be had.
_OF_SECRETS: Final = ("is not set", "is empty", "can be read by others", "cannot read /")


def check_configuration(sight: Sight) -> list[Finding]:
    """Say which configuration it is, and what is wrong with it."""
    settings = sight.settings
    if isinstance(settings, Failed):
        errors = [problem for problem in sight.problems if problem.severity == "error"]
        if len(errors) == 1 and errors[0].place is None:
            return [wrong("configuration", errors[0].message, errors[0].hint or sight.again("check"))]
        text = f"{counted(len(errors), 'mistake')}: {errors[0]}" if errors else settings.why
        return [wrong("configuration", text, sight.again("check") if errors else sight.as_root)]
    has = (
        counted(len(settings.sources), "source"),
        counted(len(settings.destinations), "destination"),
    )
    said = f"{settings.path}, {', '.join(has)}"
    warnings = [problem for problem in settings.warnings if not _is_of_secret(problem)]
    if warnings:
        text = f"{said}; {counted(len(warnings), 'warning')}: {warnings[0]}"
        return [warn("configuration", text, sight.again("check"))]
    return [ok("configuration", said)]


def _is_of_secret(problem: Problem) -> bool:
    # What is not set, or may not be read here, is judged with the secrets.
    return any(words in problem.message for words in _OF_SECRETS)


def check_rules(sight: Sight) -> list[Finding]:
    """Say whether the rules on disk could go live, and which of them never match."""
    seen = sight.rules
    if seen is None:
        return []
    if isinstance(seen, Failed):
        return [warn("rules", f"could not be read: {seen.why}", sight.again("check"))]
    errors = [problem for problem in seen.problems if problem.severity == "error"]
    broken = [problem for problem in errors if _is_of_plugin(problem)]
    findings = _plugins(sight, seen, broken)
    if seen.rules is None:
        others = [problem for problem in errors if problem not in broken] or errors
        if others and all(map(_is_of_secret, others)):
            return [warn("rules", f"could not be checked: {others[0].message}", sight.as_root), *findings]
        text = f"{counted(len(others), 'mistake')}: {others[0] if others else 'they cannot be read'}"
        return [wrong("rules", f"{text}; a running daemon keeps its old rules", sight.again("check")), *findings]
    return [_good_rules(sight, seen), *findings]


def _good_rules(sight: Sight, seen: RulesSight) -> Finding:
    assert seen.rules is not None  # noqa: S101 - the caller's
    text = f"{counted(len(seen.rules.rules), 'rule')}, version {seen.rules.version[:6]}"
    warnings = sum(problem.severity == "warning" for problem in seen.problems)
    if warnings:
        return warn("rules", f"{text}; {counted(warnings, 'warning')}", sight.again("check"))
    unused = _unused(sight, seen)
    if unused:
        said = f"{text}; in {UNUSED_AFTER.days} days nothing matched {listed(unused)}"
        return ok("rules", said, sight.again("rules --unused --since 30d"))
    return ok("rules", text)


def _unused(sight: Sight, seen: RulesSight) -> list[str]:
    store = sight.store
    if seen.rules is None or store is None or isinstance(store, Failed):
        return []
    if sight.now - store.rules_counted_since < UNUSED_AFTER:
        return []
    used = {one.rule for one in store.rules if one.events}
    return [rule.name for rule in seen.rules.rules if rule.is_enabled and rule.name not in used]


def _plugins(sight: Sight, seen: RulesSight, broken: Sequence[Problem]) -> list[Finding]:
    if broken:
        text = f"{counted(len(broken), 'is', 'are')} broken: {broken[0]}; what is for it is held"
        return [wrong("plug-ins", text, sight.again("check"))]
    return [ok("plug-ins", listed(seen.plugins))] if seen.plugins else []


def _is_of_plugin(problem: Problem) -> bool:
    return problem.place is not None and problem.place.file.endswith(".py")


def check_live(sight: Sight) -> list[Finding]:
    """Say whether what runs is what is on disk."""
    status = sight.running.status
    if status is None:
        return []
    findings = []
    degraded = status.get("degraded") or ()
    if degraded:
        text = f"not what runs: {counted(len(degraded), 'mistake')}, the first: {degraded[0]}"
        findings.append(wrong("live", text, f"{sight.again('check')}, then {sight.again('reload')}"))
    restart = status.get("restart") or ()
    if restart:
        text = f"changed on disk, and taken at a restart only: {listed(map(str, restart))}"
        findings.append(warn("live", text, _restart(sight)))
    on_disk = sight.rules.rules if isinstance(sight.rules, RulesSight) else None
    running = str(status.get("rules", ""))
    if not findings and on_disk is not None and running and running != on_disk.version:
        text = f"rules {running[:6]} run, {on_disk.version[:6]} are on disk"
        findings.append(warn("live", text, sight.again("reload")))
    return findings or [ok("live", f"rules {running[:6]}, as on disk")]


def _restart(sight: Sight) -> str:
    unit = sight.systemd_unit
    return f"sudo systemctl restart {unit.name}" if unit and unit.properties.get("LoadState") == "loaded" else "restart"
