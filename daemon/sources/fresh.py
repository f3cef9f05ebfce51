"""What is new in each sample: ids, numbers and times, in its body and its headers."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hookline.daemon.sources.fields import Field, compile_field
from hookline.daemon.sources.places import Facts, parse_direct
from hookline.rules import Json

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_IN_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_OWN_NAMES: Final = ("type", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a sample's new values are made of."""

    #: Differs between samples, and is the same for the same one.
    identity: str
    #: Aware.
    now: datetime

    def element(self, indexes: tuple[int, ...]) -> Moment:
        """Return what an element of the same sample is made of; the first one's is the sample's own."""
        return Moment(identity="-".join(map(str, (self.identity, *indexes))), now=self.now) if any(indexes) else self


def _since(moment: Moment, unit: timedelta) -> int:
    return (moment.now - _EPOCH) // unit


def _digest(moment: Moment) -> bytes:
    return hashlib.sha256(moment.identity.encode()).digest()


#: What can be made anew, by its name in a source type's file.
RENEWALS: Final[Mapping[str, Callable[[Moment], str | int]]] = {
    "id": lambda moment: moment.identity,
    "uuid": lambda moment: str(uuid.UUID(bytes=_digest(moment)[:16], version=4)),
    "number": lambda moment: int.from_bytes(_digest(moment)[:4]),
    "iso": lambda moment: moment.now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    "s": lambda moment: _since(moment, timedelta(seconds=1)),
    "ms": lambda moment: _since(moment, timedelta(milliseconds=1)),
    "us": lambda moment: _since(moment, timedelta(microseconds=1)),
}


def compile_renewal(text: str) -> Callable[[Moment], str | int]:
    """Compile `id`, or a text such as `"evt_{id}"`. Raises `ValueError` with a message for people."""
    if text in RENEWALS:
        return RENEWALS[text]
    names = _IN_BRACES.findall(text)
    unknown = [name for name in names if name not in RENEWALS]
    if unknown or not names:
        raise ValueError(f"{(unknown or [text])[0][:40]!r} is nothing that can be made anew")
    return lambda moment: _IN_BRACES.sub(lambda found: str(RENEWALS[found[1]](moment)), text)


def compile_header(template: str) -> Field:
    """Compile the format of a sample's header. Raises `ValueError` with a message for people."""

    def place(found: re.Match[str]) -> str:
        name = re.split(r"[|?]", found[1], maxsplit=1)[0].strip()
        # Fields know no names of ours, so they stand where a query parameter would.
        return f"{{query.{found[1].strip()}}}" if name in {*RENEWALS, *_OWN_NAMES} else found[0]

    return compile_field((_IN_BRACES.sub(place, template),), allow_literal=True)


def fill_header(template: str, document: Json, event_type: str, sender_id: str | None, moment: Moment) -> str | None:
    """Return what a sample's header says; None if a part of it is missing."""
    names = {name: str(renew(moment)) for name, renew in RENEWALS.items()}
    names |= {"type": event_type, "id": sender_id or moment.identity}
    return compile_header(template).text(Facts(document, document, None, {}, names))


def renew(document: Json, fresh: Mapping[str, str], moment: Moment) -> None:
    """Make what stands at these paths anew; what is not there is passed over."""
    for path, renewal in fresh.items():
        _renew(document, parse_direct(path) or (), compile_renewal(renewal), moment, ())


def _renew(
    at: Any,
    steps: tuple[str | int | None, ...],
    made: Callable[[Moment], str | int],
    moment: Moment,
    indexes: tuple[int, ...],
) -> None:
    step, rest = steps[0], steps[1:]
    if isinstance(at, dict):
        chosen: list[Any] = [step] if step in at else []
    elif isinstance(at, list):
        chosen = [number for number in range(len(at)) if step in (None, number)]
    else:
        chosen = []
    for one in chosen:
        there = (*indexes, one) if isinstance(one, int) else indexes
        if rest:
            _renew(at[one], rest, made, moment, there)
        else:
            at[one] = made(moment.element(there))
