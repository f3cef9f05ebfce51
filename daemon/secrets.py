"""Looks up `${NAME}`, `${file:PATH}` and `${vars.NAME}`, and hides what it gave out."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from hookline.daemon.regular_file import read_regular
from hookline.rules import Json
from hookline.rules.interpolation import UnsetError
from hookline.rules.suggestion import suggest

#: A secret may be this large: a certificate chain fits.
MAX_SECRET_BYTES: Final = 1 << 20
#: Beside the configuration: where `hookline subscribe` keeps what it was given, for the owner alone.
CREDENTIALS_FOLDER: Final = "credentials"
#: What stands where a secret stood.
MASK: Final = "***"
# Shorter ones stand in ordinary words and numbers: hiding them would show where they are.
_SHORTEST_MASKED = 4


class Secrets:
    """The `Lookup` of the daemon: systemd's credentials, the environment, then `credentials/` in its folder."""

    def __init__(
        self, environ: Mapping[str, str], *, folder: Path, variables: Mapping[str, Json] | None = None
    ) -> None:
        """Look up names in `environ` and in its `$CREDENTIALS_DIRECTORY`, and relative paths below `folder`."""
        self._environ = environ
        self._folder = folder
        self._variables = variables or {}
        self._given: set[str] = set()
        #: Files that were looked for, there or not: a change of one is a change of what it is read for.
        self.files: set[Path] = set()

    def with_variables(self, variables: Mapping[str, Json]) -> Secrets:
        """Return a lookup with these variables, which hides what either gave out."""
        other = Secrets(self._environ, folder=self._folder, variables=variables)
        other._given, other.files = self._given, self.files
        return other

    def secret(self, name: str) -> str | None:
        """Return a secret, None if it is not set.

        Raises `ValueError` if its credential cannot be read, or could be read by others than its owner.
        """
        credentials = self._environ.get("CREDENTIALS_DIRECTORY")
        if credentials:
            # systemd calls what it loads from a folder by the names of both.
            for path in (Path(credentials, name), Path(credentials, f"{CREDENTIALS_FOLDER}_{name}")):
                if _mode(path) is not None:
                    return self._remember(self._text(path))
        value = self._environ.get(name)
        if value is not None:
            return self._remember(value)
        # Only of ours is the mode looked at: systemd shows the access list of its own as a group's right.
        own = self._folder / CREDENTIALS_FOLDER / name
        mode = _mode(own, may_be_hidden=bool(credentials))
        if mode is None:
            self.files.add(own)
            return None
        if stat.S_ISREG(mode) and mode & 0o077:
            raise ValueError(f"{own} can be read by others than its owner: chmod 600 {own}")
        return self._remember(self._text(own))

    def file(self, path: str) -> str:
        """Return a file's text without its last line break. Raises `ValueError` if it cannot be read."""
        return self._remember(self._text(self._folder / path))

    def variable(self, name: str) -> Json:
        """Return a variable, or a value inside one (`channels.acme`). Raises `UnsetError` if there is none."""
        if name in self._variables:
            return self._variables[name]
        head, *rest = name.split(".")
        value: Json = self._variables.get(head)
        for step in rest:
            if not isinstance(value, dict) or step not in value:
                break
            value = value[step]
        else:
            if head in self._variables:
                return value
        hint = suggest(name, self._variables, what="variables") or f"add it under vars: {name}: …"
        raise UnsetError(f"${{vars.{name}}}", f'no variable "{name}"', hint)

    @property
    def given(self) -> frozenset[str]:
        """What was given out so far."""
        return frozenset(self._given)

    def masked(self, text: str) -> str:
        """Return `text` with every secret that was given out hidden."""
        return masked(text, self._given)

    def _text(self, path: Path) -> str:
        self.files.add(path)
        data = read_regular(path, limit=MAX_SECRET_BYTES)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text") from error
        # Editors and `echo` end a file with a line break that is no part of the secret.
        return text.removesuffix("\n").removesuffix("\r")

    def _remember(self, value: str) -> str:
        self._given.add(value)
        return value


def _mode(path: Path, *, may_be_hidden: bool = False) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        # Root's folder, which systemd reads in the service's place: what it did not hand on is not there.
        if may_be_hidden:
            return None
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with each of `secrets` replaced by `***`, longer ones first; the very short stay."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_MASKED:
            text = text.replace(secret, MASK)
    return text
