"""The source types there are: built in, beside the plug-ins, and offered by installed packages."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

from hookline.daemon.regular_file import read_regular
from hookline.daemon.sources.source_type import SourceCode, SourceType
from hookline.daemon.sources.type_file import MAX_FILE_BYTES, SUFFIX, read_type
from hookline.rules import Place, Problem
from hookline.rules.document import Findings

__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "SourceCodeError",
    "SourceType",
    "SourceTypes",
    "guarded",
    "load_source_types",
]

#: Installed packages offer source types under this group of entry points.
ENTRY_POINT_GROUP: Final = "hookline.sources"

_FOLDER: Final = resources.files("hookline.daemon.sources") / "builtin"

T = TypeVar("T")


class SourceCodeError(Exception):
    """A package's code failed. Caught where it was called, which says so with the package's name."""


class SourceTypes:
    """A registry, as a value; the file of a built-in type is read when it is first asked for."""

    def __init__(
        self,
        readers: Mapping[str, Callable[[], SourceType]],
        problems: tuple[Problem, ...] = (),
        broken: Mapping[str, str] | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """`readers` give a type by its name; `broken` and `texts` belong to `problems`."""
        self._readers = dict(readers)
        self._read: dict[str, SourceType] = {}
        #: Sorted.
        self.names: tuple[str, ...] = tuple(sorted(readers))
        self.problems = problems
        #: Types that cannot be used: the file or package by the type's name.
        self.broken: Mapping[str, str] = broken or {}
        #: Text of each file that has problems, for excerpts.
        self.texts: Mapping[str, str] = texts or {}

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def get(self, name: str) -> SourceType:
        """Return a source type. Raises `KeyError` for a name that is not in `names`."""
        if name not in self._read:
            self._read[name] = self._readers[name]()
        return self._read[name]

    def event_types(self, name: str) -> frozenset[str] | None:
        """Return the event types that a source type can send; None if that is open, or there is no such type."""
        types = self.get(name).event_types if name in self else None
        return None if types is None else frozenset(types)

    def joined(self, more: _Found) -> SourceTypes:
        """Return these types and more."""
        readers = self._readers | {name: partial(_same, read) for name, read in more.types.items()}
        return SourceTypes(readers, tuple(more.findings.problems), more.broken, more.texts)


@dataclass(frozen=True, slots=True)
class _Found:
    """What is not built in."""

    types: dict[str, SourceType] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    broken: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, read: SourceType, *, place: Place | None) -> None:
        known = self.types.get(read.name)
        taken = "built in" if read.name in BUILT_IN else known.origin if known else None
        if taken is None:
            self.types[read.name] = read
            return
        hint = "rename the file" if place else f"remove one of them; this one is of {read.origin}"
        self.problem(f'there is a source type "{read.name}" already: {taken}', hint, place=place)

    def problem(self, message: str, hint: str, *, place: Place | None = None) -> None:
        path = "" if place else "plugins"
        self.findings.problems.append(Problem(place=place, path=path, message=message, hint=hint))


def load_source_types(plugins: Path | None) -> SourceTypes:
    """Return all source types; what is wrong with a user's file or a package is among `problems`.

    A user's files and packages are read at once, whether or not they are used.
    """
    found = _Found()
    for path in _user_files(plugins, found):
        _read_file(path, found)
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        _read_package(point, found)
    return BUILT_IN.joined(found) if found.types or found.findings.problems else BUILT_IN


def guarded(call: Callable[[], T]) -> T:
    """Call a package's code. Raises `SourceCodeError` saying what it raised."""
    try:
        return call()
    # Whatever a package's code does, `sys.exit` included, is its own problem, with its name. Only Ctrl-C passes.
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:300]
        raise SourceCodeError(f"{type(error).__name__}{f': {said}' if said else ''}") from error


def _same(read: SourceType) -> SourceType:
    return read


def _user_files(plugins: Path | None, found: _Found) -> list[Path]:
    if plugins is None:
        return []
    try:
        # Sorted: which of two problems comes first must not depend on the disk.
        return sorted(path for path in plugins.iterdir() if path.name.endswith(SUFFIX) and path.name[0] not in "._")
    except OSError as error:
        found.problem(f"cannot read the plug-ins folder {plugins}: {error.strerror}", "create it, or change plugins:")
        return []


def _read_file(path: Path, found: _Found) -> None:
    name, file = path.name.removesuffix(SUFFIX), str(path)
    try:
        data = read_regular(path, limit=MAX_FILE_BYTES)
    except ValueError as error:
        found.broken[name] = file
        found.problem(str(error), "mend or remove it", place=Place(file, 1))
        return
    read = read_type(name, data, file=file, origin=file, findings=found.findings)
    if read is None:
        found.broken[name] = file
        found.texts[file] = data.decode("utf-8", "replace")
    else:
        found.add(read, place=Place(file, 1))


def _origin(point: importlib.metadata.EntryPoint) -> str:
    return f"package {f'{point.dist.name} {point.dist.version}' if point.dist else point.value}"


def _read_package(point: importlib.metadata.EntryPoint, found: _Found) -> None:
    origin = _origin(point)
    try:
        code = guarded(point.load)
        found.add(guarded(partial(_packaged, point.name, code, origin)), place=None)
    except SourceCodeError as error:
        package = point.dist.name if point.dist else "PACKAGE"
        hint = f"mend it, or remove it from this environment: {sys.executable} -m pip uninstall {package}"
        found.broken[point.name] = origin
        found.problem(f"the source type {point.name} of {origin}: {error}", hint)


def _packaged(name: str, code: SourceCode, origin: str) -> SourceType:
    if not all(callable(getattr(code, one, None)) for one in ("check", "build")) or not isinstance(code.title, str):
        raise TypeError("it has no `title`, `check` and `build`: docs/source-types.md says what it must have")
    types: Any = code.event_types
    return SourceType(
        name=name,
        title=code.title,
        about=str(getattr(code, "about", f"See the documentation of {origin}.")),
        setup=tuple(getattr(code, "setup", ("Give the sender {url}.",))),
        options={},
        declaration={},
        event_types=None if types is None else tuple(types),
        origin=origin,
        code=code,
    )


def _read_built_in(name: str) -> SourceType:
    findings = Findings()
    file = f"{name}{SUFFIX}"
    data = (_FOLDER / file).read_bytes()
    read = read_type(name, data, file=file, origin="built in", findings=findings, is_ours=True)
    if read is None:
        raise ValueError("\n".join(map(str, findings.problems)))
    return read


#: Those that come with Hookline: declarations all.
BUILT_IN: Final = SourceTypes(
    {
        name: partial(_read_built_in, name)
        for name in sorted(file.name.removesuffix(SUFFIX) for file in _FOLDER.iterdir() if file.name.endswith(SUFFIX))
    }
)
