"""The actions there are: built in, in the plug-ins folder, and offered by installed packages."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import stat
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from pydantic import BaseModel, PydanticUserError

from hookline.daemon.delivery.runner import ActionFacts
from hookline.daemon.version import VERSION
from hookline.rules import Place, Problem

BUILT_IN = ("email", "forward", "log", "slack")
#: Installed packages offer actions under this group of entry points.
ENTRY_POINT_GROUP = "hookline.actions"
#: Plug-in files are modules of this package; files with a leading underscore are for them to import.
PLUGIN_PACKAGE = "hookline_plugins"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ENTRY_POINT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that can be done, ready to run."""

    facts: ActionFacts
    options: type[BaseModel]
    #: Called as `deliver(delivery, options, context)`.
    deliver: Callable[..., Any]
    #: False: a plain function, to be run in a thread.
    is_async: bool

    @property
    def name(self) -> str:
        """What rules call it."""
        return self.facts.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """A registry, as a value: loaded whole, then swapped in."""

    by_name: Mapping[str, Action]
    #: What is wrong with plug-ins; those are not in `by_name`.
    problems: tuple[Problem, ...]
    #: Hash of the files that plug-ins share; "" if there are none.
    shared: str = ""


class PluginLoadError(Exception):
    """A plug-in cannot be used. Caught by `load_actions`, which turns it into a problem."""

    def __init__(self, message: str, *, line: int = 1, hint: str | None = None) -> None:
        """`line`: of the plug-in's file."""
        super().__init__(message)
        self.line = line
        self.hint = hint


def load_actions(folder: Path | None, *, reserved: Collection[str] = (), before: Actions | None = None) -> Actions:
    """Load every action. A broken plug-in becomes a problem and keeps nothing else from loading.

    `reserved`: names that an action may not have, such as those of modifiers. `before`: plug-ins that are as they were
    are taken from there and do not run again; what they hold in their module stays.
    """
    found: dict[str, Action] = {}
    problems: list[Problem] = []
    for name in BUILT_IN:
        module = importlib.import_module(f"hookline.plugins.{name}")
        found[name] = read_action(module, name, origin="built-in", digest=_digest(f"{name} {VERSION}".encode()))
    shared = _shared_digest(folder)
    if before is None or before.shared != shared:
        _forget_shared()
    known = before.by_name if before is not None and before.shared == shared else {}
    for path in _plugin_files(folder, problems):
        try:
            _check_name(path.stem, _NAME, found, reserved)
            text = _read_plugin(path)
            digest = _digest(text + shared.encode())
            same = known.get(path.stem)
            if same is not None and same.facts.digest == digest and same.facts.origin == str(path):
                found[path.stem] = same
                continue
            module = _import_plugin(path, text)
            found[path.stem] = read_action(module, path.stem, origin=str(path), digest=digest)
        except PluginLoadError as error:
            place = Place(str(path), error.line)
            problems.append(Problem(place=place, path=path.stem, message=str(error), hint=error.hint))
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        try:
            _check_name(point.name, _ENTRY_POINT_NAME, found, reserved)
            module = _guarded(point.load, Path(point.module.replace(".", "/")))
            found[point.name] = read_action(
                module, point.name, origin=f"package {origin}", digest=_digest(f"{point.value} {origin}".encode())
            )
        except PluginLoadError as error:
            message = f"the action {point.name} of package {origin}: {error}"
            problems.append(Problem(place=None, path="plugins", message=message, hint=error.hint))
    return Actions(by_name=MappingProxyType(found), problems=tuple(problems), shared=shared)


def action_names(folder: Path | None) -> frozenset[str]:
    """Return the names of all actions without running a plug-in, broken ones included."""
    files = frozenset(path.stem for path in _plugin_files(folder, []))
    return files.union(BUILT_IN, importlib.metadata.entry_points(group=ENTRY_POINT_GROUP).names)


def read_action(module: Any, name: str, *, origin: str, digest: str) -> Action:
    """Read `Options` and `deliver` of a module. Raises `PluginLoadError`."""
    options, deliver = getattr(module, "Options", None), getattr(module, "deliver", None)
    if options is None:
        raise PluginLoadError("it has no Options", hint='add: class Options(BaseModel): """What a rule may write."""')
    if not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise PluginLoadError(
            "Options is not a pydantic model", line=_line_of(options), hint="class Options(BaseModel):"
        )
    if deliver is None:
        raise PluginLoadError("it has no deliver", hint="add: async def deliver(delivery, options, context): …")
    if not callable(deliver):
        raise PluginLoadError("deliver is not a function", hint="async def deliver(delivery, options, context): …")
    try:
        inspect.signature(deliver).bind(None, None, None)
    except TypeError:
        raise PluginLoadError(
            "deliver cannot be called with three arguments",
            line=_line_of(deliver),
            hint="def deliver(delivery, options, context): …",
        ) from None
    try:
        schema = options.model_json_schema()
    except (PydanticUserError, TypeError, ValueError) as error:
        message = f"Options cannot be described as JSON: {str(error).splitlines()[0]}"
        raise PluginLoadError(message, line=_line_of(options), hint="use types that JSON has") from error
    summary = (inspect.getdoc(module) or "").strip().partition("\n")[0]
    facts = ActionFacts(name=name, summary=summary, schema=schema, origin=origin, digest=digest)
    return Action(facts=facts, options=options, deliver=deliver, is_async=inspect.iscoroutinefunction(deliver))


def _plugin_files(folder: Path | None, problems: list[Problem]) -> list[Path]:
    if folder is None:
        return []
    try:
        # Sorted: which of two problems comes first must not depend on the disk.
        return sorted(path for path in folder.iterdir() if path.suffix == ".py" and path.name[0] not in "._")
    except OSError as error:
        message = f"cannot read the plug-ins folder {folder}: {error.strerror}"
        problems.append(Problem(place=None, path="plugins", message=message, hint="create it, or change plugins:"))
        return []


def _shared_digest(folder: Path | None) -> str:
    """Return the hash of what plug-ins of the folder can import from each other; "" if there is nothing."""
    if folder is None:
        return ""
    texts = []
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        if (len(inside.parts) > 1 or path.name[0] == "_") and not any(part[0] == "." for part in inside.parts):
            try:
                texts.append(f"{inside} {_digest(path.read_bytes())}")
            except OSError as error:
                # Whoever imports it is told.
                texts.append(f"{inside} {error.strerror}")
    return _digest("\n".join(texts).encode()) if texts else ""


def _forget_shared() -> None:
    """Have shared files read anew by the next plug-in that imports them; who has imported them keeps what it has."""
    for name in [name for name in sys.modules if name.startswith(f"{PLUGIN_PACKAGE}.")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _check_name(name: str, pattern: re.Pattern[str], found: Mapping[str, Action], reserved: Collection[str]) -> None:
    if not pattern.fullmatch(name):
        raise PluginLoadError(f'"{name}" cannot be an action\'s name', hint="use small letters, digits and _")
    if name in reserved:
        raise PluginLoadError(f'"{name}" is the name of a modifier', hint="rename the file")
    if name in found:
        raise PluginLoadError(
            f'there is an action "{name}" already: {found[name].facts.origin}', hint="rename one of them"
        )


def _read_plugin(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PluginLoadError("it is not a regular file", hint="remove it from the plug-ins folder")
        if status.st_mode & stat.S_IWOTH:
            raise PluginLoadError("everybody may write to it, and it runs as Hookline", hint=f"chmod o-w {path.name}")
        return path.read_bytes()
    except OSError as error:
        raise PluginLoadError(f"cannot be read: {error.strerror}", hint="make it readable for Hookline") from error


def _import_plugin(path: Path, text: bytes) -> ModuleType:
    """Run the file as a module of `PLUGIN_PACKAGE`."""
    package = sys.modules.get(PLUGIN_PACKAGE)
    if package is None:
        package = sys.modules[PLUGIN_PACKAGE] = ModuleType(PLUGIN_PACKAGE, "Files of the plug-ins folder.")
    # So that plug-ins can share a file: `from hookline_plugins._shared import …`.
    package.__path__ = [str(path.parent)]
    name = f"{PLUGIN_PACKAGE}.{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None:  # a .py file always has one
        raise PluginLoadError("Python does not know how to load it")
    module = importlib.util.module_from_spec(specification)
    # Before it runs: pydantic looks annotations up in the module by its name.
    sys.modules[name] = module
    try:
        # Compiled from the text that was hashed, so that the digest is of what runs.
        _guarded(lambda: exec(compile(text, str(path), "exec", dont_inherit=True), module.__dict__), path)  # noqa: S102 - a plug-in is the operator's code
    except PluginLoadError:
        del sys.modules[name]
        raise
    return module


def _guarded(load: Callable[[], Any], path: Path) -> Any:
    """Run somebody else's import, and say which line of `path` failed and why."""
    try:
        return load()
    except SyntaxError as error:
        line = error.lineno if error.lineno and error.filename == str(path) else _line_in(error, path)
        raise PluginLoadError(f"syntax error: {error.msg}", line=line) from error
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        hint = f"install what provides it into this environment: {sys.executable} -m pip install {package}"
        raise PluginLoadError(
            f"it needs {error.name}, which is not installed", line=_line_in(error, path), hint=hint
        ) from error
    # Whatever a plug-in's first lines do, `sys.exit` included, is its own
    # problem, with its line. Only Ctrl-C passes.
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:300]
        message = f"{type(error).__name__} while it was loaded{f': {said}' if said else ''}"
        raise PluginLoadError(message, line=_line_in(error, path)) from error


def _line_in(error: BaseException, path: Path) -> int:
    """Return the last line of `path` on the way to the error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return (lines[-1] or 1) if lines else 1


def _line_of(thing: Any) -> int:
    try:
        return inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return 1


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:32]
