"""One configuration with all that is made of it: a value that is built whole, then swapped in by one reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hookline.daemon.config.settings import DEFAULT_CONCURRENCY, Settings
from hookline.daemon.delivery.runner import LiveRunner
from hookline.daemon.http.receiver import ReceiverSettings
from hookline.daemon.lanes.policy import LanePolicy
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.build import rates_of
from hookline.daemon.sources.port import Source
from hookline.daemon.store.changes import Lane
from hookline.rules import RuleSet

#: Keys that are read at a start alone: sockets are bound, and the store is open.
AT_START = ("listen", "admin", "store", "workers")
#: Of an action in place, which has no configuration of its own.
_IN_PLACE = LanePolicy(concurrency=DEFAULT_CONCURRENCY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What events are received, matched and delivered by. Never changed: a reload makes another."""

    settings: Settings
    secrets: Secrets
    #: By name.
    sources: Mapping[str, Source]
    runner: LiveRunner
    rules: RuleSet
    policies: Mapping[Lane, LanePolicy]
    #: Keys that were changed on disk and need a restart.
    restart: tuple[str, ...] = ()

    def policy(self, lane: Lane) -> LanePolicy:
        """Return what the configuration says of a lane; the default for an action in place."""
        return self.policies.get(lane, _IN_PLACE)

    @property
    def receiver(self) -> ReceiverSettings:
        """What of the configuration concerns the receiver."""
        settings = self.settings
        return ReceiverSettings(
            limits=settings.limits,
            public_url=settings.public_url,
            trusted_proxies=settings.trusted_proxies,
            rates=rates_of(settings.sources.values(), settings.source_types),
        )


def policies_of(settings: Settings) -> dict[Lane, LanePolicy]:
    """Return what a configuration says of each destination's lane."""
    return {
        Lane(name): LanePolicy(
            concurrency=destination.concurrency, modifiers=destination.modifiers, bounds=destination.bounds
        )
        for name, destination in settings.destinations.items()
    }
