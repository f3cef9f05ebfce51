"""The files that a session with the server needs: asyncpg fails on one that cannot be used, and does not say which."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from hookline.daemon.store.places import PostgresDatabase

#: What libpq and asyncpg look for where `store:` names nothing.
_AT_HOME: Final = ("root.crt", "root.crl", "postgresql.crt", "postgresql.key")


def unusable_file(place: PostgresDatabase) -> str | None:
    """Say for people which file keeps a session from beginning, and what to do; None if none does."""
    parts = urlsplit(place.url)
    given = dict(parse_qsl(parts.query))
    is_network = bool(parts.netloc.rpartition("@")[2]) or not given.get("host", "/").startswith("/")
    if given.get("sslmode", "prefer" if is_network else "disable") == "disable":
        # Then none is looked at, and it is the server that is away.
        return None
    for name, load in _loads(given):
        try:
            load()
        except ssl.SSLError as error:
            why = error.reason.replace("_", " ").lower() if error.reason else "no PEM, or not with this key"
            return f"{name} {given[name]} cannot be used ({why}): correct `store:`, or the file"
        except OSError as error:
            return f"{name} {given[name]} cannot be read ({error.strerror}): correct `store:`, or the file's rights"
    return _hidden_home()


def _loads(given: Mapping[str, str]) -> list[tuple[str, Callable[[], None]]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    password = given.get("sslpassword", "")
    # Whom nobody checks needs no authority.
    checks = ("sslrootcert", "sslcrl") if given.get("sslmode") in {"require", "verify-ca", "verify-full"} else ()
    found: list[tuple[str, Callable[[], None]]] = [
        (name, partial(context.load_verify_locations, cafile=given[name])) for name in checks if name in given
    ]
    if "sslkey" in given:
        # Else a missing key is said of the certificate.
        found.append(("sslkey", lambda: Path(given["sslkey"]).open("rb").close()))
    if "sslcert" in given:
        chain = partial(context.load_cert_chain, given["sslcert"], keyfile=given.get("sslkey"), password=password)
        found.append(("sslcert", chain))
    return found


def _hidden_home() -> str | None:
    try:
        folder = Path.home() / ".postgresql"
    except RuntimeError:
        return None
    for name in _AT_HOME:
        try:
            (folder / name).stat()
        except PermissionError:
            # As with sudo, or behind `ProtectHome=`.
            return (
                f"{folder / name} cannot be looked for (HOME is {folder.parent}, which we may not enter): set HOME to "
                "a folder of the daemon's own, or say sslmode=disable in `store:`"
            )
        except OSError:
            continue
    return None
