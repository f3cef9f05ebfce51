"""Whom files belong to, and who types commands."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path


def own_like(path: Path, like: Path) -> None:
    """Let root's file belong to whom it is for: the service must be able to replace it."""
    if os.geteuid() == 0:
        about = like.stat()
        with suppress(PermissionError):  # a file system that knows no owners
            os.chown(path, about.st_uid, about.st_gid)


def operator() -> str:
    """Return the name of the user who types the command, for the audit; `cli` if it has none."""
    if sudo := os.environ.get("SUDO_USER"):
        return sudo
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "cli"
