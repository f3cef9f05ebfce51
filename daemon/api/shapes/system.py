"""Statistics and the daemon itself, as the API writes them."""

from __future__ import annotations

from typing import Any, TypedDict


class ReloadShape(TypedDict):
    """How a reload, or the start, ended."""

    at: str
    #: `live`, `refused`, `failed` or `fault`.
    outcome: str
    #: When what is on disk went live last; None: not since the start.
    live_at: str | None
    #: What was wrong, and where.
    problems: list[str]


class ReloadSummary(TypedDict):
    """How the last reload, or the start, ended."""

    at: str
    outcome: str
    live_at: str | None


class TroubleShape(TypedDict):
    """What is the matter with the store."""

    kind: str
    why: str
    since: str


class StatusShape(TypedDict):
    """What the daemon says of itself."""

    version: str
    ready: bool
    rules: str
    #: Why what runs is not what is on disk; empty if it is.
    degraded: list[str]
    trouble: TroubleShape | None
    #: Keys of the configuration that were changed on disk and need a restart.
    restart: list[str]
    reload: ReloadSummary | None
    #: Deliveries that run.
    running: int
    #: Sources of which nothing is matched now.
    paused: list[str]


class ReloadedShape(TypedDict):
    """The version of the rules that are live after a reload."""

    version: str


class NotedShape(TypedDict):
    """That something was noted."""

    noted: bool


class FactShape(TypedDict):
    """What was noted of the store's upkeep, and when."""

    at: str
    #: As it was noted: of a backup its path, bytes and events; of a look through the file what it found.
    value: dict[str, Any]


class StoreShape(TypedDict):
    """Where everything is kept, and how much of it there is."""

    #: `sqlite` or `postgresql`.
    kind: str
    #: As `store:` names it, without a password.
    place: str
    bytes: int
    #: Of the file's log of changes; None: a database has its own.
    wal_bytes: int | None
    #: What the file's disk has left; None: only the database's server knows.
    free_bytes: int | None
    #: Version of its tables; None: a database's nodes see to it.
    schema: int | None
    #: Events, duplicates, refused requests, and deliveries by state, since the store was made.
    counts: dict[str, int]
    #: The last look through the whole file; None: none was taken yet.
    integrity: FactShape | None
    #: The last backup that was verified; None: there is none.
    backup: FactShape | None
    #: How often the daemon makes one by itself; None: it does not.
    backup_every: str | None


class RetentionShape(TypedDict):
    """How long what is kept."""

    events: str
    dedupe: str
    dead: str


class VersionsShape(TypedDict):
    """What runs here."""

    hookline: str
    python: str
    sqlite: str
    system: str


class SystemShape(TypedDict):
    """The daemon, its store, and its last reloads."""

    versions: VersionsShape
    status: StatusShape
    store: StoreShape
    retention: RetentionShape
    #: How many processes run actions; 0: the daemon itself does.
    workers: int
    #: How many seconds there has been none that serves.
    without_worker: float
    #: The last reloads since the start, newest first.
    reloads: list[ReloadShape]


class ActionShape(TypedDict):
    """An action, or a plug-in that is none because it is broken."""

    name: str
    #: `loaded`, `broken`, `off` or `set aside`.
    state: str
    #: `built-in`, the file, or the package.
    origin: str
    summary: str
    #: Of its text.
    digest: str | None
    #: Why it is not used; None if it is.
    problem: str | None
    #: What uses it: destinations, and rules.
    destinations: list[str]
    rules: list[str]


class ActionsShape(TypedDict):
    """The actions that there are."""

    actions: list[ActionShape]
    #: What is wrong with the folder, or with what is of no one plug-in.
    problems: list[str]


class ActionDetail(ActionShape):
    """An action with its options."""

    #: JSON Schema of them; None: it could not be loaded.
    options: dict[str, Any] | None


class AuditRow(TypedDict):
    """What somebody did."""

    id: int
    at: str
    who: str
    what: str
    subject: str
    count: int
    #: The same by kind, where there are several.
    counts: dict[str, int]
    reason: str
    #: It is not over.
    under_way: bool


class AuditPage(TypedDict):
    """What was done, newest first."""

    audit: list[AuditRow]
    #: `before` of the next page; None if there is none.
    next: str | None


class TokenShape(TypedDict):
    """A token, without what it is."""

    name: str
    #: `read`, `operate` or `admin`.
    scope: str
    created_at: str
    expires_at: str | None
    #: To the hour; None if never.
    last_used_at: str | None


class NewToken(TokenShape):
    """A token that was made just now."""

    #: Shown this once; only its hash is kept.
    token: str


class TokensShape(TypedDict):
    """All tokens."""

    tokens: list[TokenShape]
