"""Which plug-ins kill workers: one that does so again and again is set aside."""

from __future__ import annotations

from typing import Final

from hookline.daemon.delivery.runner import ActionFacts

#: So many in a row, each while nothing else ran there.
MOST_DEATHS: Final = 5


class Deaths:
    """Counts, by plug-in and text, workers that died under it and nothing else. Built-in actions stay."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counts: dict[tuple[str, str], int] = {}

    def note_death(self, action: ActionFacts) -> bool:
        """Count one; return whether it is the one too many."""
        count = self._counts[self._key(action)] = self._counts.get(self._key(action), 0) + 1
        return count == MOST_DEATHS and self._is_plugin(action)

    def note_life(self, action: ActionFacts) -> None:
        """Take note that it ran and its worker lives."""
        if self._counts:
            self._counts.pop(self._key(action), None)

    def count(self, action: ActionFacts) -> int:
        """Return how many workers in a row died under it."""
        return self._counts.get(self._key(action), 0)

    def is_suspect(self, action: ActionFacts) -> bool:
        """Whether the last time that it ran killed a worker: then it runs alone."""
        return bool(self._counts) and self._is_plugin(action) and self._key(action) in self._counts

    def why_set_aside(self, action: ActionFacts) -> str | None:
        """Say why it is not run; None if it is. A changed plug-in is another."""
        if not self._counts or not self._is_plugin(action) or self._counts.get(self._key(action), 0) < MOST_DEATHS:
            return None
        return (
            f"the plug-in {action.name} was set aside: it killed five workers in a row; mend it, then hookline reload"
        )

    @staticmethod
    def _key(action: ActionFacts) -> tuple[str, str]:
        return action.name, action.digest

    @staticmethod
    def _is_plugin(action: ActionFacts) -> bool:
        return action.origin != "built-in"
