"""`store:` where it names a PostgreSQL database."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, unquote

from hookline.daemon.secrets import MASK
from hookline.daemon.store.places import DEFAULT_SCHEMA, PostgresDatabase
from hookline.rules.interpolation import find_references
from hookline.rules.suggestion import did_you_mean

#: What a URL of ours begins with.
SCHEMES: Final = ("postgresql://", "postgres://")
_EXAMPLE: Final = "postgresql://hookline@db.example.com/hookline"
_ODD_SIGNS: Final = (
    f"the PostgreSQL URL has no HOST or HOST:PORT before its database: write {_EXAMPLE}; "
    "signs in a password are written as %2F, %3A, %3F, %40, or it is ${NAME}"
)
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
#: By name, what the value may be; None: any text.
_PARAMETERS: Final[Mapping[str, tuple[str, ...] | None]] = {
    "schema": None,
    "host": None,
    "port": None,
    "passfile": None,
    "service": None,
    "sslmode": _SSL_MODES,
    "sslrootcert": None,
    "sslcert": None,
    "sslkey": None,
    "sslpassword": None,
    "sslcrl": None,
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": ("TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1.2", "TLSv1.3"),
    "krbsrvname": None,
    "gsslib": ("gssapi", "sspi"),
}
# What other programs take there, and what is ours to say.
_ELSEWHERE: Final[Mapping[str, str]] = {
    "password": "write it before the host, as in hookline:${DB_PASSWORD}@db.example.com",
    "user": "write it before the host, as in hookline@db.example.com",
    "dbname": "write it behind the host, as in db.example.com/hookline",
    "database": "write it behind the host, as in db.example.com/hookline",
    "target_session_attrs": "leave it out: of several hosts Hookline takes the one that takes writes",
    "options": "set it for the role: ALTER ROLE hookline SET …",
    "connect_timeout": "leave it out: Hookline has its own",
    "search_path": "write schema=NAME",
    "ssl": "write sslmode=require",
    "application_name": "leave it out: Hookline says who it is",
}


def is_database(text: str) -> bool:
    """Say whether `store:` means a database, rightly written or not."""
    return re.match(r"postgres(ql)?(:|$)|[a-z+]*(postgres|pgsql|psql)[a-z+]*:", text, re.IGNORECASE) is not None


def parse_database(text: str) -> PostgresDatabase:
    """Read `postgresql://USER[:PASSWORD]@HOST[:PORT][,HOST…]/DATABASE[?NAME=VALUE&…]`.

    Raises `ValueError` for people, with no secret in it.
    """
    scheme, found, rest = text.partition("://")
    if not found or scheme not in {"postgresql", "postgres"}:
        raise ValueError(f'"{_without_rest(text)}" is no PostgreSQL URL: write {_EXAMPLE}')
    if "#" in rest or any(letter.isspace() for letter in rest):
        raise ValueError("a PostgreSQL URL has no blanks and no #: write them as %20 and %23")
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    if "@" in f"{authority.rpartition('@')[0]}{database}{query}":
        # What follows may be half a password, and is not shown.
        raise ValueError(_ODD_SIGNS)
    user, hosts = _authority(authority)
    parameters = _parameters(query)
    service = "service" in parameters
    if not database and not service:
        raise ValueError(f"the PostgreSQL URL names no database: write it behind the host, as in {_EXAMPLE}")
    if "/" in database:
        raise ValueError("the PostgreSQL URL has more than one / behind the host: a / in a name is written %2F")
    if not hosts and "host" not in parameters and not service:
        raise ValueError(f"the PostgreSQL URL names no host: write {_EXAMPLE}, or ?host=/run/postgresql for a socket")
    schema = parameters.pop("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_") or schema == "information_schema":
        raise ValueError(
            f'"{schema[:80]}" cannot be our schema: use small letters, digits and _, at most 63, and none of '
            "PostgreSQL's own"
        )
    url = _written(user, hosts, database, parameters)
    shown = dict(parameters) | ({"sslpassword": MASK} if "sslpassword" in parameters else {})
    if schema != DEFAULT_SCHEMA:
        shown["schema"] = schema
    return PostgresDatabase(
        url=url, schema=schema, shown=_written(user.partition(":")[0], hosts, database, shown).replace("%2A", "*")
    )


def secrets_in(place: PostgresDatabase) -> tuple[str, ...]:
    """Return what of a database's URL nobody may see, as written there and as meant."""
    authority, _, query = place.url.partition("://")[2].partition("?")
    user, _, _ = authority.partition("/")[0].rpartition("@")
    written = [user.partition(":")[2], *(one.partition("=")[2] for one in query.split("&") if "sslpassword=" in one)]
    return tuple(dict.fromkeys(text for one in written if one for text in (one, unquote(one))))


def has_password(text: str) -> bool:
    """Say whether a password stands in `store:` as it is written: not by reference."""
    authority = text.partition("://")[2].partition("?")[0].partition("/")[0]
    password = authority.rpartition("@")[0].partition(":")[2]
    return bool(password) and not find_references(password)


def filled_in(text: str, value_of: Callable[[str], str | None]) -> str:
    """Return `store:` with each reference replaced; before the host, by its value fit for a URL.

    A password may hold what separates the parts of a URL. `value_of` gives what a reference, as written, stands for;
    None leaves it.
    """
    # A path in a reference has signs of a URL as well.
    plain = text
    for reference in find_references(text):
        blank = "x" * (reference.end - reference.start)
        plain = f"{plain[: reference.start]}{blank}{plain[reference.end :]}"
    found = re.match(r"[a-z]+://[^/?]*@", plain)
    host = found.end() if found is not None else 0
    for reference in reversed(find_references(text)):
        value = value_of(text[reference.start : reference.end])
        if value is None:
            continue
        value = quote(value, safe="", errors="replace") if reference.start < host else value
        text = f"{text[: reference.start]}{value}{text[reference.end :]}"
    return text


def _authority(text: str) -> tuple[str, str]:
    user, _, hosts = text.rpartition("@")
    for host in filter(None, hosts.split(",")):
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+|%2[Ff][^:\[\]]*)(?::([0-9]{1,5}))?", host)
        if found is None or not 0 < int(found[2] or 5432) <= 65_535:
            raise ValueError(_ODD_SIGNS)
    if hosts and "" in hosts.split(","):
        raise ValueError("the PostgreSQL URL has a comma too many among its hosts")
    return user, hosts


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in filter(None, query.split("&")):
        name, equals, value = one.partition("=")
        if name in _ELSEWHERE:
            raise ValueError(f'"{name}" cannot stand in the PostgreSQL URL: {_ELSEWHERE[name]}')
        if name not in _PARAMETERS:
            hint = did_you_mean(name, _PARAMETERS) or f"there are {', '.join(_PARAMETERS)}"
            raise ValueError(f'unknown parameter "{name[:80]}" in the PostgreSQL URL: {hint}')
        if name in found:
            raise ValueError(f'"{name}" stands twice in the PostgreSQL URL')
        if not equals or not value:
            raise ValueError(f'"{name}" has no value in the PostgreSQL URL')
        found[name] = unquote(value)
        allowed = _PARAMETERS[name]
        if allowed is not None and found[name] not in allowed:
            raise ValueError(f'"{found[name][:80]}" is no {name}: write {", ".join(allowed[:-1])} or {allowed[-1]}')
    return found


def _written(user: str, hosts: str, database: str, parameters: Mapping[str, str]) -> str:
    query = "&".join(f"{name}={quote(value, safe='/,:.')}" for name, value in parameters.items())
    return f"postgresql://{user}{'@' * bool(user)}{hosts}/{database}{'?' * bool(query)}{query}"


def _without_rest(text: str) -> str:
    """Return the beginning of what may be a URL with a password in it."""
    scheme, found, _ = text.partition(":")
    return f"{scheme[:20]}{found}…"
