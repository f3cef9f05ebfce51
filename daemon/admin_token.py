"""The admin token: configured, or made at the first start and kept in the state folder for its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def admin_token_file(state: Path) -> Path:
    """Return where a token is kept that the configuration does not give."""
    return state / "admin-token"


def read_admin_token(state: Path) -> str | None:
    """Return the kept token, or None if none was made yet."""
    try:
        return admin_token_file(state).read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None


def ensure_admin_token(state: Path) -> str:
    """Return the kept token; make one first if there is none."""
    kept = read_admin_token(state)
    if kept is not None:
        return kept
    token = secrets.token_urlsafe(32)
    write_admin_token(state, token)
    return token


def write_admin_token(state: Path, token: str) -> None:
    """Keep a token, for commands that are typed here."""
    path = admin_token_file(state)
    # Written under another name first: a reader never sees half a token.
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{token}\n")
    fresh.replace(path)
