"""The seam between the daemon and the actions: inspect, validate, run. Behind it the parent or worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from hookline.daemon.store.changes import Outcome
from hookline.plugins import Delivery
from hookline.rules import Problem, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFacts:
    """What is known of an action without importing it."""

    name: str
    #: First line of its docstring.
    summary: str
    #: JSON Schema of its options.
    schema: Mapping[str, Any]
    #: `built-in`, the file in the plug-ins folder, or the entry point.
    origin: str
    #: Hash of its text, for the rule set's version.
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the runner found."""

    actions: Mapping[str, ActionFacts]
    #: Broken plug-ins, each with file, line and cause.
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one attempt ended."""

    outcome: Outcome
    duration: timedelta
    #: The other side's status code, if there was one.
    status: int | None = None
    #: What the action returned, or the error's text.
    note: str = ""
    #: A bounded piece of the answer; of a dry run, what would have been sent.
    answer: str = ""
    retry_after: timedelta | None = None
    #: True if the other side said 410 to an address that the operator wrote literally: hold the destination.
    is_gone: bool = False
    #: True if the destination or the action does not exist (any more): hold the delivery, spend no attempt.
    is_unrunnable: bool = False


class Runner(Protocol):
    """Runs actions. Calls may be made concurrently; none of them raises for what an action does."""

    async def inspect(self) -> Inspection:
        """Load the actions and say what there is."""
        ...

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Check each step's options, laid over its destination's, against its action."""
        ...

    async def run(self, delivery: Delivery, step: Step, *, limit: timedelta) -> Result:
        """Render the step for the delivery and run its action, at most `limit` long."""
        ...

    async def render(self, delivery: Delivery, step: Step) -> Mapping[str, Any]:
        """Return what `run` would hand to the action, secrets masked: for explain and dry runs. Raises `ValueError`."""
        ...

    async def close(self) -> None:
        """Let go of connections and workers."""
        ...
