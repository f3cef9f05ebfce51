"""What is known of a configured source: its URL, what it received, what was refused, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from hookline.daemon.config.settings import Settings
from hookline.daemon.sources.port import SourceSettings
from hookline.daemon.sources.proof_text import signs_url
from hookline.daemon.sources.public_url import own_url, url_below
from hookline.daemon.sources.refusals import MOST_ROWS, Refusal, refusals
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import EventSearch, Fact, Pause, SourceActivity
from hookline.rules import Json
from hookline.rules.interpolation import find_references
from hookline.rules.units import parse_duration

#: What counts as lately.
LATELY: Final = timedelta(hours=24)
#: Of one among many: a day of eight causes.
_FEWEST_ROWS: Final = 200
#: How many kept events are counted.
MOST_KEPT: Final = 1_000
#: The fact that names the paused sources that were told to go on.
RESUMING: Final = "resuming"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """One source, as far as configuration, store and a running daemon say."""

    name: str
    #: Name of the source type, and what people call it.
    type: str
    title: str
    #: What to paste into the sender's settings, path token and all: a secret, if there is one.
    url: str
    #: The same with `***` for the token.
    masked_url: str
    #: Whether that is what a sender outside can call; else it is where the daemon listens.
    is_public: bool
    #: Whether its sender signs that URL.
    signs_url: bool
    #: Names of secrets in its options that are not set where this is asked.
    unset: tuple[str, ...]
    #: None if it never received anything.
    activity: SourceActivity | None
    #: How often something should come; None if nothing was said.
    expect_every: timedelta | None
    #: The latest cause first.
    refusals: tuple[Refusal, ...]
    #: How many secrets its sender brought; None if the sender brings none, or no daemon says.
    learned: int | None
    #: Whether it would take a secret now.
    is_waiting: bool
    #: None: it is not paused.
    pause: Pause | None
    #: It was told to go on, and what was kept is being routed.
    is_resuming: bool
    #: Events kept while it is paused, yet to be routed; at most `MOST_KEPT` are counted.
    kept: int

    def is_silent(self, now: datetime) -> bool:
        """Say whether something should have come by now and did not."""
        return (
            self.expect_every is not None
            and self.activity is not None
            and now - self.activity.last_at > self.expect_every
        )


#: What a running daemon says of each source, by name.
Told = Mapping[str, Mapping[str, Any]]


async def source_reports(
    settings: Settings, reader: Reader | None, names: tuple[str, ...], now: datetime, told: Told
) -> list[SourceReport]:
    """Return the reports of sources, in the order of their names; `reader` is None if there is no store yet."""
    if reader is None:
        return [_report(settings, settings.sources[name], told.get(name, {})) for name in names]
    since = now - LATELY
    # Of many, what was refused longest ago is not added up: their list must not cost more than one source whole.
    most_rows = max(_FEWEST_ROWS, MOST_ROWS // max(1, len(names)))
    activity = {one.source: one for one in await reader.activity(since=since)}
    paused = await reader.paused()
    resuming = resuming_in(await reader.facts()) if paused else frozenset()
    return [
        replace(
            _report(settings, settings.sources[name], told.get(name, {})),
            activity=activity.get(name),
            refusals=await refusals(reader, name, since=since, most_rows=most_rows),
            pause=paused.get(name),
            is_resuming=name in paused and name in resuming,
            kept=await _kept(reader, name) if name in paused else 0,
        )
        for name in names
    ]


def resuming_in(facts: Mapping[str, Fact]) -> frozenset[str]:
    """Return the sources that were told to go on and had not routed everything they kept."""
    noted = facts.get(RESUMING)
    return frozenset(map(str, noted.value)) if noted is not None and isinstance(noted.value, list) else frozenset()


async def _kept(reader: Reader, name: str) -> int:
    page = await reader.event_page(EventSearch(source=name, is_unrouted=True), limit=MOST_KEPT)
    return len(page.rows)


def _report(settings: Settings, source: SourceSettings, told: Mapping[str, Any]) -> SourceReport:
    """Return what is known without the store."""
    token = source.options.get("path_token")
    own = own_url(source.options)
    base = settings.public_url or _listener(settings)
    kind = settings.source_types.get(source.type)
    # A URL of its own holds the token only if no proxy adds it.
    masked = own.replace(str(token), "***") if own and token else own
    return SourceReport(
        name=source.name,
        type=source.type,
        title=kind.title,
        url=own or url_below(base, source.name, str(token) if token else None),
        masked_url=masked or url_below(base, source.name, None) + ("/***" if token else ""),
        is_public=bool(own or settings.public_url),
        signs_url=signs_url(source.options if "verify" in source.options else kind.declaration),
        unset=_unset(dict(source.options)),
        activity=None,
        expect_every=_duration(source.options.get("expect_every")),
        refusals=(),
        learned=told.get("learned"),
        is_waiting=bool(told.get("waiting")),
        pause=None,
        is_resuming=False,
        kept=0,
    )


def _listener(settings: Settings) -> str:
    """Return where the daemon listens, which is what a sender on this machine calls."""
    return next((f"http://{address}" for address in settings.listen if address.unix is None), "http://localhost")


def _unset(value: Json) -> tuple[str, ...]:
    """Return the references that are left in a source's options: names that are not set here."""
    if isinstance(value, str):
        return tuple(reference.name for reference in find_references(value))
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return tuple(name for one in inside for name in _unset(one))


def _duration(said: Any) -> timedelta | None:
    return None if said is None else parse_duration(said)
