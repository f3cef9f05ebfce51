"""What a template may name: that depends on the modifiers of its step."""

from __future__ import annotations

from typing import Final

from hookline.rules.policies import Modifiers

#: What templates may name where one event is acted on.
VARIABLES: Final = frozenset(("event", "payload", "vars", "rule"))
#: What they may name in a digest.
DIGEST_VARIABLES: Final = frozenset(("events", "vars", "rule"))
#: Every name that some step gives.
ALL_VARIABLES: Final = VARIABLES | DIGEST_VARIABLES | {"previous"}


def names_for(modifiers: Modifiers) -> frozenset[str]:
    """Return what the templates of a step may name; `modifiers`: its own, over those of its destination."""
    if modifiers.digest is not None:
        return DIGEST_VARIABLES
    return VARIABLES | {"previous"} if modifiers.changed is not None else VARIABLES
