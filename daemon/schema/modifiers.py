"""The schema of what stands beside an action in a rule, and of what bounds a destination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hookline.daemon.schema.shapes import (
    DURATION,
    FLAG,
    RATE,
    REFERENCE,
    TEXT,
    Schema,
    described,
    mapping,
    named,
    one_or_many,
    refused,
    unless_text,
)
from hookline.rules.modifiers import CONFLICTS
from hookline.rules.subject import FIELDS

_WINDOW_EXAMPLE: Final = "mon-fri 07:00-22:00 Europe/Berlin"
_DURATION: Final = unless_text(REFERENCE, DURATION)
_FLAG: Final = unless_text(REFERENCE, FLAG)
_SHARE: Final = unless_text(
    REFERENCE,
    {
        "type": "string",
        "pattern": r"^(100(\.0{1,3})?|[0-9]{1,2}(\.[0-9]{1,3})?)%$",
        "errorMessage": "not a share: write 0% to 100%, as in 20%",
    },
)
_SELECTOR: Final[Schema] = {
    "type": "string",
    "pattern": rf"^(\$|envelope$|envelope\.\$|(header|query)\..|({'|'.join(FIELDS)})$)",
    "errorMessage": "neither a path nor a field of the event: write a path into the payload ($.data.id), "
    f"{', '.join(FIELDS)}, header.NAME, query.NAME or envelope.$…",
}
_SELECTORS: Final = one_or_many(_SELECTOR, least=1, examples=["tenant", "subject"])
_WINDOWS: Final = one_or_many(TEXT, least=1, examples=[_WINDOW_EXAMPLE])
_STATUS: Final = unless_text(
    REFERENCE,
    {
        "type": ["integer", "string"],
        "minimum": 300,
        "maximum": 599,
        "pattern": r"^[345][0-9]{2}(-[345][0-9]{2})?$",
        "errorMessage": "not a status, or a range of them: write 300 to 599, as in [429, 500-599]",
    },
)


def modifiers() -> dict[str, Schema]:
    """Return what may stand beside an action, in a rule and on a destination."""
    about: dict[str, tuple[Schema, str]] = {
        "retry": (_retry(), "When to try again: a schedule, or none."),
        "timeout": (_DURATION, "How long an attempt may take: 15s if left out."),
        "dry_run": (_FLAG, "Render and record, and send nothing."),
        "delay": (_DURATION, "How long after the event was accepted it is sent."),
        "order_by": (_SELECTORS, "First in, first out for each value of this, and destination."),
        "once": (_once(), "Act on the first event of a key, and count those that follow within a time."),
        "digest": (_digest(), "Collect the events of a key, then act once with all of them."),
        "changed": (_changed(), "Act only if a value is not what it was."),
        "during": (_WINDOWS, f'It waits until one of these is open: "{_WINDOW_EXAMPLE}".'),
    }
    return {name: described(schema, text) for name, (schema, text) in about.items()}


def bounds() -> dict[str, Schema]:
    """Return what bounds a destination as a whole."""
    concurrency: Schema = {"type": "integer", "minimum": 1, "maximum": 1000}
    hold = mapping({"during": _WINDOWS}, what="hold", required=("during",))
    about: dict[str, tuple[Schema, str]] = {
        "concurrency": (unless_text(REFERENCE, concurrency), "How many run at one time: 8 if left out."),
        "rate": (unless_text(REFERENCE, RATE), "How many begin in a second, a minute, an hour or a day."),
        "hold": (hold, "Maintenance: nothing is sent during these, and everything is kept."),
        "breaker": (_breaker(), "When it counts as down: {share: 50%, of: 10, within: 1m, pause: 30s} if left out."),
        "failure_budget": (_DURATION, "It is held when it only failed for as long: 5d if left out."),
    }
    return {name: described(schema, text) for name, (schema, text) in about.items()}


def conflicts() -> list[Schema]:
    """Return what refuses modifiers that cannot stand together."""
    return [_never_both(pair, f"{message}: {hint}") for pair, (message, hint) in CONFLICTS.items()]


def _never_both(pair: Sequence[str], message: str) -> Schema:
    return {"if": {"type": "object", "required": list(pair)}, "then": refused(message)}


def _retry() -> Schema:
    schedule: Schema = {
        "type": "array",
        "items": _DURATION,
        "maxItems": 100,
        "errorMessage": "not a list of durations: write the waits between attempts, as in [5s, 5m, 1h]",
    }
    unknown = named(["always", "never"], "there are")
    parts = {
        "schedule": described(schedule, "The waits before the second, the third, … attempt."),
        "exponential": described(_exponential(), "Waits that grow."),
        "jitter": described(_SHARE, "The share that chance adds or takes: 20% if left out."),
        "on": described(one_or_many(_STATUS, least=1), "Statuses that are tried again: 408, 425, 429 and 500-599."),
        "give_up_after": described(_DURATION, "No attempt begins as long after the delivery was made."),
        "retry_unknown": described(
            unless_text(REFERENCE, unknown), "Whether to try again when a delivery was sent and no answer came."
        ),
    }
    whole = mapping(parts, what="retry")
    both = "schedule and exponential both say when to try again: remove one"
    whole["allOf"].append(_never_both(("schedule", "exponential"), both))
    word: Schema = {"enum": ["none"], "errorMessage": "write {schedule: [5s, 5m, 1h]}, or none to give up at once"}
    return {
        "if": {"type": "object"},
        "then": whole,
        "else": {"if": {"type": "array"}, "then": schedule, "else": unless_text(REFERENCE, word)},
        "examples": ["none"],
        "defaultSnippets": [{"label": "schedule", "body": {"schedule": ["5s", "5m", "1h"]}}],
    }


def _exponential() -> Schema:
    factor: Schema = {"type": "number", "minimum": 1, "maximum": 100}
    return mapping(
        {
            "first": described(_DURATION, "The first wait."),
            "factor": described(unless_text(REFERENCE, factor), "How much longer each is than the one before: 2."),
            "max": described(_DURATION, "No wait is longer: 30d if left out."),
            "attempts": described(_whole(2, 101), "How many there are, with the first."),
        },
        what="exponential",
        required=("first", "attempts"),
    )


def _once() -> Schema:
    parts = {
        "per": described(_SELECTORS, "What makes the key: a path, a field, or a list of them."),
        "within": described(_DURATION, "How long the others are counted."),
        "summary": described(_FLAG, "Send one line at the end, if there were others."),
    }
    snippet = {"label": "per, within", "body": {"per": "\\$.${1:data.id}", "within": "${2:10m}"}}
    return mapping(parts, what="once", required=("per", "within")) | {"defaultSnippets": [snippet]}


def _digest() -> Schema:
    parts = {
        "every": described(_DURATION, "How long after the first event."),
        "per": described(_SELECTORS, "What makes the key; all in one if left out."),
        "max": described(_whole(2, 10_000), "As many are sent at once, sooner if need be: 200 if left out."),
        "on_stop": described(
            unless_text(REFERENCE, named(["keep", "flush"], "there are")),
            "keep: what was collected waits for the next start; flush: it is sent before the daemon stops.",
        ),
    }
    snippet = {"label": "every", "body": {"every": "${1:1h}"}}
    return mapping(parts, what="digest", required=("every",)) | {"defaultSnippets": [snippet]}


def _changed() -> Schema:
    parts = {
        "of": described(_SELECTOR, "The value: a path or a field."),
        "per": described(_SELECTORS, "Whose value it is: a path, a field, or a list of them."),
        "from": described(_values(), "What it must have been: a value, or a list of them."),
        "to": described(_values(), "What it must be now: a value, or a list of them."),
        "first": described(_FLAG, "true: the first value ever seen counts as a change."),
    }
    snippet = {"label": "of, per", "body": {"of": "\\$.${1:data.stage}", "per": "\\$.${2:data.id}"}}
    whole = mapping(parts, what="changed", required=("of", "per")) | {"defaultSnippets": [snippet]}
    first = {"properties": {"first": {"enum": [True]}}, "required": ["first", "from"]}
    whole["allOf"].append({"if": first, "then": refused("first and from contradict each other: remove one")})
    return whole


def _values() -> Schema:
    path = {"type": "string", "pattern": r"^\$[.\[]"}
    one: Schema = {"if": path, "then": refused("a path, and values are compared here: write what it should be")}
    many: Schema = {"type": "array", "items": one, "minItems": 1, "maxItems": 100}
    nothing = refused("compared with nothing: write [null] for a value that is not there")
    return {
        "if": {"type": "array"},
        "then": many,
        "else": {"if": {"type": "null"}, "then": nothing, "else": one},
    }


def _breaker() -> Schema:
    share: Schema = {"allOf": [_SHARE, {"not": {"type": "string", "pattern": r"^[0.]+%$"}}]}
    parts = {
        "share": described(share, "It opens when as great a share of attempts failed,"),
        "of": described(_whole(1, 10_000), "of at least so many"),
        "within": described(_DURATION, "within so long."),
        "pause": described(_DURATION, "How long until one attempt may try whether it is back."),
    }
    word: dict[str, Any] = {"enum": ["none"], "errorMessage": "write {share: 50%, of: 10, within: 1m}, or none"}
    return {
        "if": {"type": "object"},
        "then": mapping(parts, what="breaker"),
        "else": unless_text(REFERENCE, word),
        "examples": ["none"],
    }


def _whole(low: int, high: int) -> Schema:
    return unless_text(REFERENCE, {"type": "integer", "minimum": low, "maximum": high})
