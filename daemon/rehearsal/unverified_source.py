"""Sources that read without asking for a proof, so that no secret need be set where they are tried out."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from hookline.daemon.sources.build import packaged_source
from hookline.daemon.sources.declaration import Declaration, read_declaration
from hookline.daemon.sources.declared import DeclaredSource
from hookline.daemon.sources.options import Options
from hookline.daemon.sources.port import OptionProblem, Source, SourceSettings
from hookline.daemon.sources.source_type import SourceType

#: More events in one body are not read.
MOST_EVENTS: Final = 100_000
# Nothing that they read is stored.
_WHATEVER: Final = timedelta(days=1)


def unverified_source(settings: SourceSettings, kind: SourceType) -> DeclaredSource | Source:
    """Build what reads a source's events, for reading alone: nothing need be set that proves its sender.

    Raises `ValueError`, with a message for people, where reading takes an option that is wrong or not set here.
    """
    if kind.code is not None:
        return packaged_source(settings, kind, batch_limit=MOST_EVENTS, dedupe_window=_WHATEVER)
    problems: list[OptionProblem] = []
    declaration = _unverified(settings, kind, problems)
    if declaration is None:
        said = "; ".join(f"{'.'.join(map(str, one.path))}: {one.message}" for one in problems)
        raise ValueError(f"sources.{settings.name} cannot be read: {said}")
    return DeclaredSource(
        name=settings.name,
        declaration=declaration,
        path_token=None,
        batch_limit=MOST_EVENTS,
        dedupe_window=_WHATEVER,
        expect_every=None,
    )


def _unverified(settings: SourceSettings, kind: SourceType, problems: list[OptionProblem]) -> Declaration | None:
    """Read a source's declaration without what proves its sender, and so without its secrets."""
    proofs = {name for name, slot in kind.options.items() if slot.proves}
    said = {name: value for name, value in settings.options.items() if name not in proofs}
    filled = kind.filled_in(Options({**said, "verify": "none"}, (), problems))
    if filled is None:
        return None
    reads = {name: value for name, value in filled.declaration.items() if name not in {"handshake", "answer"}}
    return read_declaration({**reads, "verify": "none"}, has_public_url=True, problems=problems)
