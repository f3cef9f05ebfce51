"""What goes wrong with the server, said for whoever runs the daemon."""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError, StoreTrouble
from hookline.daemon.store.postgres.certificates import unusable_file

#: All that a conversation with the server raises. `TimeoutError` is an `OSError`.
FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

#: A deadlock, a serialization failure, a statement whose plan somebody's migration made invalid, a session that ended:
#: asyncpg has many words for that, by when it notices.
_AGAIN: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    ConnectionError,
)
#: A host that answers so may not be the one to ask; others of the list are tried.
_NOT_THIS_HOST: Final = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
#: What a file raises that cannot be used; so may a socket, or a handshake.
_OF_FILES: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, ssl.SSLError)
_POOLED: Final = (
    "sessions do not stay with one connection of the server's, as behind pgbouncer in transaction mode: set "
    "`pool_mode = session` there, or let `store:` name the server itself"
)
#: By SQLSTATE, the longest beginning that is found: the kind, and what to do.
_MEANINGS: Final[dict[str, tuple[StoreTrouble, str]]] = {
    "08": ("away", "the connection was lost"),
    "25006": (
        "away",
        "it takes no writes: a standby, or set to read-only; let `store:` name the primary, or all hosts",
    ),
    "25P03": ("away", "the server ended the session, because this process stood still"),
    "25P04": ("away", "the server ended the session, because the transaction took too long"),
    "26000": ("unfit", _POOLED),
    "28": ("unfit", "it does not let us in: correct user and password in `store:`, or pg_hba.conf"),
    "3D": ("unfit", "there is no such database: make it with `createdb`, or correct `store:`"),
    "3F": ("unfit", "there is no such schema: correct `store:`, or start the daemon, which makes it"),
    "42501": ("unfit", "our role may not do that: GRANT it, or let the role own database or schema"),
    "42P01": ("unfit", "a table of ours is missing: restore the database, or let `store:` name an empty schema"),
    "42P05": ("unfit", _POOLED),
    "42703": ("unfit", "a column of ours is missing: restore the database, or update Hookline"),
    "53": ("away", "the server lacks something: see its log"),
    "53100": ("disk_full", "the server's disk is full: make room there, and it goes on by itself"),
    "53200": ("other", "the server is out of memory"),
    "53300": ("away", "no connection is left: raise max_connections, or end what holds them"),
    "54": ("other", "a limit of the server's is passed"),
    "55P03": ("locked", "another session holds a lock: see pg_stat_activity, and end it"),
    "57014": ("other", "it took too long: see the server's load, and what it waits for in pg_stat_activity"),
    "57": ("away", "the server is being stopped or started"),
    "57P04": ("unfit", "the database was dropped: restore it, or correct `store:`"),
    "58": ("away", "the server cannot use its own files: see its log and its machine's kernel log"),
    "XX001": ("other", "the server's data are damaged: see its log, and run pg_amcheck; restore a backup"),
    "XX002": ("other", "an index of the server's is damaged: see its log, and REINDEX"),
}
_LONGEST_CODE: Final = 5


def store_error(error: Exception, place: PostgresDatabase) -> StoreError:
    """Say what an error of `FAILURES` means. What a sender wrote is not in it, nor is the password."""
    kind: StoreTrouble
    match error:
        case asyncpg.PostgresError():
            code = error.sqlstate or ""
            kind, meaning = _meaning(code)
            # A row's values stand in DETAIL, and in the messages of what is wrong with values.
            said = "" if is_own_fault(error) else f": {_first_line(error)}"
            return StoreError(f"{place}: {meaning} ({code}{_hidden(said, place)})", kind=kind)
        case asyncpg.ClientConfigurationError() | ssl.SSLCertVerificationError():
            kind, meaning = "unfit", "correct `store:`, or the certificates that it names"
        case asyncpg.TargetServerAttributeNotMatched():
            return StoreError(f"{place}: {_MEANINGS['25006'][1]}", kind="away")
        case TimeoutError():
            return StoreError(f"{place}: does not answer: see whether it runs, and the network between", kind="away")
        case _ if isinstance(error, _OF_FILES) and (file := unusable_file(place)) is not None:
            return StoreError(f"{place}: {_hidden(file, place)}", kind="unfit")
        case OSError():
            kind, meaning = "away", "cannot be reached: see whether it runs, and the network between"
        case _ if isinstance(error, asyncpg.InternalClientError) or _is_closed(error):
            kind, meaning = "away", "the connection was lost"
        case _ if is_own_fault(error):
            return StoreError(f"{place}: cannot take a value", kind="other")
        case _:
            kind, meaning = "other", "it cannot be asked that"
    return StoreError(f"{place}: {meaning} ({_hidden(_first_line(error), place)})", kind=kind)


def is_own_fault(error: Exception) -> bool:
    """Say whether one change caused it by what it holds, so that others beside it can be made."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in {"22", "23", "54"}
    # asyncpg's own, before anything is sent: a number too large, a text that cannot be encoded.
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def is_worth_again(error: Exception) -> bool:
    """Say whether a transaction that failed so before its commit may succeed if it is run again at once."""
    return isinstance(error, _AGAIN) or _is_closed(error)


def is_another_host_worth_asking(error: Exception) -> bool:
    """Say whether a host that failed so says nothing of the others of the list."""
    return isinstance(error, _NOT_THIS_HOST) and not isinstance(error, ssl.SSLCertVerificationError)


def pooled(place: PostgresDatabase) -> StoreError:
    """Return what is to be said where news do not come through."""
    return StoreError(f"{place}: {_POOLED}", kind="unfit")


def _is_closed(error: Exception) -> bool:
    # There is no class of its own for a session that asyncpg knows to be over.
    return isinstance(error, asyncpg.InterfaceError) and "is closed" in str(error)


def _meaning(code: str) -> tuple[StoreTrouble, str]:
    for length in range(_LONGEST_CODE, 1, -1):
        if found := _MEANINGS.get(code[:length]):
            return found
    return "other", "the server cannot do it"


def _first_line(error: Exception) -> str:
    # The first of an error's of PostgreSQL: str() would add DETAIL.
    said = str(error) if isinstance(error, OSError) or not error.args else str(error.args[0])
    return next(iter(said.splitlines()), "") or type(error).__name__


def _hidden(text: str, place: PostgresDatabase) -> str:
    """Return a text without the password, should asyncpg or the server have put it there."""
    password = urlsplit(place.url).password
    for secret in (place.url, password, unquote(password) if password else None):
        if secret:
            text = text.replace(secret, "***")
    return text
