"""The plug-ins folder as it is at one moment: its texts and what is wrong with its files. Nothing in it runs here."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hookline.rules import Place, Problem

#: All texts together: what a worker is sent.
MAX_FOLDER_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginFolder:
    """What every worker of a generation loads, whatever becomes of the files meanwhile."""

    #: None: there is none.
    path: Path | None = None
    #: Texts by path below the folder, such as `erp.py` or `shared/client.py`, sorted.
    texts: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()

    @property
    def plugins(self) -> tuple[str, ...]:
        """The texts that are plug-ins; all others are for them to import."""
        return tuple(name for name in self.texts if is_plugin(name))

    @property
    def shared(self) -> str:
        """Hash of what plug-ins can import from each other; "" if there is nothing."""
        return _hash_of({name: text for name, text in self.texts.items() if not is_plugin(name)})

    @property
    def digest(self) -> str:
        """Hash of all texts, and of what is wrong; "" if there is nothing."""
        wrong = {str(problem): b"" for problem in self.problems}
        return _hash_of({**self.texts, **wrong})

    def without(self, name: str, problem: Problem) -> PluginFolder:
        """Return the same without one plug-in, because of a problem."""
        texts = {path: text for path, text in self.texts.items() if path != name}
        return replace(self, texts=texts, problems=(*self.problems, problem))


def is_plugin(name: str) -> bool:
    """Whether a path below the folder is a plug-in; files with a leading underscore are for plug-ins to import."""
    return "/" not in name and name[0] not in "._"


def read_plugin_folder(folder: Path | None) -> PluginFolder:
    """Read every Python file in the folder; one that must not be run becomes a problem."""
    if folder is None:
        return PluginFolder()
    problems: list[Problem] = []
    try:
        refusal = _refusal(folder.stat(), folder.name)
        # Sorted: which of two problems comes first must not depend on the disk.
        found = sorted(path for path in folder.rglob("*.py") if not _is_hidden(path.relative_to(folder)))
    except OSError as error:
        message, hint = f"cannot read the plug-ins folder {folder}: {error.strerror}", "create it, or change plugins:"
        return PluginFolder(path=folder, problems=(Problem(place=None, path="plugins", message=message, hint=hint),))
    if refusal is not None:
        message = f"the plug-ins folder {folder} is not used: {refusal[0]}"
        return PluginFolder(
            path=folder, problems=(Problem(place=None, path="plugins", message=message, hint=refusal[1]),)
        )
    texts: dict[str, bytes] = {}
    for path in found:
        text = _read(path, folder, problems)
        if text is not None:
            texts[path.relative_to(folder).as_posix()] = text
    if sum(map(len, texts.values())) > MAX_FOLDER_BYTES:
        message = f"the plug-ins folder {folder} holds more than {MAX_FOLDER_BYTES >> 20} MiB of Python files"
        problem = Problem(place=None, path="plugins", message=message, hint="install what is large as a package")
        return PluginFolder(path=folder, problems=(problem,))
    return PluginFolder(path=folder, texts=texts, problems=tuple(problems))


def _read(path: Path, folder: Path, problems: list[Problem]) -> bytes | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            refusal: tuple[str, str] | None = ("it is not a regular file", "remove it from the plug-ins folder")
        else:
            refusal = _refusal(status, path.name)
            if refusal is None and path.parent != folder:
                refusal = _refusal(path.parent.stat(), path.parent.name)
        if refusal is None:
            return path.read_bytes()
        message, hint = refusal
    except OSError as error:
        message, hint = f"cannot be read: {error.strerror}", "make it readable for Hookline"
    problems.append(Problem(place=Place(str(path), 1), path=path.stem, message=message, hint=hint))
    return None


def _refusal(status: os.stat_result, name: str) -> tuple[str, str] | None:
    """Say why what is at hand may have been written by somebody else, and what to do about it; None if not."""
    if status.st_uid not in {0, os.geteuid()}:
        return "it belongs to another user than Hookline and root, and runs as Hookline", f"chown root {name}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        whose = "everybody" if status.st_mode & stat.S_IWOTH else "its group"
        return f"{whose} may write to it, and it runs as Hookline", f"chmod go-w {name}"
    return None


def _is_hidden(inside: Path) -> bool:
    return any(part[0] == "." for part in inside.parts)


def _hash_of(texts: Mapping[str, bytes]) -> str:
    if not texts:
        return ""
    written = "\n".join(f"{name} {hashlib.sha256(text).hexdigest()}" for name, text in texts.items())
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:32]
