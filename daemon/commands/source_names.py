"""Says which source was meant by a name that no source has."""

from __future__ import annotations

from hookline.daemon.config.settings import Settings
from hookline.rules.suggestion import did_you_mean


def no_source(settings: Settings, name: str) -> str:
    """Say that there is no such source; a source type's name stands for those of that type."""
    same = [source.name for source in settings.sources.values() if source.type == name]
    near = f"of type {name} there are: {', '.join(same)}." if same else did_you_mean(name, settings.sources)
    listed = f"there are: {', '.join(settings.sources) or 'none'}."
    return f"No source {name!r}; {near or listed}"
