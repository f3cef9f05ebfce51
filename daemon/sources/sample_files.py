"""The bodies that samples are made of: files beside this module, or what a user's own type says."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Final

from hookline.daemon.sources.source_type import SourceType
from hookline.rules import Json

_FOLDER: Final = resources.files("hookline.daemon.sources") / "samples"
_SUFFIX: Final = ".json"


def sample_names(kind: SourceType) -> tuple[str, ...]:
    """Return the event types that a source type has a body of, sorted."""
    folder = _FOLDER / kind.name
    if kind.samples or kind.origin != "built in" or not folder.is_dir():
        return tuple(sorted(kind.samples))
    files = (file.name for file in folder.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX)))


def sample_body(kind: SourceType, event_type: str) -> Json:
    """Return a body of one of `sample_names`, as its sender sends it; the caller's own."""
    if event_type in kind.samples:
        return copy.deepcopy(kind.samples[event_type])
    body: Json = json.loads((_FOLDER / kind.name / f"{event_type}{_SUFFIX}").read_bytes())
    return body
