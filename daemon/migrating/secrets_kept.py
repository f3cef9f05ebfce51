"""What is kept in files beside a SQLite store and in a table of the database: secrets that nodes share."""

from __future__ import annotations

from pathlib import Path

from hookline.daemon.admin_token import read_admin_token
from hookline.daemon.shared_admin_token import KEPT_TOKEN
from hookline.daemon.sources.learned import FileLearnedSecrets, learned_secrets_folder
from hookline.daemon.sources.shared_secrets import learned_as_kept


def secrets_beside(store: Path) -> dict[str, bytes]:
    """Return them by the names that they have in the database. Raises `StoreError` for a file that is none of ours."""
    folder = learned_secrets_folder(store.parent)
    learned = FileLearnedSecrets(folder)
    learned.load()
    sources = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    kept = dict(learned_as_kept(source, learned.known(source)) for source in sources if learned.known(source))
    token = read_admin_token(store.parent)
    if token is not None:
        kept[KEPT_TOKEN] = token.encode("ascii")
    return kept
