"""Find and read rule files: regular, of a sane size, UTF-8, and nothing that a link pulls in from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hookline.daemon.regular_file import read_regular
from hookline.rules import Place, Problem, RulesError

#: Ten thousand rules are about 3.5 MB.
MAX_FILE_BYTES = 16 << 20
_SUFFIXES = (".yaml", ".yml")


def rule_files(paths: Sequence[Path]) -> list[Path]:
    """List the rule files of `rules:`, a folder's sorted by name; `*.test.yaml` are tests, and hidden files nothing."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                entry
                for entry in path.iterdir()
                if entry.suffix in _SUFFIXES and not is_rule_test_file(entry) and not entry.name.startswith(".")
            )
        else:
            found.append(path)
    return found


def rule_test_files(paths: Sequence[Path]) -> list[Path]:
    """List the files of rule tests in folders, and beside files of rules; sorted by name within a folder.

    Raises `OSError` for a folder that cannot be listed.
    """
    folders = dict.fromkeys(path if path.is_dir() else path.parent for path in paths)
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if is_rule_test_file(path) and not path.name.startswith(".")
    ]


def is_rule_test_file(path: Path) -> bool:
    """Whether a file's name says that it holds rule tests."""
    return path.suffix in _SUFFIXES and path.stem.endswith(".test")


def read_rule_texts(paths: Sequence[Path], *, relative_to: Path) -> dict[str, str]:
    """Return the text of each rule file by its name as people write it, relative to the configuration's folder.

    Raises `RulesError` naming every file that cannot be read, and why.
    """
    texts: dict[str, str] = {}
    problems = [
        _problem(shown_name(path, relative_to), "does not exist", f"create {path}, or mend `rules:`")
        for path in paths
        if not path.exists()
    ]
    try:
        found = rule_files([path for path in paths if path.exists()])
    except OSError as error:
        found = []
        problems.append(_problem(str(error.filename), f"cannot be listed: {error.strerror}", None))
    for path in found:
        name = shown_name(path, relative_to)
        try:
            texts[name] = _read(path, folders=[folder.resolve() for folder in paths])
        except UnicodeDecodeError as error:
            problems.append(_problem(name, f"is not UTF-8 (byte {error.start})", "save it as UTF-8"))
        except ValueError as error:
            problems.append(_problem(name, str(error), None))
    if problems:
        raise RulesError(problems)
    return texts


def _read(path: Path, *, folders: Sequence[Path]) -> str:
    target = path.resolve()
    if not any(target == folder or folder in target.parents for folder in folders):
        raise ValueError(f"is a link out of the rules folder, to {target}")
    return read_regular(target, limit=MAX_FILE_BYTES).decode("utf-8")


def shown_name(path: Path, relative_to: Path) -> str:
    """Return a file's name as messages call it: relative to a folder, if it stands in it."""
    return str(path.relative_to(relative_to)) if path.is_relative_to(relative_to) else str(path)


def _problem(name: str, message: str, hint: str | None) -> Problem:
    return Problem(place=Place(name, 1), path="", message=message, hint=hint)
