"""Secrets: is each set, is it a real one, is it in one place only, can others read it? Never what it is."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hookline.daemon.config.references import scalars
from hookline.daemon.config.settings import Settings
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, counted, listed, ok, warn, wrong
from hookline.daemon.doctor.permissions import kept_in_plain
from hookline.daemon.doctor.sight import RulesSight, Sight
from hookline.daemon.secrets import CREDENTIALS_FOLDER, Secrets
from hookline.rules.document import Findings, Node
from hookline.rules.interpolation import find_references
from hookline.rules.reader import read_document
from hookline.rules.template_syntax import references_in

_SHORTEST: Final = 12
_PLACEHOLDER: Final = re.compile(
    r"(change[-_ ]?me.*|replace[-_ ]?me.*|todo.*|fixme.*|x{3,}|\*{3,}|\.{3}|…|<.*>|\$\{?.*\}?|your[-_ ].*|example.*|"
    r"dummy.*|placeholder.*|secret|password|passwort|token|test|12345.*|abc123.*|insert[-_ ].*|put[-_ ].*)",
    re.IGNORECASE,
)
_SECRET_KEY: Final = re.compile(r"(?:.*[_-])?(?:secrets?|tokens?|passwords?|authorization)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSight:
    """One `${NAME}` and what was found under it."""

    name: str
    #: None if it is not set where this looked.
    value: str | None
    #: Why it cannot be had; "" if it can, or is not set.
    why: str = ""
    #: The file that it stands in; None for the environment.
    file: Path | None = None
    #: The error is one of rights.
    is_forbidden: bool = False


def check_secrets(sight: Sight) -> list[Finding]:
    """Judge every `${NAME}` and `${file:…}` of the configuration and its rules."""
    settings = sight.settings
    if isinstance(settings, Failed):
        return []
    document = read_document(settings.text, settings.path.name, Findings())
    environ = {**sight.environ, **(sight.running.environ or {})}
    seen = look_up(names_in(document, sight), Secrets(environ, folder=settings.path.parent), environ)
    # Who cannot see the daemon's environment cannot say that something is missing in it.
    is_known = not sight.running.is_there or sight.running.environ is not None
    found = judge_secrets(seen, folder=settings.path.parent / CREDENTIALS_FOLDER, is_whole=is_known, step=sight.as_root)
    return [*found, *_plain(settings, document)] or [ok("secrets", "none are named")]


def names_in(document: Node | None, sight: Sight) -> list[str]:
    """Return the names of secrets and files that configuration and rules refer to, sorted."""
    texts: list[str] = []
    if document is not None:
        texts += [scalar.value for scalar in scalars(document) if isinstance(scalar.value, str)]
    if isinstance(sight.rules, RulesSight) and sight.rules.rules is not None:
        texts += [text for step in sight.rules.rules.steps for text in _texts(step.options)]
    references = [reference for text in texts for reference, _ in references_in(text)]
    named = {reference.name for reference in references if reference.kind == "secret"}
    return sorted(named | {f"file:{reference.name}" for reference in references if reference.kind == "file"})


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def look_up(names: list[str], secrets: Secrets, environ: Mapping[str, str]) -> list[SecretSight]:
    """Look each up as the daemon does."""
    return [_look_up(name, secrets, environ) for name in names]


def _look_up(name: str, secrets: Secrets, environ: Mapping[str, str]) -> SecretSight:
    before = secrets.files.copy()
    try:
        value = secrets.file(name.removeprefix("file:")) if name.startswith("file:") else secrets.secret(name)
    except ValueError as error:
        why = str(error)
        return SecretSight(name=name, value=None, why=why, is_forbidden="ermission" in why)
    files = secrets.files - before
    return SecretSight(name=name, value=value, file=next(iter(files), None) if name not in environ else None)


def judge_secrets(seen: list[SecretSight], *, folder: Path, is_whole: bool, step: str) -> list[Finding]:
    """Judge secrets. `is_whole`: this looked everywhere where the daemon does; `step`: what to type to see more."""
    found = [finding for one in seen if (finding := _judge(one, folder, is_whole=is_whole, step=step)) is not None]
    by_value: dict[str, list[str]] = {}
    for one in seen:
        if one.value and not one.name.startswith("file:"):
            by_value.setdefault(one.value, []).append(one.name)
    for names in by_value.values():
        if len(names) > 1:
            text = f"{listed(names)} are the same: who learns one knows the other"
            found.append(warn("secrets", text, "give each a value of its own"))
    if not found and seen:
        found.append(ok("secrets", f"{counted(len(seen), 'is', 'are')} set: {listed(one.name for one in seen)}"))
    return found


def _judge(one: SecretSight, folder: Path, *, is_whole: bool, step: str) -> Finding | None:  # noqa: PLR0911 - a table
    where = str(one.file or (folder / one.name))
    put = f"put it into {where}"
    if one.why:
        if one.is_forbidden:
            return warn("secrets", f"{one.name}: {one.why}", step)
        head, colon, mend = one.why.rpartition(": ")
        is_mode = colon and mend.startswith("chmod")
        return wrong("secrets", f"{one.name}: {head if is_mode else one.why}", mend if is_mode else put)
    if one.value is None:
        if not is_whole:
            return warn("secrets", f"{one.name} is not set here; the daemon may have it", step)
        return wrong("secrets", f"{one.name} is not set", put)
    if not one.value.strip():
        return wrong("secrets", f"{one.name} is empty", put)
    if one.value != one.value.strip():
        text = f"{one.name} begins or ends with a blank or a line break, which counts as a part of it"
        return warn("secrets", text, f"write it without: printf %s VALUE > {where}" if one.file else "set it without")
    if _PLACEHOLDER.fullmatch(one.value):
        return wrong("secrets", f"{one.name} holds a placeholder", put)
    if len(one.value) < _SHORTEST and not one.name.startswith("file:"):
        return warn("secrets", f"{one.name} is short enough to be guessed", f"make a longer one and {put}")
    return None


def _plain(settings: Settings, document: Node | None) -> list[Finding]:
    """Warn of secrets that stand in a configuration which others may read."""
    if document is None or not stat.S_IMODE(settings.path.stat().st_mode) & 0o004:
        return []
    plain = [
        scalar
        for scalar in scalars(document)
        if isinstance(scalar.value, str)
        and not find_references(scalar.value)
        and any(isinstance(part, str) and _SECRET_KEY.fullmatch(part) for part in scalar.path[-2:])
    ]
    return [kept_in_plain(len(plain), settings.path)] if plain else []
