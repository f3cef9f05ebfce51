"""The actions there are: built in, in the plug-ins folder, and offered by installed packages."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from pydantic import BaseModel, PydanticUserError

from hookline.daemon.actions.plugin_folder import PluginFolder, is_plugin
from hookline.daemon.actions.plugin_imports import PLUGIN_PACKAGE, install, loaded_modules
from hookline.daemon.delivery.runner import ActionFacts
from hookline.daemon.version import VERSION
from hookline.rules import Place, Problem

BUILT_IN = ("apprise", "command", "email", "forward", "log", "slack")
#: Installed packages offer actions under this group of entry points.
ENTRY_POINT_GROUP = "hookline.actions"

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
    #: What they were loaded from, and the modules that this made.
    folder: PluginFolder = field(default_factory=PluginFolder)
    modules: Mapping[str, ModuleType] = field(default_factory=dict)


class PluginLoadError(Exception):
    """A plug-in cannot be used. Caught by `load_actions`, which turns it into a problem."""

    def __init__(self, message: str, *, line: int = 1, hint: str | None = None) -> None:
        """`line`: of the plug-in's file."""
        super().__init__(message)
        self.line = line
        self.hint = hint


def load_actions(
    folder: PluginFolder,
    *,
    reserved: Collection[str] = (),
    before: Actions | None = None,
    skipped: Collection[str] = (),
    on_load: Callable[[str], None] = lambda _: None,
) -> Actions:
    """Load every action. A broken plug-in becomes a problem and keeps nothing else from loading.

    `reserved`: names that an action may not have, such as those of modifiers. `before`: plug-ins that are as they were
    are taken from there and do not run again; what they hold in their module stays. `skipped`: actions of packages
    that are not to be loaded. `on_load` is told what is about to run: a file below the folder, or a package's action.
    """
    found: dict[str, Action] = {}
    problems = [*folder.problems]
    for name in BUILT_IN:
        module = importlib.import_module(f"hookline.plugins.{name}")
        found[name] = read_action(module, name, origin="built-in", digest=_digest(f"{name} {VERSION}".encode()))
    shared = folder.shared
    is_same = before is not None and before.shared == shared
    known = before.by_name if before is not None and is_same else {}
    install(folder, loaded_modules() if is_same else {})
    for file in folder.plugins:
        path, text, name = (folder.path or Path()) / file, folder.texts[file], file.removesuffix(".py")
        try:
            _check_name(name, _NAME, found, reserved)
            digest = _digest(text + shared.encode())
            same = known.get(name)
            if same is not None and same.facts.digest == digest and same.facts.origin == str(path):
                found[name] = same
                continue
            on_load(file)
            found[name] = read_action(_import_plugin(name, path), name, origin=str(path), digest=digest)
        except PluginLoadError as error:
            place = Place(str(path), error.line)
            problems.append(Problem(place=place, path=name, message=str(error), hint=error.hint))
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    for point in sorted((point for point in points if point.name not in skipped), key=lambda point: point.name):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        try:
            _check_name(point.name, _ENTRY_POINT_NAME, found, reserved)
            on_load(point.name)
            module = _guarded(point.load, Path(point.module.replace(".", "/")))
            found[point.name] = read_action(
                module, point.name, origin=f"package {origin}", digest=_digest(f"{point.value} {origin}".encode())
            )
        except PluginLoadError as error:
            message = f"the action {point.name} of package {origin}: {error}"
            problems.append(Problem(place=None, path="plugins", message=message, hint=error.hint))
    return Actions(
        by_name=MappingProxyType(found),
        problems=tuple(problems),
        shared=shared,
        folder=folder,
        modules=MappingProxyType(loaded_modules()),
    )


def action_names(folder: Path | None) -> frozenset[str]:
    """Return the names of all actions without running a plug-in, broken ones included."""
    try:
        files = [path.name for path in folder.iterdir() if path.suffix == ".py"] if folder is not None else []
    except OSError:
        files = []  # Whoever reads the folder reports it.
    plugins = frozenset(name.removesuffix(".py") for name in files if is_plugin(name))
    return plugins.union(BUILT_IN, importlib.metadata.entry_points(group=ENTRY_POINT_GROUP).names)


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


def _check_name(name: str, pattern: re.Pattern[str], found: Mapping[str, Action], reserved: Collection[str]) -> None:
    if not pattern.fullmatch(name):
        raise PluginLoadError(f'"{name}" cannot be an action\'s name', hint="use small letters, digits and _")
    if name in reserved:
        raise PluginLoadError(f'"{name}" is the name of a modifier', hint="rename the file")
    if name in found:
        raise PluginLoadError(
            f'there is an action "{name}" already: {found[name].facts.origin}', hint="rename one of them"
        )


def _import_plugin(name: str, path: Path) -> ModuleType:
    """Run a plug-in as a module of `PLUGIN_PACKAGE`; what is loaded of it is replaced if it is well."""
    full = f"{PLUGIN_PACKAGE}.{name}"
    former = sys.modules.pop(full, None)
    try:
        module: ModuleType = _guarded(lambda: importlib.import_module(full), path)
    except PluginLoadError:
        if former is not None:
            sys.modules[full] = former
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
