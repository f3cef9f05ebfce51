"""Sources: whether they receive, their senders can reach them, and everybody else is kept out."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from hookline.daemon.commands.output import ago
from hookline.daemon.config.settings import Settings
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, counted, listed, ok, shortened, warn, wrong
from hookline.daemon.doctor.sight import Sight, StoreSight
from hookline.daemon.sources.proof_text import signs_url
from hookline.daemon.sources.public_url import own_url
from hookline.daemon.sources.report import SourceReport
from hookline.rules.units import format_duration

#: Fewer refusals than this in a day are noise: scanners, a test.
_FEW_REFUSALS = 3
#: A pause that lasts longer was perhaps forgotten.
_LONG_PAUSE = timedelta(days=1)


def check_sources(sight: Sight) -> list[Finding]:
    """Say which sources are silent, mostly refused, or wait for their secret."""
    settings, store = sight.settings, sight.store
    if isinstance(settings, Failed):
        return []
    if store is None or isinstance(store, Failed):
        return _unproven(settings)
    found = [finding for report in store.reports for finding in judge_source(report, sight)]
    found = [*shortened(found, sight.again("sources")), *_unproven(settings)]
    if found or not settings.sources:
        return found
    total = sum(report.activity.events for report in store.reports if report.activity)
    return [ok("sources", f"{counted(len(store.reports), 'source')}, {counted(total, 'event')} in the last day")]


def judge_source(report: SourceReport, sight: Sight) -> list[Finding]:
    """Judge one source by what came and what was refused."""
    found = []
    step = sight.again(f"sources {report.name}")
    last = report.activity
    if report.is_silent(sight.now) and last is not None and report.expect_every is not None:
        every = format_duration(report.expect_every)
        text = f"{report.name}: silent for {ago(last.last_at, sight.now).removesuffix(' ago')}, expected every {every}"
        found.append(wrong("sources", text, step))
    elif report.expect_every is not None and last is None and _is_overdue(report.expect_every, sight):
        text = f"{report.name}: never received anything, expected every {format_duration(report.expect_every)}"
        found.append(wrong("sources", text, f"{step} says what to paste where"))
    # Not for anything that came: those come again, and are taken.
    ours = sum(one.count_lately for one in report.refusals if one.reason == "store")
    theirs = [one for one in report.refusals if one.reason != "store"]
    refused = sum(one.count_lately for one in theirs)
    taken = last.events if last else 0
    if ours >= _FEW_REFUSALS:
        text = f"{report.name}: {ours:,} answered 503 in the last day, because the store could not take them"
        found.append(warn("sources", text, f"see that its sender sent them again; {step} says when it was"))
    if refused >= _FEW_REFUSALS and refused > taken:
        main = max(theirs, key=lambda one: one.count_lately)
        text = f"{report.name}: {refused:,} refused and {taken:,} taken in the last day, mostly: {main.what}"
        found.append(wrong("sources", text, step))
    if report.pause is not None and not report.is_resuming and sight.now - report.pause.since > _LONG_PAUSE:
        since = ago(report.pause.since, sight.now).removesuffix(" ago")
        text = f"{report.name}: paused for {since}: {report.pause.reason or 'no reason given'}"
        found.append(warn("sources", text, sight.again(f"sources {report.name} --resume")))
    if report.is_waiting and not report.learned:
        text = f"{report.name}: waits for its sender's secret, and takes nothing until it came"
        found.append(warn("sources", text, f"make the webhook at its sender; {step} says how"))
    return found


def _is_overdue(every: timedelta, sight: Sight) -> bool:
    """Whether the store is old enough for something to have come."""
    store = sight.store
    return isinstance(store, StoreSight) and sight.now - store.rules_counted_since > every


def _unproven(settings: Settings) -> list[Finding]:
    """Warn of sources that take whatever anybody sends, where anybody can send."""
    if not _is_public(settings):
        return []
    open_ones = [
        source.name
        for source in settings.sources.values()
        if source.options.get("verify") == "none" and not source.options.get("path_token")
    ]
    if not open_ones:
        return []
    text = f"{listed(open_ones)}: verify is none and there is no path_token, so anybody may send events"
    return [wrong("sources", text, 'path_token: "${NAME}" in the source, or a verify: of its own')]


def _is_public(settings: Settings) -> bool:
    if settings.public_url is not None:
        return True
    return any(address.host is not None and not _is_loopback(address.host) for address in settings.listen)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_public_url(sight: Sight) -> list[Finding]:
    """Say whether `public_url` is there where a sender signs it, and whether it is https."""
    settings = sight.settings
    if isinstance(settings, Failed):
        return []
    url = settings.public_url
    if url is None:
        signers = [
            source.name
            for source in settings.sources.values()
            if own_url(source.options) is None
            and signs_url(
                source.options if "verify" in source.options else settings.source_types.get(source.type).declaration
            )
        ]
        if not signers:
            return []
        text = f"is not set, and the sender of {listed(signers)} signs the URL that it calls"
        return [wrong("public_url", text, "public_url: https://… as the sender calls it")]
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        text = f"{url} is not https: whoever is in between reads events and tokens"
        return [warn("public_url", text, "have a proxy speak TLS: docs/operations.md")]
    return [ok("public_url", url)]
