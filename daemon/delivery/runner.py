"""The seam between the daemon and the actions: inspect, validate, run. Behind it the parent or worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from hookline.daemon.config.settings import Settings
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.changes import Outcome
from hookline.plugins import Delivery
from hookline.rules import Event, Json, Problem, Step

if TYPE_CHECKING:
    # It is made of the facts that are defined here.
    from hookline.daemon.actions.catalog import Catalog


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
    #: True if it was not tried to its end, by no fault of its own: spend no attempt, and try again at once.
    is_interrupted: bool = False
    #: CRASHED, and it is not known that it was its doing: others ran there too.
    is_bystander: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt to make."""

    delivery: Delivery
    step: Step
    #: How long it may take.
    limit: timedelta
    #: Where the payload stands in the parsed body; None: it is the whole. As in `NewEvent`.
    pointer: tuple[str | int, ...] | None = None
    #: What the event was read from, if reading the body again does not give it. As in `Request`.
    document: str | None = None
    #: A worker died while it ran beside others, so it runs alone: if that dies too, it is this one's doing.
    is_suspect: bool = False


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


class Runner(Protocol):
    """Runs actions. Calls may be made concurrently; none of them raises for what an action does."""

    async def inspect(self) -> Inspection:
        """Load the actions and say what there is."""
        ...

    async def validate(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Check each step's options, laid over its destination's, against its action."""
        ...

    async def run(self, work: Work) -> Result:
        """Render the step for the delivery and run its action. CRASHED if the process that ran it died."""
        ...

    async def close(self) -> None:
        """Let go of connections and workers."""
        ...


@dataclass(slots=True, kw_only=True)
class WorkerTally:
    """How many worker processes there are, and were since the daemon began."""

    alive: int = 0
    #: Those that try plug-ins or rules out among them.
    started: int = 0
    #: Unasked, while they served.
    died: int = 0


class LiveRunner(Runner, Protocol):
    """A runner of one configuration that can be followed by that of another while deliveries run."""

    @property
    def tally(self) -> WorkerTally:
        """How many workers there are and were, those of the runners before it among them."""
        ...

    @property
    def catalog(self) -> Catalog:
        """What there is to run, by what `inspect` found."""
        ...

    @property
    def without_worker(self) -> timedelta:
        """How long there has been no worker that serves; nothing for one that needs none."""
        ...

    async def preview(self, event: Event, steps: Sequence[Step], *, is_typed: bool = False) -> Sequence[Rendered]:
        """Say what steps would send for an event, secrets hidden and long values cut. Nothing is sent.

        `is_typed`: somebody typed them, who must not even learn which secrets are set.
        """
        ...

    async def warm(self) -> None:
        """Begin to prepare for `preview`, without waiting: somebody looks around."""
        ...

    async def check(self, steps: Sequence[Step]) -> Sequence[Problem]:
        """Check steps that somebody typed, as `validate` does; what only a secret could show is left out."""
        ...

    def for_settings(self, settings: Settings, secrets: Secrets) -> LiveRunner:
        """Return the runner of another configuration; this one goes on. Then call its `go_live` or its `close`."""
        ...

    def go_live(self) -> None:
        """Take over from the runner that this one was made of, which finishes what it runs and is nobody's to close.

        Call once, after `inspect`.
        """
        ...
