"""What is known of a configured source: its URL, what it received, what was refused, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from hookline.daemon.commands.opening import hear_daemon
from hookline.daemon.commands.refusals import Refusal, refusals
from hookline.daemon.config.settings import Settings
from hookline.daemon.sources.port import SourceSettings
from hookline.daemon.sources.proof_text import signs_url
from hookline.daemon.sources.public_url import own_url, url_below
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import SourceActivity
from hookline.rules import Json
from hookline.rules.interpolation import find_references
from hookline.rules.units import format_duration, parse_duration

#: What counts as lately.
LATELY: Final = timedelta(hours=24)


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

    def is_silent(self, now: datetime) -> bool:
        """Say whether something should have come by now and did not."""
        return (
            self.expect_every is not None
            and self.activity is not None
            and now - self.activity.last_at > self.expect_every
        )

    def to_json(self, now: datetime, *, is_whole: bool) -> dict[str, Any]:
        """Return it as programs read it; the URL's token only if it is asked for by its source's name."""
        last = self.activity
        return {
            "name": self.name,
            "type": self.type,
            "title": self.title,
            "url": self.url if is_whole else self.masked_url,
            "last_event": None
            if last is None
            else {"id": last.last_event_id, "type": last.last_type, "at": last.last_at.isoformat()},
            "unset": list(self.unset),
            "events_24h": 0 if last is None else last.events,
            "expect_every": None if self.expect_every is None else format_duration(self.expect_every),
            "silent": self.is_silent(now),
            "waiting": self.is_waiting,
            "learned": self.learned,
            "refused": [refusal.to_json(self.name, signs_url=self.signs_url) for refusal in self.refusals],
        }


#: What a running daemon says of each source, by name.
Told = Mapping[str, Mapping[str, Any]]


async def source_reports(
    settings: Settings, reader: Reader | None, names: tuple[str, ...], now: datetime, told: Told
) -> list[SourceReport]:
    """Return the reports of sources, in the order of their names; `reader` is None if there is no store yet."""
    since = now - LATELY
    activity = {one.source: one for one in await reader.activity(since=since)} if reader else {}
    return [
        _report(
            settings,
            settings.sources[name],
            activity.get(name),
            await refusals(reader, name, since=since) if reader else (),
            told.get(name, {}),
        )
        for name in names
    ]


def told_by_daemon(settings: Settings) -> Told | None:
    """Return what a running daemon says; None if none answers."""
    said = hear_daemon(settings, "sources")
    if said is None:
        return None
    rows = said.get("sources", ()) if isinstance(said, dict) else ()
    return {row["name"]: row for row in rows if isinstance(row, dict) and "name" in row}


def _report(
    settings: Settings,
    source: SourceSettings,
    activity: SourceActivity | None,
    refused: tuple[Refusal, ...],
    told: Mapping[str, Any],
) -> SourceReport:
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
        activity=activity,
        expect_every=_duration(source.options.get("expect_every")),
        refusals=refused,
        learned=told.get("learned"),
        is_waiting=bool(told.get("waiting")),
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
