"""Server-sent events (WHATWG HTML, 9.2): how a message is written, and read again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from hookline.daemon.streaming.message import Message

#: What begins a stream: how many milliseconds to wait before coming back.
BEGIN: Final = "retry: 2000\n\n"
#: A comment, so that proxies, and readers whose network is gone, notice in time.
PING: Final = ": ping\n\n"
#: A line may be as long; a daemon writes none that is near it.
_LONGEST_LINE: Final = 1 << 20
#: As many texts of messages are kept: as many as wait for a reader.
_REMEMBERED: Final = 256


# Every reader is told the same.
@lru_cache(maxsize=_REMEMBERED)
def written(message: Message) -> str:
    """Write a message: its kind, its event's id if it is an event, and its facts as JSON in one line."""
    facts = {"kind": message.kind, "at": message.at.isoformat(), **message.facts}
    # ASCII: control characters and lone surrogates are escaped, so no text of a sender's can end the line.
    data = json.dumps(facts, separators=(",", ":"))
    id_line = f"id: {message.event_id}\n" if message.event_id is not None else ""
    return f"event: {message.kind}\n{id_line}data: {data}\n\n"


def read(lines: Iterable[bytes]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Return the messages of a stream as they come, each with its `id`, if it has one.

    Raises `ValueError` for data that is no JSON object, or a line without end.
    """
    event_id: str | None = None
    data: list[str] = []
    for line in lines:
        if len(line) > _LONGEST_LINE:
            raise ValueError("a line without end: this is not the daemon's stream")
        name, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "id":
            event_id = value
        elif not name and not value and data:
            said = json.loads("\n".join(data))
            if not isinstance(said, dict):
                raise ValueError("a message that is no JSON object: this is not the daemon's stream")
            yield event_id, said
            event_id, data = None, []
