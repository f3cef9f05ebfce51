"""What rules may refer to: everything around them that the loader must know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from hookline.rules.event import Json
from hookline.rules.interpolation import Lookup
from hookline.rules.policies import Modifiers


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Names that exist outside of the rule files."""

    #: Sources by name, each with the event types that its type documents; None if any may come.
    sources: Mapping[str, Collection[str] | None]
    #: Destinations by name, each with the name of its action.
    destinations: Mapping[str, str]
    #: The modifiers of destinations by name, where they have any: they hold where a step says nothing.
    defaults: Mapping[str, Modifiers] = field(default_factory=dict)
    #: Names of actions.
    actions: Collection[str]
    #: `vars` of hookline.yaml. They are kept with the rule set, so they are no place for secrets.
    vars: Mapping[str, Json] = field(default_factory=dict)
    #: Where `${NAME}` and `${file:PATH}` are looked up.
    lookup: Lookup
    #: Hashes of the actions by name: an action that changed makes another rule set.
    plugins: Mapping[str, str] = field(default_factory=dict)
    #: Hookline's.
    version: str
    #: False for rule sets of the past: names that are not there any more are not mistakes.
    check_references: bool = True
    #: True where secrets may be unset that the daemon has: they are no mistakes then.
    is_offline: bool = False


class RuleLookup:
    """A `Lookup` that knows the variables of the rules as well."""

    def __init__(self, lookup: Lookup, variables: Mapping[str, Json]) -> None:
        """`variables`: those of hookline.yaml and of all rule files."""
        self._lookup = lookup
        self._variables = variables
        #: Every secret that was found, with the `${…}` that stands for it.
        self.seen: dict[str, str] = {}

    def secret(self, name: str) -> str | None:
        """Return a secret."""
        value = self._lookup.secret(name)
        if value:
            self.seen[value] = f"${{{name}}}"
        return value

    def file(self, path: str) -> str:
        """Return a file's text."""
        value = self._lookup.file(path)
        self.seen[value] = f"${{file:{path}}}"
        return value

    @property
    def unset(self) -> frozenset[str]:
        """The references that stood for nothing so far."""
        return frozenset(self._lookup.unset) if isinstance(self._lookup, LenientLookup) else frozenset()

    def variable(self, name: str) -> Json:
        """Return a variable of the rules or of hookline.yaml, or a value inside one: `channels.acme`."""
        return variable_value(self._variables, name)


def variable_value(variables: Mapping[str, Json], name: str) -> Json:
    """Return a variable, or a value inside one. Raises `KeyError` if there is none."""
    if name in variables:
        return variables[name]
    value: Json = dict(variables)
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            raise KeyError(name)
        value = value[step]
    return value


class LenientLookup:
    """A `Lookup` in which a secret that is not set stands for its own name: for the past, and for checks elsewhere."""

    def __init__(self, lookup: Lookup) -> None:
        """`lookup` is asked first."""
        self._lookup = lookup
        #: The references that stood for nothing.
        self.unset: set[str] = set()

    def secret(self, name: str) -> str | None:
        """Return a secret, or the reference."""
        try:
            value = self._lookup.secret(name)
        except ValueError:
            value = None
        return value or self._stand_in(f"${{{name}}}")

    def file(self, path: str) -> str:
        """Return a file's text, or the reference."""
        try:
            return self._lookup.file(path) or self._stand_in(f"${{file:{path}}}")
        except ValueError:
            return self._stand_in(f"${{file:{path}}}")

    def variable(self, name: str) -> Json:
        """Return a variable."""
        return self._lookup.variable(name)

    def _stand_in(self, written: str) -> str:
        self.unset.add(written)
        return written


class NoLookup:
    """A `Lookup` that knows nothing."""

    def secret(self, name: str) -> str | None:
        """Know none."""
        nothing: dict[str, str] = {}
        return nothing.get(name)

    def file(self, path: str) -> str:
        """Read none."""
        raise ValueError(f"{path} is not read")

    def variable(self, name: str) -> Json:
        """Know none."""
        raise KeyError(name)
