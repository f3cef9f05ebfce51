"""Where the `${…}` of one step are looked up: the variables of its rule first, then the configuration."""

from __future__ import annotations

from hookline.rules import Json, Step
from hookline.rules.interpolation import Lookup, UnsetError


class StepLookup:
    """A `Lookup` that remembers what it gave out, to tell later whether that still holds."""

    def __init__(self, lookup: Lookup, step: Step) -> None:
        """`lookup`: the daemon's."""
        self._lookup = lookup
        self._vars = step.vars
        self._secrets: dict[str, str | None] = {}
        self._files: dict[str, str] = {}
        #: `${NAME}` that are not set.
        self.unset: set[str] = set()

    def secret(self, name: str) -> str | None:
        """As `Lookup.secret`."""
        value = self._secrets[name] = self._lookup.secret(name)
        if not value:
            self.unset.add(f"${{{name}}}")
        return value

    def file(self, path: str) -> str:
        """As `Lookup.file`."""
        try:
            value = self._files[path] = self._lookup.file(path)
        except ValueError as error:
            self.unset.add(str(error))
            raise
        return value

    def variable(self, name: str) -> Json:
        """As `Lookup.variable`."""
        if name in self._vars:
            return self._vars[name]
        try:
            return self._lookup.variable(name)
        except UnsetError as error:
            raise KeyError(name) from error

    def is_current(self) -> bool:
        """Whether every secret is still what it was: a changed one takes effect with the next attempt."""
        try:
            return all(self._lookup.secret(name) == value for name, value in self._secrets.items()) and all(
                self._lookup.file(path) == value for path, value in self._files.items()
            )
        except ValueError:
            return False
