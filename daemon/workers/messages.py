"""What stands in the frames: work for a worker, and its result.

To a worker: `kit KIT`, `run NUMBER DIGEST LIMIT …`, `cancel NUMBER`, `listeners [[HOST, PORT]]`, `end`; before it
serves also `plan {…}` (its tail: the plug-ins' texts), `validate ITEMS`, `show EVENT ITEMS`, `serve`. From a worker:
`loading NAME`, `inspected {…}`, `checking LABEL`, `validated PROBLEMS`, `shown OPTIONS PROBLEM`, `result NUMBER …`,
`log NUMBER LEVEL EVENT FIELDS`, `zombie NUMBER`, `blocked NUMBER RESULT`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from hookline.daemon.delivery.runner import ActionFacts, Result, Work
from hookline.daemon.sources.stored_payload import payload_and_envelope, read_document
from hookline.daemon.store.changes import Outcome
from hookline.daemon.workers.wire import Head, WireError
from hookline.plugins import Delivery
from hookline.rules import Event, EventId, Json, Place, Problem

#: Of what a worker says for people, as much is kept.
_MAX_TEXT = 4096


class LazyEvent(Event):
    """An event whose payload is read when something looks at it: most deliveries never do."""

    __slots__ = ("_body", "_content_type", "_document", "_pointer")

    _body: bytes
    _content_type: str
    _document: str | None
    _pointer: tuple[str | int, ...] | None

    def __getattr__(self, name: str) -> Json:
        # Python asks here for what has no value yet.
        if name not in {"payload", "envelope"}:
            raise AttributeError(name)
        whole = None
        if self.type != "unreadable":
            whole = read_document(self._body, self._content_type, self._document)
        payload, envelope = payload_and_envelope(whole, self._pointer)
        object.__setattr__(self, "payload", payload)
        object.__setattr__(self, "envelope", envelope)
        return payload if name == "payload" else envelope


def work_frame(number: int, kit: str, work: Work) -> tuple[Head, bytes]:
    """Return the frame that has a worker carry out an attempt with a kit that it knows."""
    delivery = work.delivery
    document = b"" if work.document is None else work.document.encode("utf-8", "surrogatepass")
    tail = delivery.body + document if document else delivery.body
    head = [
        "run",
        number,
        kit,
        work.limit.total_seconds(),
        len(delivery.body),
        work.document is not None,
        work.pointer,
        [
            delivery.id,
            delivery.content_type,
            delivery.is_split,
            delivery.rule,
            delivery.destination,
            delivery.attempt,
            delivery.previous,
            delivery.suppressed,
            delivery.is_replay,
        ],
        _facts(delivery.event),
    ]
    if delivery.events:
        # They are in memory as values, and few deliveries are digests.
        head.append([event_values(event) for event in delivery.events])
    return head, tail


def read_work(head: Head, tail: bytes) -> tuple[Delivery, timedelta]:
    """Read back the delivery and its limit."""
    length, has_document, pointer, about, facts = head[4:9]
    body = tail[:length] if has_document else tail
    id_, content_type, is_split, rule, destination, attempt, previous, suppressed, is_replay = about
    event = _event(LazyEvent, facts)
    object.__setattr__(event, "_body", body)
    object.__setattr__(event, "_content_type", content_type)
    object.__setattr__(event, "_document", tail[length:].decode("utf-8", "surrogatepass") if has_document else None)
    object.__setattr__(event, "_pointer", None if pointer is None else tuple(pointer))
    delivery = Delivery(
        id=id_,
        event=event,
        body=body,
        content_type=content_type,
        is_split=is_split,
        rule=rule,
        destination=destination,
        attempt=attempt,
        events=tuple(map(read_event, head[9])) if len(head) > 9 else (),
        previous=previous,
        suppressed=suppressed,
        is_replay=is_replay,
    )
    return delivery, timedelta(seconds=head[3])


def event_values(event: Event) -> list[Any]:
    """Return an event with its payload as JSON."""
    return [*_facts(event), event.payload, event.envelope]


def read_event(values: list[Any]) -> Event:
    """Read back what `event_values` wrote."""
    *facts, payload, envelope = values
    event = _event(Event, facts)
    object.__setattr__(event, "payload", payload)
    object.__setattr__(event, "envelope", envelope)
    return event


def _facts(event: Event) -> list[Any]:
    headers, query = event.headers, event.query
    return [
        event.id,
        event.source,
        event.type,
        event.sender_id,
        event.key,
        event.tenant,
        event.subject,
        None if event.occurred_at is None else event.occurred_at.isoformat(),
        event.received_at.isoformat(),
        headers if type(headers) is dict else dict(headers),
        query if type(query) is dict else dict(query),
        event.client_ip,
    ]


def _event(kind: type[Event], facts: list[Any]) -> Event:
    """Return an event without payload and envelope, which the caller sets, or which are read later."""
    event = kind.__new__(kind)
    put = object.__setattr__
    id_, source, type_, sender_id, key, tenant, subject, occurred_at, received_at, headers, query, client_ip = facts
    put(event, "id", EventId(id_))
    put(event, "source", source)
    put(event, "type", type_)
    put(event, "sender_id", sender_id)
    put(event, "key", key)
    put(event, "tenant", tenant)
    put(event, "subject", subject)
    put(event, "occurred_at", None if occurred_at is None else datetime.fromisoformat(occurred_at))
    put(event, "received_at", datetime.fromisoformat(received_at))
    put(event, "headers", headers)
    put(event, "query", query)
    put(event, "client_ip", client_ip)
    return event


def result_values(result: Result) -> list[Any]:
    """Return a result as JSON."""
    return [
        result.outcome.value,
        result.duration.total_seconds(),
        result.status,
        _sendable(result.note),
        _sendable(result.answer),
        None if result.retry_after is None else result.retry_after.total_seconds(),
        result.is_gone,
        result.is_unrunnable,
    ]


def read_result(values: list[Any]) -> Result:
    """Read a result back, trusting nothing. Raises `WireError`."""
    try:
        outcome, seconds, status, note, answer, retry_after, is_gone, is_unrunnable = values
        return Result(
            outcome=Outcome(outcome),
            duration=timedelta(seconds=float(seconds)),
            status=None if status is None else int(status),
            note=str(note)[:_MAX_TEXT],
            answer=str(answer)[:_MAX_TEXT],
            retry_after=None if retry_after is None else timedelta(seconds=float(retry_after)),
            is_gone=bool(is_gone),
            is_unrunnable=bool(is_unrunnable),
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise WireError("a result that is none") from error


def facts_values(facts: ActionFacts) -> list[Any]:
    """Return what is known of an action as JSON."""
    return [facts.name, facts.summary, facts.schema, facts.origin, facts.digest]


def read_facts(values: list[Any]) -> ActionFacts:
    """Read back what is known of an action. Raises `WireError`."""
    try:
        name, summary, schema, origin, digest = values
    except (ValueError, TypeError) as error:
        raise WireError("an action that is none") from error
    if not isinstance(schema, dict):
        raise WireError("an action whose options are not described")
    return ActionFacts(name=str(name), summary=str(summary), schema=schema, origin=str(origin), digest=str(digest))


def problem_values(problem: Problem) -> list[Any]:
    """Return a problem as JSON."""
    return [place_values(problem.place), problem.path, problem.message, problem.hint, problem.severity]


def read_problem(values: list[Any]) -> Problem:
    """Read a problem back. Raises `WireError`."""
    try:
        place, path, message, hint, severity = values
        if severity not in {"error", "warning", "note"}:
            severity = "error"
        return Problem(
            place=read_place(place),
            path=str(path),
            message=str(message),
            hint=None if hint is None else str(hint),
            severity=severity,
        )
    except (ValueError, TypeError) as error:
        raise WireError("a problem that is none") from error


def place_values(place: Place | None) -> list[Any] | None:
    """Return a place as JSON."""
    return None if place is None else [place.file, place.line, place.column, place.length]


def read_place(values: list[Any] | None) -> Place | None:
    """Read a place back. Raises `ValueError` and `TypeError`."""
    if values is None:
        return None
    file, line, column, length = values
    return Place(str(file), int(line), int(column), int(length))


def texts_tail(texts: dict[str, bytes]) -> tuple[list[list[Any]], bytes]:
    """Return names with lengths, and all texts in one."""
    return [[name, len(text)] for name, text in texts.items()], b"".join(texts.values())


def read_texts(names: list[list[Any]], tail: bytes) -> Iterator[tuple[str, bytes]]:
    """Take the texts apart again."""
    start = 0
    for name, length in names:
        yield name, tail[start : start + length]
        start += length


def plain(value: Any) -> Any:
    """Return what a plug-in logs as JSON: what is none becomes text."""
    try:
        return json.loads(json.dumps(value, default=str))
    except (TypeError, ValueError, RecursionError):
        return str(value)[:_MAX_TEXT]


def _sendable(text: str) -> str:
    return text[:_MAX_TEXT]
