"""Where events come from: what to paste where, what came, what was refused and why, and pauses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.sources import (
    AwaitedSecret,
    ForgottenSecrets,
    PausedSource,
    PauseShape,
    SourceDetail,
    SourcesShape,
    SourceUrl,
    refusal_shape,
    source_detail,
    source_shape,
)
from hookline.daemon.asked import object_of, text_of
from hookline.daemon.pausing import PauseState
from hookline.daemon.reload.live_sources import LearnsNothingError
from hookline.daemon.sources.refusals import refusals
from hookline.daemon.sources.report import LATELY, SourceReport, source_reports
from hookline.daemon.store.changes import Audit

SOURCES = Area("sources", "Where events come from.")

_NO_SOURCE: Final = {404: "There is no such source."}
_MOST_REASON: Final = 500
#: Requests to paths of no source are counted under no name.
_NOBODY: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAsked:
    """One source."""

    source: Annotated[str, "Its name."]


class PauseAsked(TypedDict, total=False):
    """Why it is paused."""

    reason: str


@SOURCES.get("/sources")
async def list_sources(call: Call[Nothing]) -> SourcesShape:
    """List the configured sources: what to paste where, what came last, and what was refused and why."""
    now = call.daemon.clock()
    reports = await _reports(call, tuple(call.daemon.live.current.settings.sources))
    unknown = await refusals(call.daemon.reader, _NOBODY, since=now - LATELY)
    return {
        "sources": [source_shape(report, now) for report in reports],
        "unknown": [refusal_shape(refusal, _NOBODY) for refusal in unknown],
    }


@SOURCES.get("/sources/{source}", also=_NO_SOURCE)
async def show_source(call: Call[SourceAsked]) -> SourceDetail:
    """Show one source, and how it is set up at its sender."""
    report = await _report(call)
    kind = call.daemon.live.current.settings.source_types.get(report.type)
    return source_detail(report, kind, call.daemon.clock())


@SOURCES.post("/sources/{source}/url", also=_NO_SOURCE)
async def show_source_url(call: Call[SourceAsked]) -> SourceUrl:
    """Show the whole URL to paste at the sender, path token and all; the audit says who saw it."""
    report = await _report(call)
    await call.daemon.commit.submit(Audit(who=call.caller.name, what="source.url", subject=report.name))
    return {"source": report.name, "url": report.url}


@SOURCES.post("/sources/{source}/pause", brings=PauseAsked, also=_NO_SOURCE)
async def pause_source(call: Call[SourceAsked]) -> PausedSource:
    """Pause a source: what it sends is verified, kept and answered as always, and matched when it is resumed."""
    name, reason = call.asked.source, _reason(call)
    with _known(name):
        state = await call.daemon.pauses.pause(name, reason)
    await call.daemon.commit.submit(Audit(who=call.caller.name, what="source.pause", subject=name, reason=reason))
    return {"source": name, "paused": _pause(state)}


@SOURCES.post("/sources/{source}/resume", also=_NO_SOURCE)
async def resume_source(call: Call[SourceAsked]) -> PausedSource:
    """Let a paused source go on: what was kept is routed first, in order of receipt, by the rules of now.

    It is answered before that is done: `resuming` is true until then.
    """
    name = call.asked.source
    with _known(name):
        state = await call.daemon.pauses.resume(name)
    if state is not None:
        await call.daemon.commit.submit(Audit(who=call.caller.name, what="source.resume", subject=name))
    return {"source": name, "paused": None if state is None else _pause(state)}


@SOURCES.post("/sources/{source}/await", also=_NO_SOURCE | {409: "Its sender brings no secret."})
async def await_secret(call: Call[SourceAsked]) -> AwaitedSecret:
    """Let a source take one more secret of its sender's, for ten minutes."""
    name = call.asked.source
    with _known(name):
        await call.daemon.sources.await_secret(name)
    await call.daemon.commit.submit(Audit(who=call.caller.name, what="source.await", subject=name))
    return {"source": name, "waiting": True}


@SOURCES.post("/sources/{source}/forget", also=_NO_SOURCE | {409: "Its sender brings no secret."})
async def forget_secrets(call: Call[SourceAsked]) -> ForgottenSecrets:
    """Forget the secrets that a source's sender brought, and take the next that comes."""
    name = call.asked.source
    with _known(name):
        count = await call.daemon.sources.forget_secrets(name)
    await call.daemon.commit.submit(Audit(who=call.caller.name, what="source.forget", subject=name, count=count))
    return {"source": name, "forgotten": count}


async def _report(call: Call[SourceAsked]) -> SourceReport:
    if call.asked.source not in call.daemon.live.current.settings.sources:
        raise _not_found(call.asked.source)
    (report,) = await _reports(call, (call.asked.source,))
    return report


async def _reports(call: Call[Nothing] | Call[SourceAsked], names: tuple[str, ...]) -> list[SourceReport]:
    daemon = call.daemon
    told = {row["name"]: row for row in daemon.sources.status()}
    return await source_reports(daemon.live.current.settings, daemon.reader, names, daemon.clock(), told)


def _reason(call: Call[SourceAsked]) -> str:
    said = object_of({} if call.body is None else call.body, {"reason"}, 'send {"reason": "…"}, or {}')
    return (text_of(said, "reason") or "")[:_MOST_REASON]


def _pause(state: PauseState) -> PauseShape:
    pause = state.pause
    return {"since": pause.since.isoformat(), "reason": pause.reason, "resuming": state.is_resuming}


@contextmanager
def _known(name: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise _not_found(name) from error
    except LearnsNothingError as error:
        detail = f"the sender of {name!r} brings no secret: it stands in the configuration"
        raise ProblemError(409, "The source learns no secret", detail) from error


def _not_found(name: str) -> ProblemError:
    return ProblemError(404, "Not found", f"no source {name[:100]!r}: GET /api/v1/sources lists them")
