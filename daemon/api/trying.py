"""Rules that somebody types: what is wrong with them, and what they would do with an event. Nothing is done or kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import anyio.to_thread

from hookline.daemon.actions.previewing import EmptyLookup
from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.explaining import explanation_shape, stored_event, turn
from hookline.daemon.api.shapes.rules import TryAsked, TryShape, problem_shape
from hookline.daemon.asked import AskedError, flag_of, object_of, text_of
from hookline.daemon.config.settings import Settings
from hookline.daemon.delivery.runner import Inspection
from hookline.daemon.rehearsal.sample_events import Given, SampleReader
from hookline.daemon.reload.generation import Generation
from hookline.daemon.reload.live_rules import world_of
from hookline.rules import Event, Problem, RulesError, RuleSet, load_rules
from hookline.rules.load import is_rule_file

TRYING = Area("trying", "What rules that are only typed would do, without doing it.")

MAX_RULES_BYTES: Final = 64 * 1024
MAX_PAYLOAD_BYTES: Final = 1 << 20
#: The file in which rules stand that say no other.
PLAYGROUND: Final = "playground.yaml"
#: Of a batch, so many events are explained; of a file, so many steps checked.
_MOST_EVENTS: Final = 10
_MOST_STEPS: Final = 200
_KEYS: Final = ("rules", "file", "event", "source", "type", "headers", "payload", "body", "all")
_SEND: Final = 'send {"rules": "rules: …", "event": "evt_…"}, or in place of the event a source and a payload'


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What somebody wants to try."""

    #: None: the rules that are live.
    rules: str | None
    file: str
    #: A stored event; None for a payload.
    event: str | None
    source: str
    body: bytes
    type: str | None
    headers: tuple[tuple[str, str], ...]
    is_whole: bool

    @classmethod
    def from_json(cls, said: Any) -> Typed:
        """Read it. Raises `AskedError`."""
        asked = object_of(said, _KEYS, _SEND)
        event, source = text_of(asked, "event"), text_of(asked, "source")
        ways = [key for key in ("event", "payload", "body") if key in asked]
        if len(ways) != 1:
            raise AskedError("name one of `event`, `payload` and `body`")
        if event is None and not source:
            raise AskedError("`source` is missing: what would the payload come from?")
        return cls(
            rules=_rules_of(asked),
            file=_file_of(asked),
            event=event,
            source=source or "",
            body=_body_of(asked),
            type=text_of(asked, "type") or None,
            headers=_headers_of(asked),
            is_whole=flag_of(asked, "all"),
        )


@TRYING.post(
    "/try",
    scope="read",
    brings=TryAsked,
    also={404: "no such event", 409: "the stored body is damaged"},
)
async def try_rules(call: Call[Nothing]) -> TryShape:
    """Explain an event by rules that are only typed; the other live files stay as they are.

    Nothing is executed, kept, sent or logged. Secrets are never looked up: `${NAME}` stands for itself in conditions
    and as `***` in what would be sent.
    """
    typed = Typed.from_json(call.body)
    generation = call.daemon.live.current
    if typed.event is not None:
        events: Sequence[Event] = [(await stored_event(call.daemon, typed.event)).event]
    else:
        events = await anyio.to_thread.run_sync(_events, generation.settings, typed, call.daemon.clock())
    rules = generation.rules
    problems: list[Problem] = []
    if typed.rules is not None:
        async with turn(call.daemon):
            loaded, problems = await anyio.to_thread.run_sync(_load, generation, typed)
        if loaded is not None:
            own = [step for step in loaded.steps if step.place is not None and step.place.file == typed.file]
            problems += await generation.runner.check(own[:_MOST_STEPS])
        if loaded is None or any(problem.severity == "error" for problem in problems):
            return {"problems": [*map(problem_shape, problems)], "explanations": [], "events": len(events)}
        rules = loaded
    render = partial(generation.runner.preview, is_typed=True)
    explanations = [
        await explanation_shape(call.daemon, event, rules, render=render, is_whole=typed.is_whole)
        for event in events[:_MOST_EVENTS]
    ]
    return {"problems": [*map(problem_shape, problems)], "explanations": explanations, "events": len(events)}


def _events(settings: Settings, typed: Typed, now: Any) -> list[Event]:
    given = Given(received_at=now, type=typed.type, headers=typed.headers)
    try:
        return [one.event for one in SampleReader(settings).read(typed.source, typed.body, given)]
    except ValueError as error:
        raise AskedError(str(error)) from error


def _load(generation: Generation, typed: Typed) -> tuple[RuleSet | None, list[Problem]]:
    """Load the live files with the typed one among them; None if there is an error."""
    assert typed.rules is not None  # noqa: S101 - asked for by whoever calls
    kept: Mapping[str, Any] = json.loads(generation.rules.manifest)
    texts = {name: generation.rules.files[digest] for name, digest in kept["files"].items()}
    inspection = Inspection(actions=generation.runner.catalog.actions, problems=())
    world = world_of(generation.settings, generation.secrets, inspection, is_offline=True)
    # Not the daemon's secrets: a condition that compares with one would tell it, question by question.
    world = replace(world, lookup=EmptyLookup(generation.settings))
    try:
        loaded = load_rules({**texts, typed.file: typed.rules}, world)
    except RulesError as error:
        return None, [one for one in error.problems if one.severity == "error" or _is_in(one, typed.file)]
    return loaded, [one for one in loaded.warnings if _is_in(one, typed.file)]


def _is_in(problem: Problem, file: str) -> bool:
    return problem.place is not None and problem.place.file == file


def _rules_of(asked: Mapping[str, Any]) -> str | None:
    text = text_of(asked, "rules")
    if text is None:
        return None
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise AskedError("`rules` holds half of a surrogate pair, which no file can") from error
    if size > MAX_RULES_BYTES:
        raise AskedError(f"`rules` takes {size:,} bytes; {MAX_RULES_BYTES:,} can be tried: take the rules that matter")
    return text


def _file_of(asked: Mapping[str, Any]) -> str:
    name = text_of(asked, "file") or PLAYGROUND
    if not is_rule_file(name) or len(name) > 500 or not name.isprintable():
        raise AskedError("`file` is the name of a file of rules, such as rules/finance.yaml")
    return name


def _body_of(asked: Mapping[str, Any]) -> bytes:
    if "payload" in asked:
        body = json.dumps(asked["payload"]).encode()
    else:
        body = (text_of(asked, "body") or "").encode("utf-8", "surrogatepass")
    if len(body) > MAX_PAYLOAD_BYTES:
        raise AskedError(f"the payload takes {len(body):,} bytes; {MAX_PAYLOAD_BYTES:,} can be tried")
    return body


def _headers_of(asked: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    said = asked.get("headers", {})
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()) or len(said) > 100:
        raise AskedError('`headers` are names with texts: {"X-Event": "paid"}')
    return tuple(said.items())
