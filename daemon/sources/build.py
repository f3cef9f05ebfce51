"""From what `sources.<name>` says to a source: the door of this package."""

from __future__ import annotations

from datetime import timedelta

from hookline.daemon.sources.builtin_types import SOURCE_TYPES, source_type
from hookline.daemon.sources.declaration import Declaration, read_declaration
from hookline.daemon.sources.declared import DeclaredSource
from hookline.daemon.sources.options import Options
from hookline.daemon.sources.port import OptionProblem, Source, SourceSettings
from hookline.rules.suggestion import suggest
from hookline.rules.units import format_duration

__all__ = ["SOURCE_TYPES", "build_source", "check_options", "declared_source", "event_types"]

#: It is all that guards a source without a signature, and it stands in the sender's settings.
MIN_PATH_TOKEN_LENGTH = 16
# A duplicate that arrives while its first copy is being stored.
_MARGIN = timedelta(minutes=10)


def event_types(type_name: str) -> frozenset[str] | None:
    """Return the event types that a source type can send; None if that is open, or no such source type."""
    if type_name not in SOURCE_TYPES:
        return None
    types = source_type(type_name).event_types
    return None if types is None else frozenset(types)


def check_options(settings: SourceSettings, *, has_public_url: bool) -> list[OptionProblem]:
    """Return all that is wrong with a source's options; nothing if `build_source` can build it."""
    problems: list[OptionProblem] = []
    _read(settings, has_public_url=has_public_url, problems=problems)
    return problems


def build_source(settings: SourceSettings, *, batch_limit: int, dedupe_window: timedelta) -> Source:
    """Build a source whose options were checked; `dedupe_window` is the configuration's.

    Raises `ValueError` with all problems if the options are wrong after all.
    """
    return declared_source(settings, batch_limit=batch_limit, dedupe_window=dedupe_window)


def declared_source(settings: SourceSettings, *, batch_limit: int, dedupe_window: timedelta) -> DeclaredSource:
    """As `build_source`; the declaration is in reach, for samples."""
    problems: list[OptionProblem] = []
    read = _read(settings, has_public_url=True, problems=problems)
    if read is None:
        raise ValueError(
            "; ".join(f"sources.{settings.name}: {'.'.join(map(str, one.path))}: {one.message}" for one in problems)
        )
    declaration, path_token, own_window, expect_every = read
    return DeclaredSource(
        name=settings.name,
        declaration=declaration,
        path_token=path_token,
        batch_limit=batch_limit,
        # A captured request must not outlive the memory of its key.
        dedupe_window=max(own_window or dedupe_window, declaration.verification.replay_span + _MARGIN),
        expect_every=expect_every,
    )


def _read(
    settings: SourceSettings, *, has_public_url: bool, problems: list[OptionProblem]
) -> tuple[Declaration, str | None, timedelta | None, timedelta | None] | None:
    options = Options(settings.options, (), problems)
    if settings.type not in SOURCE_TYPES:
        hint = suggest(settings.type, SOURCE_TYPES, what="there are")
        options.problem("type", f'unknown source type "{settings.type[:60]}"', hint)
        return None
    kind = source_type(settings.type)
    path_tokens = options.secrets("path_token", least=MIN_PATH_TOKEN_LENGTH) if "path_token" in options else None
    path_token = _path_token(options, path_tokens)
    window = options.duration("dedupe_window")
    expect_every = options.duration("expect_every")
    filled = kind.filled_in(options)
    options.finish(also={*kind.options, "path_token", "dedupe_window", "expect_every", "verify"})
    if filled is None:
        return None
    found: list[OptionProblem] = []
    declaration = read_declaration(filled, has_public_url=has_public_url, problems=found)
    # One option may stand at several places of a declaration.
    problems.extend(dict.fromkeys(kind.translate(problem) for problem in found))
    if declaration is None or problems:
        return None
    span = declaration.verification.replay_span
    if window is not None and window <= span:
        options.problem(
            "dedupe_window",
            f"a captured request can be sent again for {format_duration(span)}, and its key would be forgotten before",
            f"write more than {format_duration(span)}, or leave it out",
        )
        return None
    return declaration, path_token, window, expect_every


def _path_token(options: Options, tokens: tuple[str, ...] | None) -> str | None:
    if tokens is None:
        return None
    if len(tokens) > 1:
        options.problem("path_token", "expected one text, saw a list", "make a second source for a second path")
        return None
    if not all(character.isascii() and (character.isalnum() or character in "-._~") for character in tokens[0]):
        options.problem(
            "path_token", "it holds characters that a path cannot carry as they are", "use letters, digits and - . _ ~"
        )
        return None
    return tokens[0]
