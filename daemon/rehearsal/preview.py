"""What a step would send for an event, secrets hidden and nothing sent: for explain, test, diff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hookline.daemon.actions.catalog import UnrunnableError
from hookline.daemon.actions.fields import Path
from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.actions.options import PreparedOptions, prepare
from hookline.daemon.actions.previewing import (
    MaskedLookup,
    check_rendered,
    rendered_step,
    secretive_leaves,
    unrunnable_step,
)
from hookline.daemon.actions.registry import Action
from hookline.daemon.actions.step_lookup import StepLookup
from hookline.daemon.actions.variables import template_variables
from hookline.daemon.config.settings import Destination, Settings
from hookline.daemon.delivery.runner import Rendered
from hookline.daemon.secrets import Secrets
from hookline.rules import Event, Step
from hookline.rules.options import lay_over
from hookline.rules.template import TemplateError

#: Steps whose compiled options are kept at hand.
MAX_PREPARED_STEPS = 10_000


class Previewer:
    """Renders steps, of one configuration. Every `${NAME}` and `${file:…}` stands as `***`, set or not."""

    def __init__(self, settings: Settings, secrets: Secrets, runner: LocalRunner) -> None:
        """`runner` knows the actions; it stays its owner's to close."""
        self._settings = settings
        self._lookup = MaskedLookup(settings, secrets)
        self._runner = runner
        self._prepared: dict[str, _Prepared] = {}

    async def render(self, event: Event, step: Step) -> Rendered:
        """Return what the step would send for the event. Sends nothing; an error is its `problem`."""
        return self.render_now(event, step)

    async def preview(self, event: Event, steps: Sequence[Step]) -> Sequence[Rendered]:
        """Render several steps."""
        return [self.render_now(event, step) for step in steps]

    def render_now(self, event: Event, step: Step) -> Rendered:
        """Do as `render`, where nothing can be awaited."""
        try:
            action, destination = self._runner.find(step)
        except UnrunnableError as error:
            return unrunnable_step(step, self._settings, error)
        try:
            prepared = self._prepare(step, action, destination)
            rendered = prepared.options.render(template_variables(event, step, self._settings.vars))
        except TemplateError as error:
            return rendered_step(step, action.name, destination, problem=str(error))
        shown, problem = check_rendered(prepared.options, rendered, prepared.secretive)
        return rendered_step(step, action.name, destination, options=shown, problem=problem, unset=prepared.unset)

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
    secretive: frozenset[Path]
    unset: tuple[str, ...]

    @classmethod
    def of(cls, step: Step, action: Action, destination: Destination | None, lookup: MaskedLookup) -> _Prepared:
        """Compile. Raises `TemplateError`."""
        whole = lay_over(destination.options, step.options) if destination else step.options
        secretive, unset = secretive_leaves(step, destination, lookup)
        options = prepare(action.options, whole, StepLookup(lookup, step))
        return cls(options=options, secretive=secretive, unset=unset)
