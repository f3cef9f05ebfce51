"""Sources, as the API and the command line write them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

from hookline.daemon.sources.proof_text import proof_text
from hookline.daemon.sources.refusals import Refusal
from hookline.daemon.sources.report import SourceReport
from hookline.daemon.sources.sample_files import sample_names
from hookline.daemon.sources.source_type import SourceType
from hookline.rules.units import format_duration


class RefusalShape(TypedDict):
    """Requests that were refused for one cause."""

    #: From a closed set, such as `signature`.
    reason: str
    count: int
    count_24h: int
    first_at: str
    last_at: str
    #: Of the last one, as is the address.
    detail: str
    client_ip: str
    #: What to do about it.
    next_step: str


class PauseShape(TypedDict):
    """A paused source: its events are accepted and kept, and routed when it is resumed."""

    since: str
    reason: str
    #: It was resumed, and what was kept is being routed.
    resuming: bool


class LastEvent(TypedDict):
    """The last event of a source, which may be pruned by now."""

    id: str
    type: str
    at: str


class SourceShape(TypedDict):
    """One configured source, and what came."""

    name: str
    type: str
    title: str
    #: What to paste at its sender; `***` stands for a path token.
    url: str
    #: Whether that is what a sender outside can call.
    public: bool
    last_event: LastEvent | None
    #: Names of secrets in its options that are not set where this is asked.
    unset: list[str]
    events_24h: int
    #: How often something should come, and whether it is longer ago.
    expect_every: str | None
    silent: bool
    #: It takes the next secret that its sender brings.
    waiting: bool
    #: How many secrets its sender brought; None if it brings none.
    learned: int | None
    refused: list[RefusalShape]
    #: None if it is not paused.
    paused: PauseShape | None
    #: Events kept while it is paused, yet to be routed; at most 1,000 are counted.
    kept: int


class SourceDetail(SourceShape):
    """One source with how it is set up."""

    #: What proves its sender, in words.
    proof: str
    about: str
    #: What to do at its sender, step by step.
    setup: list[str]
    #: What it sends, where that is known.
    event_types: list[str] | None
    #: Names of samples that `hookline send` sends.
    samples: list[str]


class SourcesShape(TypedDict):
    """The configured sources."""

    sources: list[SourceShape]
    #: Requests to no source.
    unknown: list[RefusalShape]


class PausedSource(TypedDict):
    """Whether a source is paused."""

    source: str
    paused: PauseShape | None


class SourceUrl(TypedDict):
    """A source's whole URL, path token and all: a secret, if there is one."""

    source: str
    url: str


class AwaitedSecret(TypedDict):
    """A source that takes its sender's next secret."""

    source: str
    waiting: bool


class ForgottenSecrets(TypedDict):
    """A source that forgot the secrets of its sender."""

    source: str
    #: How many there were.
    forgotten: int


def source_shape(report: SourceReport, now: datetime, *, with_token: bool = False) -> SourceShape:
    """Write a source; the token of its URL only if it is asked for."""
    last, pause = report.activity, report.pause
    return {
        "name": report.name,
        "type": report.type,
        "title": report.title,
        "url": report.url if with_token else report.masked_url,
        "public": report.is_public,
        "last_event": None
        if last is None
        else {"id": last.last_event_id, "type": last.last_type, "at": last.last_at.isoformat()},
        "unset": list(report.unset),
        "events_24h": 0 if last is None else last.events,
        "expect_every": None if report.expect_every is None else format_duration(report.expect_every),
        "silent": report.is_silent(now),
        "waiting": report.is_waiting,
        "learned": report.learned,
        "refused": [refusal_shape(one, report.name, signs_url=report.signs_url) for one in report.refusals],
        "paused": None
        if pause is None
        else {"since": pause.since.isoformat(), "reason": pause.reason, "resuming": report.is_resuming},
        "kept": report.kept,
    }


def source_detail(report: SourceReport, kind: SourceType, now: datetime) -> SourceDetail:
    """Write a source with how it is set up; its URL without the token."""
    return {
        **source_shape(report, now),
        "proof": proof_text(kind),
        "about": " ".join(kind.about.split()),
        "setup": [*kind.steps(report.name, report.masked_url)],
        "event_types": None if kind.event_types is None else [*kind.event_types],
        "samples": [*sample_names(kind)],
    }


def refusal_shape(refusal: Refusal, source: str, *, signs_url: bool = False) -> RefusalShape:
    """Write what was refused of a source; `signs_url`: whether its sender signs the URL that it calls."""
    return {
        "reason": refusal.reason,
        "count": refusal.count,
        "count_24h": refusal.count_lately,
        "first_at": refusal.first_at.isoformat(),
        "last_at": refusal.last_at.isoformat(),
        "detail": refusal.detail,
        "client_ip": refusal.client_ip,
        "next_step": refusal.next_step(source, signs_url=signs_url),
    }


def type_json(kind: SourceType) -> dict[str, Any]:
    """Write a source type with everything."""
    return {
        "type": kind.name,
        "title": kind.title,
        "origin": kind.origin,
        "about": " ".join(kind.about.split()),
        "proof": proof_text(kind),
        "setup": list(kind.setup),
        "options": {name: {"required": slot.is_required, "about": slot.about} for name, slot in kind.options.items()},
        "one_of": list(kind.one_of),
        "event_types": None if kind.event_types is None else list(kind.event_types),
        "samples": list(sample_names(kind)),
    }
