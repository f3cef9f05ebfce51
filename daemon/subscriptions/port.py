"""What a vendor's subscription API is to `hookline subscribe`; each vendor is a module beside this one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from hookline.daemon.subscriptions.option_secret import OptionSecret
from hookline.rules import Json


class VendorError(Exception):
    """A request to a vendor that did not do what it should. Caught by the command, which prints it and exits 1."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        """Say what happened and what to do next, without secrets; `status` if the vendor answered one."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to a vendor."""

    method: str
    #: Below the base URL, percent-encoded.
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Sent as JSON; None: no body.
    body: Json = field(default=None, repr=False)
    #: What the vendor's documents answer: what a dry run goes on with.
    example: Json = None

    @property
    def changes(self) -> bool:
        """Whether it makes something, so that it is not known what is there when no answer comes."""
        return self.method not in {"GET", "DELETE"}


class Api(Protocol):
    """A vendor's HTTP API."""

    async def ask(self, call: Call) -> Json:
        """Return the JSON of a 2xx answer, None if it has no body. Raises `VendorError`."""
        ...


class Hidden(Protocol):
    """Texts that are never shown."""

    def add(self, text: str) -> None:
        """Hide a text from now on, in all its encodings."""
        ...

    def masked(self, text: str) -> str:
        """Return `text` with `***` in place of each hidden one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An event to subscribe to."""

    #: As the user wrote it.
    text: str
    #: The event type that will arrive, to be looked up in the source type's list; None if that makes no sense (`*`).
    type: str | None
    #: What the vendor's API wants to be told.
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as the vendor lists it."""

    id: str
    events: tuple[str, ...]
    #: Where it sends; None if the vendor does not say.
    url: str | None
    #: The vendor's word.
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Something that is at the vendor now."""

    #: `subscription`, `hook` or `target URL`.
    what: str
    id: str
    #: As the user wrote them.
    events: tuple[str, ...] = ()
    #: False: it was there before.
    is_new: bool
    #: Whether a secret was written to a file for it.
    is_kept: bool = False
    #: What the user should know or do about it.
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a vendor's module works with."""

    api: Api
    #: Values of the names in `VendorKind.needs` and the like that are set.
    account: Mapping[str, str] = field(repr=False)
    #: The source's name.
    source: str
    #: Where the vendor shall send.
    url: str = field(repr=False)
    #: By option of the source, what the vendor and the daemon share.
    secrets: Mapping[str, OptionSecret]
    #: The source's other options.
    options: Mapping[str, Json] = field(repr=False)
    hidden: Hidden
    #: Ask a question that `--yes` answers.
    confirm: Callable[[str], bool]


class Vendor(Protocol):
    """A vendor's subscriptions. Every method raises `VendorError`, and `KeepError` where a secret cannot be kept."""

    def subscribe(self, wanted: Sequence[Wanted]) -> AsyncIterator[Outcome]:
        """Make what is missing, yielding each thing as soon as it is there."""
        ...

    async def subscriptions(self) -> tuple[Subscription, ...]:
        """Return what there is."""
        ...

    async def delete(self, subscription: str) -> None:
        """Delete one by its id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorKind:
    """A vendor whose subscriptions can be made, before anything is known of the account."""

    label: str
    #: The base URL, if the vendor has one for everybody.
    host: str | None
    #: The name that overrides it, for sandboxes.
    base_url: str
    #: Names of credentials that must be set.
    needs: tuple[str, ...]
    #: Names of which at least one must be set.
    one_of: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    #: Which of all these are no secrets, and may be shown.
    shown: frozenset[str] = frozenset()
    #: Options of the source that hold what vendor and daemon share.
    secret_options: tuple[str, ...] = ()
    #: Why `--list` and `--delete` are not to be had; None if they are.
    why_no_list: str | None = None
    #: For people: how an event is written.
    events_hint: str
    #: Reads one event; raises `ValueError` for people.
    parse: Callable[[str], Wanted]
    open: Callable[[Connection], Vendor]


def items_of(document: Json, *keys: str) -> list[dict[str, Json]]:
    """Return the objects of a list that is the document itself or stands under the first of `keys` that it has."""
    if isinstance(document, dict):
        document = next((document[key] for key in keys if key in document), None)
    return [item for item in document if isinstance(item, dict)] if isinstance(document, list) else []


def object_of(document: Json, *keys: str) -> dict[str, Json]:
    """Return the object under the first of `keys` that the document has, else the document; {} if it is none."""
    if isinstance(document, dict):
        inner = next((document[key] for key in keys if isinstance(document.get(key), dict)), document)
        return inner if isinstance(inner, dict) else {}
    return {}


def id_of(document: dict[str, Json]) -> str:
    """Return an object's id as text. Raises `VendorError` if it has none."""
    found = document.get("id")
    if isinstance(found, str | int) and not isinstance(found, bool) and str(found):
        return str(found)
    raise VendorError("the answer names no id; look with --list what is there now")


def path_part(text: str) -> str:
    """Encode an id for a path, whatever a user typed. Raises `VendorError` for what would be another path."""
    if text in {"", ".", ".."}:
        raise VendorError(f'"{text}" is no id: look with --list')
    return quote(text, safe="")
