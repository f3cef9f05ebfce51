"""A delivery as the in-memory store holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hookline.daemon.store.changes import Attempt, DeliveryId, Lane, State, Token
from hookline.daemon.store.stored import Claimed
from hookline.rules import EventId

#: Before all else.
NEVER = datetime.min.replace(tzinfo=UTC)

_WORK_LEFT = frozenset({State.PENDING, State.RUNNING})


@dataclass(slots=True, kw_only=True)
class DeliveryRow:
    """A delivery as it stands."""

    id: DeliveryId
    event_id: EventId
    rule: str
    step: str
    lane: Lane
    destination: str
    created_at: datetime
    due_at: datetime
    replay_of: DeliveryId | None
    state: State = State.PENDING
    attempts: int = 0
    crashes: int = 0
    #: While it runs: whose it is, and until when.
    token: Token | None = None
    lease_ends: datetime = NEVER
    #: When its last claim ended, in whatever state.
    ended_at: datetime = NEVER
    tries: list[Attempt] = field(default_factory=list)
    order: str | None = None
    previous: str | None = None
    previous_from: EventId | None = None
    why: str = ""
    part_of: DeliveryId | None = None
    parts_of: DeliveryId | None = None
    is_digest: bool = False
    stands_for: int = 0
    is_replay: bool = False

    @property
    def has_work_left(self) -> bool:
        """Whether it waits or runs."""
        return self.state in _WORK_LEFT

    def begin(self, token: Token, *, now: datetime, lease: timedelta) -> None:
        """Claim it."""
        self.state, self.token, self.lease_ends = State.RUNNING, token, now + lease

    def end(self, state: State, *, now: datetime, due_at: datetime) -> None:
        """End the claim; a result with its token comes too late from here on."""
        self.state, self.token, self.lease_ends = state, None, NEVER
        self.due_at, self.ended_at = due_at, now

    def claimed(self) -> Claimed:
        """Return it as whoever runs it sees it."""
        assert self.token is not None, "it runs"  # noqa: S101
        return Claimed(
            id=self.id,
            token=self.token,
            event_id=self.event_id,
            rule=self.rule,
            step=self.step,
            lane=self.lane,
            destination=self.destination,
            attempts=self.attempts,
            created_at=self.created_at,
            crashes=self.crashes,
            order=self.order,
            previous=self.previous,
            is_digest=self.is_digest,
            suppressed=self.stands_for if self.parts_of is not None and not self.is_digest else 0,
            is_replay=self.is_replay,
        )
