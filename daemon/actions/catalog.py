"""Which destinations and actions there are, by what is known of them without importing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hookline.daemon.config.settings import Destination
from hookline.daemon.delivery.runner import ActionFacts
from hookline.rules import Problem, Step
from hookline.rules.suggestion import suggest

#: The action that runs programs: off unless the configuration says otherwise.
_COMMAND: Final = "command"


class UnrunnableError(Exception):
    """The destination or action is not there, or is off. Caught by runners, previews, and whoever settles lanes."""

    def __init__(self, message: str, *, is_broken: bool = False) -> None:
        """`is_broken`: its plug-in is there, and could not be loaded."""
        super().__init__(message)
        self.is_broken = is_broken


def _nothing_set_aside(_: ActionFacts) -> str | None:
    return None


class Catalog:
    """Answers what a step would run by one configuration."""

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        actions: Mapping[str, ActionFacts],
        problems: Sequence[Problem] = (),
        *,
        allow_commands: bool = False,
        why_set_aside: Callable[[ActionFacts], str | None] = _nothing_set_aside,
    ) -> None:
        """`problems`: of broken plug-ins, which are not in `actions`. `why_set_aside`: asked each time."""
        self._destinations = destinations
        self._actions = actions
        self._problems = problems
        self._allow_commands = allow_commands
        self._why_set_aside = why_set_aside

    @property
    def actions(self) -> Mapping[str, ActionFacts]:
        """The actions that there are, by name."""
        return self._actions

    @property
    def problems(self) -> Sequence[Problem]:
        """What is wrong with plug-ins that are none because of it."""
        return self._problems

    def find(self, step: Step) -> tuple[ActionFacts, Destination | None]:
        """Return the step's action, and its destination if it names one. Raises `UnrunnableError`."""
        return self.look_up(step.destination, step.action)

    def look_up(self, destination_name: str | None, action_name: str | None) -> tuple[ActionFacts, Destination | None]:
        """Return the action that a destination uses, or that is named itself. Raises `UnrunnableError`."""
        destination = None
        name = action_name or ""
        if destination_name is not None:
            destination = self._destinations.get(destination_name)
            if destination is None:
                hint = suggest(destination_name, self._destinations, what="destinations")
                raise UnrunnableError(f'no destination "{destination_name}"' + (f"; {hint}" if hint else ""))
            name = destination.action
        action = self._actions.get(name)
        if action is None:
            broken = next((problem for problem in self._problems if problem.path == name), None)
            hint = str(broken) if broken else suggest(name, self._actions, what="actions")
            raise UnrunnableError(f'no action "{name}"' + (f"; {hint}" if hint else ""), is_broken=broken is not None)
        if name == _COMMAND and not self._allow_commands:
            raise UnrunnableError("command is off; allow_commands: true in hookline.yaml allows rules to run programs")
        why = self._why_set_aside(action)
        if why is not None:
            raise UnrunnableError(why, is_broken=True)
        return action, destination
