"""One harmless delivery to a destination, now: an event about ourselves that no rule sees, stored like any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from hookline.daemon.delivery.dispatcher import Dispatcher
from hookline.daemon.ids import Ids
from hookline.daemon.reload.generation import Generation
from hookline.daemon.store.changes import Accept, DeliveryId, Lane, NewDelivery, NewEvent, Request
from hookline.daemon.store.group_commit import GroupCommit
from hookline.daemon.store.port import Store
from hookline.rules import Event, EventId, Modifiers, Problem, RetryPolicy, Step

#: What the event is, and what its rule is called.
SOURCE: Final = "hookline"
EVENT_TYPE: Final = "destination.test"
RULE: Final = "destinations test"
_CONTENT_TYPE: Final = "application/json"
# Nobody sends it twice: it is kept from being a duplicate by its own id.
_DEDUPE_WINDOW: Final = timedelta(hours=1)


class DestinationTestError(Exception):
    """The destination's options are not whole, or wrong. Caught by the admin API, which answers 422."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """`problems`: what is missing or wrong."""
        said = [f"{problem.path}: {problem.message}" for problem in problems]
        missing = [problem.path.rpartition(".")[2] for problem in problems if problem.message == "is missing"]
        if missing:
            said.append(f"rules give it, so give it here: --set {missing[0]}=…")
        elif any("." not in problem.path for problem in problems):
            # Not one option: what they say together is not whole.
            said.append("what rules give, give here: --set OPTION=VALUE")
        super().__init__("; ".join(said))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentTest:
    """A test that was stored, and is under way."""

    event_id: EventId
    delivery_id: DeliveryId

    def to_json(self) -> dict[str, Any]:
        """Return it as programs read it."""
        return {"event": self.event_id, "delivery": self.delivery_id}


class DestinationTester:
    """Makes test deliveries. They are tried once, at once, and pass by what defers or joins others."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        *,
        live: Callable[[], Generation],
        store: Store,
        commit: GroupCommit,
        dispatcher: Dispatcher,
        ids: Ids,
        clock: Callable[[], datetime],
    ) -> None:
        """`live` is asked each time: what goes live by a reload is what is tested."""
        self._live = live
        self._store = store
        self._commit = commit
        self._dispatcher = dispatcher
        self._ids = ids
        self._clock = clock

    async def send(self, name: str, options: Mapping[str, Any]) -> SentTest:
        """Store one delivery to a destination, with `options` laid over its own as a rule's would be.

        Raises `KeyError` for an unknown destination, `DestinationTestError`, and `StoreError`.
        """
        live = self._live()
        if name not in live.settings.destinations:
            raise KeyError(name)
        step = Step(
            rule=RULE,
            rule_facts={"name": RULE},
            destination=name,
            action=None,
            options=options,
            modifiers=Modifiers(retry=RetryPolicy(schedule=()), during=()),
            vars={},
        )
        problems = [problem for problem in await _problems_of(step, live) if _is_about(problem, name)]
        if problems:
            raise DestinationTestError(problems)
        await self._store.keep({step.digest: step.text})
        event = self._event(name)
        delivery_id = self._ids.delivery()
        delivery = NewDelivery(id=delivery_id, rule=RULE, step=step.digest, lane=Lane(step.lane), destination=name)
        new = NewEvent(
            event=event,
            pointer=None,
            rules_version=live.rules.version,
            matched=(RULE,),
            deliveries=(delivery,),
        )
        body = json.dumps(event.payload).encode()
        request = Request(body=body, content_type=_CONTENT_TYPE, headers={}, query={}, client_ip="")
        await self._commit.submit(Accept(request=request, events=(new,), dedupe_window=_DEDUPE_WINDOW))
        self._dispatcher.queued(Lane(name))
        return SentTest(event_id=event.id, delivery_id=delivery_id)

    def _event(self, name: str) -> Event:
        event_id = self._ids.event()
        return Event(
            id=event_id,
            source=SOURCE,
            type=EVENT_TYPE,
            sender_id=None,
            key=f"{EVENT_TYPE}/{event_id}",
            tenant=None,
            subject=f"destination/{name}",
            occurred_at=None,
            received_at=self._clock(),
            headers={},
            query={},
            client_ip="",
            payload={"destination": name, "text": f'A test of the destination "{name}": nothing has happened.'},
            envelope=None,
        )


async def _problems_of(step: Step, live: Generation) -> Sequence[Problem]:
    """Ask what `check` would say; a rule's options may not lead a destination's credentials elsewhere."""
    # Not the live runner itself: what it knows of plug-ins is of when it went live, and stays so.
    runner = live.runner.for_settings(live.settings, live.secrets)
    try:
        await runner.inspect()
        return await runner.validate([step])
    finally:
        await runner.close()


def _is_about(problem: Problem, name: str) -> bool:
    """Whether a problem is this destination's; the runner also tells of those that no step names."""
    # An option that is wrong in the configuration stands below `destinations`, one that was given now below the name.
    path = problem.path.removeprefix("destinations.")
    return problem.severity == "error" and (path == name or path.startswith((f"{name}.", f"{name}[")))
