"""One line for each thing that the stream tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hookline.daemon.commands.output import span, stamp, styled
from hookline.daemon.log import printable
from hookline.rules.name_filter import HOOKLINE

Told = Mapping[str, Any]

#: The widest word before a line.
_WORD: Final = 10
_STYLES: Final = {
    "delivered": "good",
    "recovered": "good",
    "released": "good",
    "resumed": "good",
    "live": "good",
    "dead": "bad",
    "rejected": "bad",
    "refused": "bad",
    "failed": "bad",
    "fault": "bad",
    "failing": "bad",
    "unmatched": "warn",
    "unrouted": "warn",
    "conflict": "warn",
    "again": "warn",
    "held": "warn",
    "paused": "warn",
    "missed": "warn",
    "duplicate": "faint",
}


def line_of(told: Told, *, now: datetime) -> str:
    """Write a message as a line: when, what, which, and what came of it."""
    word, text = _READERS.get(str(told.get("kind")), _other)(told)
    at = datetime.fromisoformat(str(told["at"])).astimezone(UTC)
    when = at.strftime("%H:%M:%SZ") if at.date() == now.astimezone(UTC).date() else stamp(at)
    padded = word.ljust(_WORD)
    return f"{styled(when, 'faint')}  {styled(padded, _STYLES[word]) if word in _STYLES else padded}  {printable(text)}"


def _event(told: Told) -> tuple[str, str]:
    tenant = f", {told['tenant']}" if told["tenant"] else ""
    size = sum(told["deliveries"].values())
    line = f"{told['id']}  {told['type']} from {told['source']}{tenant}"
    if told["unrouted"]:
        return "unrouted", f"{line}  kept, to be matched later"
    rules = ", ".join(name or "fallback" for name in told["matched"])
    # What the daemon says of itself need not be of interest to any rule.
    word = "event" if any(told["matched"]) or told["source"] == HOOKLINE else "unmatched"
    return word, line + (f"  -> {rules}" if rules else "") + (": nothing to do" if rules and not size else "")


def _attempt(told: Told) -> tuple[str, str]:
    word = "again" if told["state"] == "pending" else str(told["state"])
    result = " ".join(str(one) for one in (told["status"] or "", told["note"]) if one)
    what = told["type"] or "an event that is gone"
    line = f"{told['event']}  {what} -> {told['destination']}  attempt {told['number']}"
    took = f"{line}: {result or told['outcome']} in {span(timedelta(milliseconds=told['milliseconds']))}"
    return word, took + (f"; {told['decision']}" if told["decision"] else "") + (", a replay" if told["replay"] else "")


def _duplicate(told: Told) -> tuple[str, str]:
    word, why = ("conflict", ", with another body") if told["conflict"] else ("duplicate", "")
    return word, f"{told['event']}  {told['type']} from {told['source']} came again{why}"


def _rejected(told: Told) -> tuple[str, str]:
    times = "" if told["count"] == 1 else f", {told['count']} times"
    source = told["source"] or "no source"
    return "rejected", f"{source}: {told['reason']}{times}, from {told['client_ip']}: {told['detail']}"


def _delivery(told: Told) -> tuple[str, str]:
    if told["what"] == "routed":
        rules = ", ".join(name or "fallback" for name in told["matched"] or ())
        return "routed", f"{told['event']}  -> {rules or 'no rule matched'}"
    first, count = told["deliveries"][0], told["count"]
    return told["what"], first if count == 1 else f"{count} deliveries, {first} first"


def _destination(told: Told) -> tuple[str, str]:
    return told["what"], told["destination"] + (f": {told['reason']}" if told["reason"] else "")


def _source(told: Told) -> tuple[str, str]:
    return told["what"], told["source"] + (f": {told['reason']}" if told["reason"] else "")


def _reload(told: Told) -> tuple[str, str]:
    problems = told["problems"]
    if not problems:
        return told["outcome"], "what is on disk"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return told["outcome"], f"{problems[0]}{more}: hookline check"


def _missed(told: Told) -> tuple[str, str]:
    count = "some" if told["count"] is None else str(told["count"])
    return "missed", f"{count} messages were left out here: they came faster than they were read"


def _other(told: Told) -> tuple[str, str]:
    # Of a daemon that is newer than this command.
    return str(told.get("kind", "")), ""


_READERS: Final[Mapping[str, Callable[[Told], tuple[str, str]]]] = {
    "event": _event,
    "attempt": _attempt,
    "duplicate": _duplicate,
    "rejected": _rejected,
    "delivery": _delivery,
    "destination": _destination,
    "source": _source,
    "reload": _reload,
    "missed": _missed,
}
