"""Python, and SQLite or the PostgreSQL driver: what the program stands on."""

from __future__ import annotations

import importlib.metadata
import re
import sqlite3
import sys
from email import policy
from email.errors import MessageError
from email.message import EmailMessage
from typing import Final

from hookline.daemon.config.store import INSTALL_DRIVER
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, ok, warn, wrong
from hookline.daemon.doctor.sight import Sight
from hookline.daemon.store.places import SqliteFile, UnsetStore
from hookline.daemon.store.sqlite.file import OLDEST_SQLITE, has_wal_reset_bug

_OLDEST: Final = (3, 11)
_NEWEST: Final = (3, 13)
# An encoded word whose decoded text begins a header of its own (CVE-2024-6923).
_INJECTION: Final = "=?utf-8?q?a=0ABcc:_x@example.org?="


def check_python(version: tuple[int, int, int] | None = None, *, is_email_safe: bool | None = None) -> Finding:
    """Judge the Python that runs this: its version, and whether its e-mail package keeps headers apart."""
    found = version or sys.version_info[:3]
    said = ".".join(map(str, found))
    if found[:2] < _OLDEST:
        return wrong("python", f"{said} is too old", "install Hookline with Python 3.11, 3.12 or 3.13")
    if found[:2] > _NEWEST:
        return warn("python", f"{said} is newer than what Hookline is tested with", "use Python 3.13")
    if not (keeps_headers_apart() if is_email_safe is None else is_email_safe):
        text = f"{said} lets an encoded word in a header begin another (CVE-2024-6923); email: takes them apart"
        return warn("python", text, f"update to the newest {found[0]}.{found[1]}.x, then restart")
    return ok("python", said)


def keeps_headers_apart() -> bool:
    """Try whether a decoded line break stays out of a header: distributions mend that in old versions, too."""
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = _INJECTION
    try:
        return re.search(rb"^Bcc:", message.as_bytes(), re.MULTILINE) is None
    except (MessageError, ValueError):
        return True


def check_driver(sight: Sight) -> list[Finding]:
    """Judge what the store is kept by: SQLite, or the package that speaks with PostgreSQL."""
    settings = sight.settings
    if isinstance(settings, Failed) or isinstance(settings.store, SqliteFile):
        return [check_sqlite()]
    if isinstance(settings.store, UnsetStore):
        return []
    try:
        return [ok("asyncpg", importlib.metadata.version("asyncpg"))]
    except importlib.metadata.PackageNotFoundError:
        return [wrong("asyncpg", "not installed: nothing speaks with PostgreSQL", INSTALL_DRIVER)]


def check_sqlite(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> Finding:
    """Judge the SQLite that Python is linked to."""
    said = ".".join(map(str, version))
    if version < OLDEST_SQLITE:
        return wrong("sqlite", f"{said} is too old", "use a Python with SQLite 3.37 or newer")
    if has_wal_reset_bug(version):
        text = f"{said} has the WAL-reset bug; one writer keeps clear of it, so let no other program write to the store"
        return warn("sqlite", text, "a Python with SQLite 3.51.3, 3.50.7 or 3.44.6 mends it")
    return ok("sqlite", said)
