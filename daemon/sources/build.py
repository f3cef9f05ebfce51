"""From what `sources.<name>` says to a source: the door of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from hookline.daemon.sources.declaration import Declaration, Fields, read_declaration
from hookline.daemon.sources.declared import DeclaredSource
from hookline.daemon.sources.options import Options
from hookline.daemon.sources.port import LearnedSecrets, OptionProblem, Outside, Source, SourceSettings
from hookline.daemon.sources.public_url import parse_public_url
from hookline.daemon.sources.source_type import COMMON_OPTIONS, SourceType
from hookline.daemon.sources.types import BUILT_IN, SourceCodeError, SourceTypes, guarded
from hookline.daemon.sources.verification import VERIFY_KEYS
from hookline.rules import Rate
from hookline.rules.suggestion import suggest
from hookline.rules.units import format_duration, parse_rate

#: It is all that guards a source without a signature, and it stands in the sender's settings.
MIN_PATH_TOKEN_LENGTH = 16
# Where keys belong that people write one level too high.
_INSIDE = {"verify": VERIFY_KEYS, "event": frozenset(field.name for field in fields(Fields))}
# A duplicate that arrives while its first copy is being stored.
_MARGIN = timedelta(minutes=10)


class _Read(NamedTuple):
    declaration: Declaration
    path_token: str | None
    dedupe_window: timedelta | None
    expect_every: timedelta | None
    public_url: str | None


def check_options(
    settings: SourceSettings, *, types: SourceTypes = BUILT_IN, has_public_url: bool
) -> list[OptionProblem]:
    """Return all that is wrong with a source's options; nothing if `build_source` can build it."""
    code = types.get(settings.type).code if settings.type in types else None
    if code is not None:
        try:
            return guarded(partial(code.check, settings, has_public_url=has_public_url))
        except SourceCodeError as error:
            origin = types.get(settings.type).origin
            message = f"{origin} could not check the source: {error}"
            return [OptionProblem(path=(), message=message, hint="tell its maker, or use another version of it")]
    problems: list[OptionProblem] = []
    _read(settings, types, has_public_url=has_public_url, problems=problems, learned=None)
    return problems


def rates_of(sources: Iterable[SourceSettings], types: SourceTypes) -> dict[str, Rate]:
    """Return how much sources may send, by name, of those that say so; what `rate` means to a package is its own."""
    return {
        source.name: parse_rate(str(source.options["rate"]))
        for source in sources
        if "rate" in source.options and types.get(source.type).code is None
    }


def build_source(  # noqa: PLR0913 - what a source is made of, each once
    settings: SourceSettings,
    *,
    types: SourceTypes = BUILT_IN,
    batch_limit: int,
    dedupe_window: timedelta,
    outside: Outside | None = None,
    learned: LearnedSecrets | None = None,
) -> Source:
    """Build a source whose options were checked; `dedupe_window` is the configuration's.

    Raises `ValueError` with all problems if the options are wrong after all.
    """
    kind = types.get(settings.type) if settings.type in types else None
    if kind is None or kind.code is None:
        return declared_source(
            settings,
            types=types,
            batch_limit=batch_limit,
            dedupe_window=dedupe_window,
            outside=outside,
            learned=learned,
        )
    return packaged_source(
        settings, kind, batch_limit=batch_limit, dedupe_window=dedupe_window, outside=outside, learned=learned
    )


def packaged_source(  # noqa: PLR0913 - as above
    settings: SourceSettings,
    kind: SourceType,
    *,
    batch_limit: int,
    dedupe_window: timedelta,
    outside: Outside | None = None,
    learned: LearnedSecrets | None = None,
) -> Source:
    """As `build_source`, of a type that a package brings. Raises `ValueError` naming it if its code fails."""
    assert kind.code is not None, "declared types have no code"  # noqa: S101
    build = partial(
        kind.code.build,
        settings,
        batch_limit=batch_limit,
        dedupe_window=dedupe_window,
        outside=outside,
        learned=learned,
    )
    try:
        return guarded(build)
    except SourceCodeError as error:
        raise ValueError(f"sources.{settings.name}: {kind.origin} could not build it: {error}") from error


def declared_source(  # noqa: PLR0913 - as above
    settings: SourceSettings,
    *,
    types: SourceTypes = BUILT_IN,
    batch_limit: int,
    dedupe_window: timedelta,
    outside: Outside | None = None,
    learned: LearnedSecrets | None = None,
) -> DeclaredSource:
    """As `build_source`, of a declared type; the declaration is in reach, for samples."""
    problems: list[OptionProblem] = []
    known = None if learned is None else partial(learned.known, settings.name)
    read = _read(settings, types, has_public_url=True, problems=problems, learned=known)
    if read is None:
        raise ValueError(
            "; ".join(f"sources.{settings.name}: {'.'.join(map(str, one.path))}: {one.message}" for one in problems)
        )
    return DeclaredSource(
        name=settings.name,
        declaration=read.declaration,
        path_token=read.path_token,
        batch_limit=batch_limit,
        # A captured request must not outlive the memory of its key.
        dedupe_window=max(read.dedupe_window or dedupe_window, read.declaration.verification.replay_span + _MARGIN),
        expect_every=read.expect_every,
        public_url=read.public_url,
        outside=outside,
        learned=learned,
    )


def _read(
    settings: SourceSettings,
    types: SourceTypes,
    *,
    has_public_url: bool,
    problems: list[OptionProblem],
    learned: Callable[[], tuple[str, ...]] | None,
) -> _Read | None:
    options = Options(settings.options, (), problems)
    if settings.type not in types:
        hint = suggest(settings.type, types.names, what="there are")
        options.problem("type", f'unknown source type "{settings.type[:60]}"', hint)
        return None
    kind = types.get(settings.type)
    path_tokens = options.secrets("path_token", least=MIN_PATH_TOKEN_LENGTH) if "path_token" in options else None
    path_token = _path_token(options, path_tokens)
    window = options.duration("dedupe_window")
    expect_every = options.duration("expect_every")
    options.rate("rate")
    public_url = _public_url(options)
    filled = kind.filled_in(options)
    inside = {key: keys for key, keys in _INSIDE.items() if key in kind.options}
    options.finish({*kind.options, *COMMON_OPTIONS, "verify"} - {"type"}, inside)
    if filled is None:
        return None
    found: list[OptionProblem] = []
    declaration = read_declaration(
        filled.declaration,
        # One that is wrong is reported already.
        has_public_url=has_public_url or "public_url" in options,
        problems=found,
        learned=learned,
    )
    # One option may stand at several places of a declaration.
    problems.extend(dict.fromkeys(filled.translate(problem) for problem in found))
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
    return _Read(declaration, path_token, window, expect_every, public_url)


def _public_url(options: Options) -> str | None:
    if "public_url" not in options:
        return None
    try:
        return parse_public_url(options.text("public_url", ""), example="the URL in the sender's form, without a query")
    except ValueError as error:
        options.problem("public_url", str(error))
        return None


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
