"""What a step would send for an event, secrets hidden: prepared by the daemon, carried out where plug-ins run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from hookline.daemon.actions.catalog import Catalog, UnrunnableError
from hookline.daemon.actions.dry_run import is_dry_run
from hookline.daemon.actions.fields import Path, fields_by_key, secretive_fields
from hookline.daemon.actions.kits import Kit, KitLookup, make_kit
from hookline.daemon.actions.masking import Mask, credentials_of, shown_options
from hookline.daemon.actions.options import OptionsError, PreparedOptions, leaves, prepare, type_errors
from hookline.daemon.actions.registry import Action
from hookline.daemon.actions.step_lookup import StepLookup
from hookline.daemon.config.settings import Destination, Settings
from hookline.daemon.delivery.runner import Rendered
from hookline.daemon.secrets import MASK, Secrets
from hookline.rules import Event, Json, Problem, Step
from hookline.rules.interpolation import Lookup, find_references
from hookline.rules.options import lay_over
from hookline.rules.problem import dotted
from hookline.rules.template import TemplateError

#: Of options that are shown to somebody: characters of a text, members of a list or mapping, and values in all.
MOST_CHARACTERS: Final = 2_000
MOST_MEMBERS: Final = 50
MOST_VALUES: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewKit:
    """A step with all that it is rendered with; each `${NAME}` and `${file:…}` stands as `***`, set or not."""

    step: Step
    destination: Destination | None
    kit: Kit
    #: Leaves that hold a reference to a secret: what is wrong with those is not known here.
    secretive: frozenset[Path]
    #: `${NAME}` and `${file:…}` in it that are not set here.
    unset: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `read_preview` reads back."""
        return {"kit": self.kit.to_json(), "secretive": [list(path) for path in self.secretive]}

    def rendered(self, options: Mapping[str, Json], problem: str | None) -> Rendered:
        """Return what was made of it."""
        return rendered_step(
            self.step, self.kit.action, self.destination, options=options, problem=problem, unset=self.unset
        )


def preview_kit(step: Step, catalog: Catalog, lookup: MaskedLookup) -> PreviewKit | Rendered:
    """Put together what the step is rendered with; if its destination or action is not there, that is the answer."""
    try:
        action, destination = catalog.find(step)
    except UnrunnableError as error:
        return unrunnable_step(step, lookup.settings, error)
    secretive, unset = secretive_leaves(step, destination, lookup)
    variables = lookup.settings.vars
    kit = make_kit(step, action, destination, variables=variables, lookup=StepLookup(lookup, step))
    return PreviewKit(step=step, destination=destination, kit=kit, secretive=secretive, unset=unset)


def unrunnable_step(step: Step, settings: Settings, error: UnrunnableError) -> Rendered:
    """Return what is said of a step whose destination or action is not there, or is off."""
    known = settings.destinations.get(step.destination or "")
    return rendered_step(step, known.action if known else step.action or "", known, problem=str(error))


def rendered_step(  # noqa: PLR0913 - the parts of the answer, by name
    step: Step,
    action: str,
    destination: Destination | None,
    *,
    options: Mapping[str, Json] | None = None,
    problem: str | None = None,
    unset: tuple[str, ...] = (),
) -> Rendered:
    """Return what is said of a step."""
    return Rendered(
        step=step,
        destination=step.label,
        action=action,
        options=options or {},
        problem=problem,
        dry_run=is_dry_run(step, destination),
        unset=unset,
    )


def read_preview(kept: Mapping[str, Any]) -> tuple[Kit, frozenset[Path]]:
    """Read back what `PreviewKit.to_json` wrote."""
    return Kit.from_json(kept["kit"]), frozenset(tuple(path) for path in kept["secretive"])


def show(
    kit: Kit, secretive: frozenset[Path], find: Callable[[str], Action | None], event: Event
) -> tuple[dict[str, Json], str | None]:
    """Return the options that the action would be given, bounded, and why the delivery would fail, None if not."""
    action = find(kit.action)
    if action is None:
        return {}, f'no action "{kit.action}"'
    try:
        options = prepare(action.options, kit.options, KitLookup(kit))
        rendered = options.render({"event": event, "payload": event.payload, "vars": kit.vars, "rule": kit.rule})
    except TemplateError as error:
        return {}, str(error)
    shown, problem = check_rendered(options, rendered, secretive)
    return bounded(shown), problem


def secretive_leaves(
    step: Step, destination: Destination | None, lookup: MaskedLookup
) -> tuple[frozenset[Path], tuple[str, ...]]:
    """Return the leaves of a step's options that hold a secret's name, and the names that stand for nothing here."""
    whole = lay_over(destination.options, step.options) if destination else step.options
    references = {
        path: [one for one in find_references(leaf) if one.kind in {"secret", "file"}]
        for path, leaf in leaves(whole)
        if isinstance(leaf, str)
    }
    named = {(one.kind, one.name): None for found in references.values() for one in found}
    unset = tuple(_written(*one) for one in named if not lookup.is_set(*one))
    return frozenset(path for path, found in references.items() if found), unset


def check_rendered(
    options: PreparedOptions, rendered: dict[str, Any], secretive: frozenset[Path]
) -> tuple[Mapping[str, Json], str | None]:
    """Return rendered options as the action would be given them, and what is wrong with them, None if nothing is."""
    try:
        filled = options.validate(rendered)
    except OptionsError as error:
        shown = _without_credentials(options.model, rendered)
        if not secretive:
            return shown, str(error)
        found = type_errors(options.model, rendered, set(secretive))
        return shown, "; ".join(f"{dotted(path) or 'options'}: {said}" for path, said in found) or None
    return shown_options(filled, Mask(tuple(credentials_of(filled)))), None


class MaskedLookup:
    """A `Lookup` that knows which secrets are set, and gives out none."""

    def __init__(self, settings: Settings, secrets: Secrets | None) -> None:
        """`secrets` None: all count as set, and none is looked up: who typed their names must learn nothing."""
        self.settings = settings
        self._secrets = secrets
        self._variables: Lookup = Secrets({}, folder=settings.path.parent).with_variables(settings.vars)

    def secret(self, _name: str) -> str:
        """Return what stands for any."""
        return MASK

    def file(self, _path: str) -> str:
        """Return what stands for any."""
        return MASK

    def variable(self, name: str) -> Json:
        """Return a variable, which is no secret."""
        return self._variables.variable(name)

    def is_set(self, kind: str, name: str) -> bool:
        """Whether a secret or a file is there."""
        if self._secrets is None:
            return True
        try:
            return bool(self._secrets.secret(name) if kind == "secret" else self._secrets.file(name))
        except ValueError:
            return False


class EmptyLookup:
    """A `Lookup` that knows variables and no secret: for checking what somebody typed."""

    def __init__(self, settings: Settings) -> None:
        """Take the configuration's variables."""
        self._variables: Lookup = Secrets({}, folder=settings.path.parent).with_variables(settings.vars)

    def secret(self, _name: str) -> str | None:
        """Know none."""
        return None

    def file(self, path: str) -> str:
        """Read none."""
        raise ValueError(f"${{file:{path}}} is not read here")

    def variable(self, name: str) -> Json:
        """Return a variable."""
        return self._variables.variable(name)


def without_unset(problems: Iterable[Problem], lookup: StepLookup) -> list[Problem]:
    """Leave out problems that are there only because a secret is not known here."""
    return [problem for problem in problems if not any(name in problem.message for name in lookup.unset)]


def bounded(options: Mapping[str, Json]) -> dict[str, Json]:
    """Cut options to what a person may want to read; what was cut ends with `…`."""
    left = [MOST_VALUES]
    return {key[:MOST_CHARACTERS]: _bounded(value, left) for key, value in list(options.items())[:MOST_MEMBERS]}


def _bounded(value: Json, left: list[int]) -> Json:
    left[0] -= 1
    if left[0] < 0:
        return "…"
    match value:
        case str() if len(value) > MOST_CHARACTERS:
            return f"{value[:MOST_CHARACTERS]}…"
        case list():
            more: list[Json] = ["…"] if len(value) > MOST_MEMBERS else []
            return [_bounded(item, left) for item in value[:MOST_MEMBERS]] + more
        case dict():
            kept = {key[:MOST_CHARACTERS]: _bounded(item, left) for key, item in list(value.items())[:MOST_MEMBERS]}
            return kept | {"…": "…"} if len(value) > MOST_MEMBERS else kept
        case _:
            return value


def _written(kind: str, name: str) -> str:
    return f"${{{name}}}" if kind == "secret" else f"${{file:{name}}}"


def _without_credentials(model: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Json]:
    """Hide what may hold a credential in options that are not the model's yet."""
    hidden = {id(model.model_fields[name]) for name in secretive_fields(model)}
    fields = fields_by_key(model)
    return {key: MASK if key in fields and id(fields[key]) in hidden else value for key, value in options.items()}
