"""What a step's attempts are made with, resolved: all that a worker is told of the configuration, and no more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from hookline.daemon.actions.dry_run import is_dry_run
from hookline.daemon.actions.options import leaves
from hookline.daemon.actions.step_lookup import StepLookup
from hookline.daemon.config.settings import Destination
from hookline.daemon.delivery.runner import ActionFacts
from hookline.rules import Json, Step
from hookline.rules.interpolation import Lookup, UnsetError
from hookline.rules.options import lay_over
from hookline.rules.template import references_in, template_variables

#: Steps whose kits, and whose compiled options, are kept at hand.
MAX_KITS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """A step with its destination's settings of this moment and the values of what its texts name."""

    #: Hash of all the rest.
    digest: str = ""
    #: Name of the action.
    action: str
    #: The step's options, laid over its destination's, as written.
    options: Mapping[str, Any]
    #: What templates see as `rule` and as `vars`.
    rule: Mapping[str, Json]
    vars: Mapping[str, Json]
    #: Values of `${NAME}`, `${file:PATH}` and `${vars.NAME}`, by NAME and PATH, as far as they are set.
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, Json] = field(default_factory=dict)
    #: Why a `${NAME}` or `${file:PATH}` cannot be read, by NAME and PATH.
    unreadable: Mapping[str, str] = field(default_factory=dict)
    #: Networks that a host computed by a template may lie in, besides the public ones.
    allow_networks: tuple[str, ...] = ()
    is_dry_run: bool = False
    #: How long `once` collects what its summary tells of, in seconds.
    once_within: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; `Kit.from_json` reads it back."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Kit:
        """Read back what `to_json` wrote."""
        return cls(**{**kept, "allow_networks": tuple(kept["allow_networks"])})


class KitLookup:
    """The `Lookup` of a kit: finds what was put into it, and nothing else."""

    def __init__(self, kit: Kit) -> None:
        """Look up in `kit`."""
        self._kit = kit

    def secret(self, name: str) -> str | None:
        """As `Lookup.secret`."""
        if name in self._kit.unreadable:
            raise ValueError(self._kit.unreadable[name])
        return self._kit.secrets.get(name)

    def file(self, path: str) -> str:
        """As `Lookup.file`."""
        if path not in self._kit.files:
            raise ValueError(self._kit.unreadable.get(path, f"{path} was not given"))
        return self._kit.files[path]

    def variable(self, name: str) -> Json:
        """As `Lookup.variable`."""
        return self._kit.variables[name]


class Kits:
    """Makes kits by one configuration, and keeps them until a secret in them changes."""

    def __init__(self, variables: Mapping[str, Json], lookup: Lookup) -> None:
        """`variables`: the configuration's, under those of rules. `lookup`: the daemon's."""
        self._variables = variables
        self._lookup = lookup
        self._kept: dict[str, tuple[Kit, StepLookup]] = {}

    def kit(self, step: Step, action: ActionFacts, destination: Destination | None) -> Kit:
        """Return the step's kit of this moment."""
        kept = self._kept.get(step.digest)
        if kept is not None and kept[1].is_current():
            return kept[0]
        lookup = StepLookup(self._lookup, step)
        kit = make_kit(step, action, destination, variables=self._variables, lookup=lookup)
        if not kit.unreadable:
            if len(self._kept) >= MAX_KITS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[step.digest] = kit, lookup
        return kit


def make_kit(
    step: Step,
    action: ActionFacts,
    destination: Destination | None,
    *,
    variables: Mapping[str, Json],
    lookup: Lookup,
) -> Kit:
    """Put together what the step needs: of secrets, files and variables those that its texts name."""
    options = lay_over(destination.options, step.options) if destination is not None else dict(step.options)
    found = _Found()
    for text in _texts(options, action):
        found.add(text, lookup)
    modifiers = step.modifiers.over(destination.modifiers) if destination is not None else step.modifiers
    seen = {name: value for name, value in variables.items() if found.named is None or name in found.named}
    kit = Kit(
        action=action.name,
        options=options,
        rule=step.rule_facts,
        vars={**seen, **step.vars},
        secrets=found.secrets,
        files=found.files,
        variables=found.variables,
        unreadable=found.unreadable,
        allow_networks=tuple(map(str, destination.allow_networks)) if destination is not None else (),
        is_dry_run=is_dry_run(step, destination),
        once_within=modifiers.once.within.total_seconds() if modifiers.once is not None else None,
    )
    written = json.dumps(asdict(kit), sort_keys=True)
    return Kit(**{**kit.to_json(), "digest": hashlib.sha256(written.encode()).hexdigest()[:32]})


class _Found:
    """What texts name, and its values."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.variables: dict[str, Json] = {}
        self.unreadable: dict[str, str] = {}
        #: Variables that templates see; None: all.
        self.named: set[str] | None = set()

    def add(self, text: str, lookup: Lookup) -> None:
        """Look up what one text names."""
        named = template_variables(text)
        if named is None:
            self.named = None
        elif self.named is not None:
            # `${vars.a.b}` is looked up in `a`.
            self.named |= named | {name.partition(".")[0] for name in named}
        for reference, _ in references_in(text):
            name = reference.name
            try:
                match reference.kind:
                    case "secret":
                        value = lookup.secret(name)
                        if value is not None:
                            self.secrets[name] = value
                    case "file":
                        self.files[name] = lookup.file(name)
                    case "variable":
                        with suppress(KeyError, UnsetError):
                            self.variables[name] = lookup.variable(name)
                    case "escape" | "malformed":
                        pass
            except ValueError as error:
                self.unreadable[name] = str(error)


def _texts(options: Mapping[str, Any], action: ActionFacts) -> Iterator[str]:
    """Yield what is compiled or interpolated: what was written, and the defaults of what was not."""
    described = action.schema.get("properties", {})
    defaults = [about.get("default") for key, about in described.items() if key not in options]
    for _, leaf in leaves([options, defaults]):
        if isinstance(leaf, str):
            yield leaf
