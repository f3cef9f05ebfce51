"""`store` of the configuration: a SQLite file or a PostgreSQL database."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from pathlib import Path
from typing import Final

from hookline.daemon.config.database import filled_in, has_password, is_database, parse_database
from hookline.daemon.config.references import References
from hookline.daemon.config.section import Section, read_scalar
from hookline.daemon.store.places import PostgresDatabase, SqliteFile, StorePlace, UnsetStore
from hookline.rules import Place
from hookline.rules.document import Findings, Node, Scalar
from hookline.rules.interpolation import Lookup, UnsetError, interpolate

#: What brings the driver.
INSTALL_DRIVER: Final = "pip install 'hookline[postgres]'"
_DEFAULT: Final = "hookline.db"


def resolve_store(node: Node, references: References, lookup: Lookup) -> Node:
    """Return what stands under `store` with its references replaced.

    A database's URL is none of `References.hidden`: its mistakes are told without a secret, and in full.
    """
    if isinstance(node, Scalar) and isinstance(node.value, str):
        text = filled_in(node.value, lambda reference: _value(reference, lookup))
        if is_database(text):
            references.check(node)
            return Scalar(text, node.place, node.path, text)
    return references.resolve(node)


def _value(reference: str, lookup: Lookup) -> str | None:
    try:
        value = interpolate(reference, lookup)
    except UnsetError:
        return None
    return value if isinstance(value, str) else None


def read_store(
    top: Section, written: Node | None, folder: Path, *, is_offline: bool, unset: Collection[Place]
) -> StorePlace:
    """Read `store`; relative paths are below `folder`. `written`: as it stands in the file, with its references.

    `is_offline`: the daemon's machine may have the driver where this one does not. `unset`: where references
    stand that are not set, which was said already.
    """
    node, default = top.take("store"), _default(folder)
    if node is None:
        return default
    if isinstance(written, Scalar) and written.place in unset and not is_database(written.text):
        return UnsetStore(written.text)
    place = read_scalar(node, lambda text: _parse(text, folder), top.findings, default)
    if isinstance(place, PostgresDatabase):
        _check_database(written or node, top.findings, is_offline=is_offline)
    return place


def _default(folder: Path) -> StorePlace:
    return SqliteFile(folder / _DEFAULT)


def check_beside_database(top: Section, limits: Section) -> None:
    """Report what has a meaning for a SQLite file alone."""
    if top.node is not None and top.has("backup"):
        at = top.take("backup") or top.node
        hint = "remove the key: the database is backed up by pg_dump, or by base backups and WAL archiving"
        top.findings.error(at, "Hookline makes no backups of a PostgreSQL database", hint)
    node = limits.take("free_space")
    if node is not None:
        hint = "remove the key, and watch the disk of the database's server"
        top.findings.warning(node, "free_space says nothing about a PostgreSQL database", hint)


def _parse(text: str, folder: Path) -> StorePlace:
    if is_database(text):
        return parse_database(text)
    path = text.removeprefix("sqlite:")
    if path == text or not path.strip() or "\0" in path:
        # What has a host may have a password.
        shown = text if "//" not in text else f"{text.partition('//')[0]}//…"
        raise ValueError(
            f'"{shown[:80]}" names no store: write sqlite: and a path, as in sqlite:hookline.db, '
            "or postgresql://USER@HOST/DATABASE"
        )
    if path.startswith((":", "//")):
        raise ValueError(
            f'"{text[:80]}" names no file: write sqlite: and a path, as in sqlite:/var/lib/hookline/hookline.db'
        )
    return SqliteFile(folder / path)


def _check_database(written: Node, findings: Findings, *, is_offline: bool) -> None:
    if isinstance(written, Scalar) and isinstance(written.value, str) and has_password(written.value):
        hint = "write ${DB_PASSWORD} there, or leave it to PGPASSWORD, passfile=FILE or service=NAME"
        findings.warning(written, "the database's password stands in the configuration", hint)
    if importlib.util.find_spec("asyncpg") is None:
        report = findings.warning if is_offline else findings.error
        report(written, "PostgreSQL needs the Python package asyncpg, which is not installed", INSTALL_DRIVER)
