"""Dry runs: who asks for one, and what the attempt's record says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from hookline.daemon.config.settings import Destination
from hookline.rules import Step

#: The note of an attempt that was one; its answer is what `dry_run_text` wrote.
DRY_RUN_NOTE: Final = "dry run, nothing sent"


def is_dry_run(step: Step, destination: Destination | None) -> bool:
    """Whether the step, or else its destination, says that nothing is to be sent."""
    if step.modifiers.dry_run is not None:
        return step.modifiers.dry_run
    return bool(destination and destination.modifiers.dry_run)


def dry_run_text(action: str, options: Mapping[str, Any], limit: int) -> str:
    """Write what would have been sent: the action, and its options as JSON, secrets masked by the caller.

    At most `limit` characters; what is cut ends with `…`.
    """
    # A lone surrogate, which senders may write, has no UTF-8: escaped, it can be kept and printed everywhere.
    written = json.dumps(options, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    text = f"{action} {written}"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
