"""What a step would send for an event, secrets hidden and nothing sent: for explain, test, diff."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from hookline.daemon.actions.catalog import UnrunnableError
from hookline.daemon.actions.dry_run import is_dry_run
from hookline.daemon.actions.fields import Path, fields_by_key, secretive_fields
from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.actions.masking import Mask, credentials_of, shown_options
from hookline.daemon.actions.options import OptionsError, PreparedOptions, leaves, prepare, type_errors
from hookline.daemon.actions.registry import Action
from hookline.daemon.actions.step_lookup import StepLookup
from hookline.daemon.actions.variables import template_variables
from hookline.daemon.config.settings import Destination, Settings
from hookline.daemon.secrets import MASK, Secrets
from hookline.rules import Event, Json, Step
from hookline.rules.interpolation import find_references
from hookline.rules.options import lay_over
from hookline.rules.problem import dotted
from hookline.rules.template import TemplateError

#: Steps whose compiled options are kept at hand.
MAX_PREPARED_STEPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What one step would send."""

    step: Step
    #: The destination's name, or the action's if it stands in place.
    destination: str
    #: Name of the action; "" if the destination does not exist (any more).
    action: str
    #: What the action would be given, plain JSON values; empty if they cannot be rendered.
    options: Mapping[str, Json]
    #: Why the delivery would fail, in the words of its error; None if it would not.
    problem: str | None
    #: The rule or the destination says `dry_run`: it is recorded, and not sent.
    dry_run: bool
    #: `${NAME}` and `${file:…}` in it that are not set here.
    unset: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON: `destination action options problem dry_run unset`."""
        return {
            "destination": self.destination,
            "action": self.action,
            "options": dict(self.options),
            "problem": self.problem,
            "dry_run": self.dry_run,
            "unset": list(self.unset),
        }


class Previewer:
    """Renders steps, of one configuration. Every `${NAME}` and `${file:…}` stands as `***`, set or not."""

    def __init__(self, settings: Settings, secrets: Secrets, runner: LocalRunner) -> None:
        """`runner` knows the actions; it stays its owner's to close."""
        self._settings = settings
        self._lookup = _MaskedLookup(secrets.with_variables(settings.vars))
        self._runner = runner
        self._prepared: dict[str, _Prepared] = {}

    async def render(self, event: Event, step: Step) -> Rendered:
        """Return what the step would send for the event. Sends nothing; an error is its `problem`."""
        return self.render_now(event, step)

    def render_now(self, event: Event, step: Step) -> Rendered:
        """Do as `render`, where nothing can be awaited."""
        try:
            action, destination = self._runner.find(step)
        except UnrunnableError as error:
            known = self._settings.destinations.get(step.destination or "")
            name = known.action if known else step.action or ""
            return _rendered(step, name, known, problem=str(error))
        try:
            prepared = self._prepare(step, action, destination)
            rendered = prepared.options.render(template_variables(event, step, self._settings.vars))
        except TemplateError as error:
            return _rendered(step, action.name, destination, problem=str(error))
        shown, problem = prepared.check(rendered)
        return _rendered(step, action.name, destination, options=shown, problem=problem, unset=prepared.unset)

    def _prepare(self, step: Step, action: Action, destination: Destination | None) -> _Prepared:
        kept = self._prepared.get(step.digest)
        if kept is None:
            if len(self._prepared) >= MAX_PREPARED_STEPS:
                self._prepared.pop(next(iter(self._prepared)))
            kept = self._prepared[step.digest] = _Prepared.of(step, action, destination, self._lookup)
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A step's options, compiled."""

    options: PreparedOptions
    #: Leaves that hold a reference to a secret: what is wrong with those is not known here.
    secretive: frozenset[Path]
    unset: tuple[str, ...]

    @classmethod
    def of(cls, step: Step, action: Action, destination: Destination | None, lookup: _MaskedLookup) -> _Prepared:
        """Compile. Raises `TemplateError`."""
        whole = lay_over(destination.options, step.options) if destination else step.options
        references = {
            path: [one for one in find_references(leaf) if one.kind in {"secret", "file"}]
            for path, leaf in leaves(whole)
            if isinstance(leaf, str)
        }
        named = {(one.kind, one.name): None for found in references.values() for one in found}
        return cls(
            options=prepare(action.options, whole, StepLookup(lookup, step)),
            secretive=frozenset(path for path, found in references.items() if found),
            unset=tuple(_written(*one) for one in named if not lookup.is_set(*one)),
        )

    def check(self, rendered: dict[str, Any]) -> tuple[Mapping[str, Json], str | None]:
        """Return the options as the action would be given them, and what is wrong with them, None if nothing is."""
        try:
            filled = self.options.validate(rendered)
        except OptionsError as error:
            shown = _without_credentials(self.options.model, rendered)
            if not self.secretive:
                return shown, str(error)
            found = type_errors(self.options.model, rendered, set(self.secretive))
            return shown, "; ".join(f"{dotted(path) or 'options'}: {said}" for path, said in found) or None
        return shown_options(filled, Mask(tuple(credentials_of(filled)))), None


class _MaskedLookup:
    """A `Lookup` that knows which secrets are set, and gives out none."""

    def __init__(self, lookup: Secrets) -> None:
        self._lookup = lookup

    def secret(self, _name: str) -> str:
        return MASK

    def file(self, _path: str) -> str:
        return MASK

    def variable(self, name: str) -> Json:
        return self._lookup.variable(name)

    def is_set(self, kind: str, name: str) -> bool:
        try:
            return bool(self._lookup.secret(name) if kind == "secret" else self._lookup.file(name))
        except ValueError:
            return False


def _written(kind: str, name: str) -> str:
    return f"${{{name}}}" if kind == "secret" else f"${{file:{name}}}"


def _without_credentials(model: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Json]:
    """Hide what may hold a credential in options that are not the model's yet."""
    hidden = {id(model.model_fields[name]) for name in secretive_fields(model)}
    fields = fields_by_key(model)
    return {key: MASK if key in fields and id(fields[key]) in hidden else value for key, value in options.items()}


def _rendered(  # noqa: PLR0913 - the parts of the answer, by name
    step: Step,
    action: str,
    destination: Destination | None,
    *,
    options: Mapping[str, Json] | None = None,
    problem: str | None = None,
    unset: tuple[str, ...] = (),
) -> Rendered:
    return Rendered(
        step=step,
        destination=step.label,
        action=action,
        options=options or {},
        problem=problem,
        dry_run=is_dry_run(step, destination),
        unset=unset,
    )
