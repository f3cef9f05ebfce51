"""A secret that vendor and daemon share: what an option of a source says of it, and where it is kept."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hookline.daemon.config.settings import Settings
from hookline.daemon.secrets import CREDENTIALS_FOLDER, Secrets
from hookline.daemon.subscriptions.credential_file import check_writable, write_credential
from hookline.rules import Json
from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.interpolation import Reference, UnsetError, find_references, interpolate
from hookline.rules.reader import read_bytes

_MOST_KEPT = 100
_SHORTEST_PART = 8


class KeepError(Exception):
    """A secret that cannot be read or kept. Caught by the command, which prints it and exits 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Where a secret is now."""

    file: Path
    #: The reference to it, as the configuration writes one.
    reference: str
    #: What the option must say for the daemon to read it; None if it does already.
    to_write: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A text of the option with one reference in it that is not set: a secret may be put there."""

    reference: Reference
    #: What stands around it.
    before: str
    after: str


def written_options(settings: Settings, source: str) -> dict[str, Node]:
    """Return a source's options as the file writes them, references and all."""
    node = read_bytes(settings.text.encode(), str(settings.path), Findings())
    for key in ("sources", source):
        node = node.entries.get(key) if isinstance(node, Entries) else None
    return dict(node.entries) if isinstance(node, Entries) else {}


class OptionSecret:
    """One option of a source that holds one secret or several."""

    def __init__(  # noqa: PLR0913 - what it is of, where it is looked up, and what is done with it
        self,
        *,
        source: str,
        option: str,
        node: Node | None,
        lookup: Secrets,
        folder: Path,
        hide: Callable[[str], None],
        is_dry: bool = False,
    ) -> None:
        """Read what the option says; `folder` is the configuration's.

        `hide` is told every secret. With `is_dry` nothing is made or written. Raises `KeepError` if a secret that is
        set cannot be read.
        """
        self._hide = hide
        self.is_dry = is_dry
        self._source = source
        self._option = option
        self._lookup = lookup
        self._folder = folder
        items: Sequence[Node] = node.items if isinstance(node, Items) else () if node is None else (node,)
        #: As written, one text a secret.
        self._texts = tuple(item.value for item in items if isinstance(item, Scalar) and isinstance(item.value, str))
        self._places: list[_Place] = []
        #: Those that are set, whole.
        self.values: list[str] = []
        for text in self._texts:
            self._read(text)

    @property
    def is_written(self) -> bool:
        """Whether the option is there at all."""
        return bool(self._texts)

    @property
    def value(self) -> str | None:
        """What is shared now, the first if there are several; None if nothing is set yet."""
        return self.values[0] if self.values else None

    @property
    def where(self) -> str:
        """For people."""
        return f"sources.{self._source}.{self._option}"

    def ensure(self, made: str) -> tuple[str, Kept | None]:
        """Return what is shared; if it is not set, put `made` where the option's reference stands first.

        Raises `KeepError`.
        """
        if self.value is not None:
            return self.value, None
        if not self._places:
            raise KeepError(f"{self.where} names no single secret that could be made: set all but one of them")
        place = self._places[0]
        if self.is_dry:
            return f"{place.before}<made then>{place.after}", None
        kept = self._write(place.reference, made, to_write=None)
        whole = f"{place.before}{made}{place.after}"
        self._hide(made)
        self._hide(whole)
        self.values.append(whole)
        return whole, kept

    def check_room(self) -> None:
        """See that `keep` will be able to write. Raises `KeepError`."""
        if self.is_dry:
            return
        path = self._file(self._target_for(None)[0])
        try:
            check_writable(path)
        except OSError as error:
            raise KeepError(
                f"nothing was sent: {path.parent} cannot take the secret that will come ({error.strerror}); "
                "run this as the user who may write there"
            ) from error

    def keep(self, secret: str) -> Kept | None:
        """Write a secret that a vendor gave where the option's reference reads it; None if it is there already.

        If another one is there, both are kept: the new one under a name of its own. Raises `KeepError`.
        """
        if secret in self.values:
            return None
        reference, part, to_write = self._target_for(secret)
        kept = self._write(reference, part, to_write=to_write)
        self.values.append(secret)
        return kept

    def _read(self, text: str) -> None:
        references = [one for one in find_references(text) if one.kind != "escape"]
        unset = [one for one in references if not self._is_set(one)]
        try:
            if not unset:
                value = _text(interpolate(text, self._lookup))
                self.values.append(value)
                # "Bearer abc…" is one secret, and what a vendor repeats of it may be the latter half alone.
                for part in (value, *(word for word in value.split() if len(word) >= _SHORTEST_PART)):
                    self._hide(part)
            elif len(unset) == 1 and unset[0].kind in {"secret", "file"}:
                (one,) = unset
                before = _text(interpolate(text[: one.start], self._lookup))
                after = _text(interpolate(text[one.end :], self._lookup))
                self._places.append(_Place(reference=one, before=before, after=after))
        except UnsetError as error:
            raise KeepError(f"{self.where}: {error.message}; {error.hint}") from error

    def _is_set(self, reference: Reference) -> bool:
        try:
            if reference.kind == "secret":
                return self._lookup.secret(reference.name) is not None
        except ValueError as error:
            raise KeepError(f"{self.where}: {error}") from error
        return reference.kind != "file" or (self._folder / reference.name).exists()

    def _target_for(self, secret: str | None) -> tuple[Reference, str, str | None]:
        """Return a reference that is free, what to write there, and what the option must say then."""
        for place in self._places:
            if secret is None:
                return place.reference, "", None
            if secret.startswith(place.before) and secret.endswith(place.after):
                return place.reference, secret[len(place.before) : len(secret) - len(place.after)], None
        free = self._free_reference()
        shown = [f'"{text}"' if find_references(text) else "<the one that stands there now>" for text in self._texts]
        fresh = f'"{_written(free)}"'
        return free, secret or "", f"[{', '.join([fresh, *shown])}]" if shown else fresh

    def _free_reference(self) -> Reference:
        named = [one for text in self._texts for one in find_references(text) if one.kind in {"secret", "file"}]
        kind = named[0].kind if named else "secret"
        name = named[0].name if named else secret_name(self._source)
        for number in range(1, _MOST_KEPT):
            numbered = name if number == 1 else f"{name}_{number}"
            reference = Reference(kind, numbered, 0, 0)
            if not self._is_set(reference) and not _is_taken(self._file(reference)):
                return reference
        raise KeepError(
            f"{self.where}: {_MOST_KEPT} secrets lie beside {self._file(named[0])} already: remove old ones"
        )

    def _file(self, reference: Reference) -> Path:
        return self._folder / (reference.name if reference.kind == "file" else f"{CREDENTIALS_FOLDER}/{reference.name}")

    def _write(self, reference: Reference, secret: str, *, to_write: str | None) -> Kept:
        path = self._file(reference)
        try:
            write_credential(path, secret)
        except OSError as error:
            raise KeepError(f"the secret cannot be written to {path}: {error.strerror}") from error
        return Kept(file=path, reference=_written(reference), to_write=to_write)


def secret_name(source: str) -> str:
    """Return the name of a credential for a source whose configuration names none."""
    name = re.sub(r"[^A-Z0-9_]", "_", source.upper())
    return f"{'_' if name[0].isdigit() else ''}{name}_SECRET"


def new_secret() -> str:
    """Return a secret that nobody can guess."""
    return secrets.token_urlsafe(32)


def _is_taken(path: Path) -> bool:
    # A dangling link too.
    return path.exists() or path.is_symlink()


def _written(reference: Reference) -> str:
    return f"${{{'file:' if reference.kind == 'file' else ''}{reference.name}}}"


def _text(value: Json) -> str:
    return value if isinstance(value, str) else str(value)
