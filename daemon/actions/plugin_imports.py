"""Imports of plug-ins: modules of one package that are made of texts in memory, never of files that may change."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from types import CodeType, ModuleType

from hookline.daemon.actions.plugin_folder import PluginFolder

#: Plug-in files are modules of this package; files with a leading underscore are for them to import.
PLUGIN_PACKAGE = "hookline_plugins"


class TextFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds `hookline_plugins` and all below it in a folder that was read."""

    def __init__(self, folder: PluginFolder) -> None:
        """Find what is in `folder`."""
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """As `MetaPathFinder.find_spec`."""
        del path, target
        if fullname == PLUGIN_PACKAGE:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        if not fullname.startswith(f"{PLUGIN_PACKAGE}."):
            return None
        name = self._name_of(fullname)
        if name is None:
            return None
        return importlib.util.spec_from_loader(
            fullname, self, origin=self._file_of(name), is_package=name.endswith("__init__.py")
        )

    def get_code(self, fullname: str) -> CodeType | None:
        """As `InspectLoader.get_code`."""
        name = self._name_of(fullname)
        if name is None:
            return compile("", "<plug-ins>", "exec", dont_inherit=True)
        code: CodeType = compile(self._folder.texts[name], self._file_of(name), "exec", dont_inherit=True)
        return code

    def get_source(self, fullname: str) -> str | None:
        """As `InspectLoader.get_source`: for tracebacks."""
        name = self._name_of(fullname)
        return None if name is None else importlib.util.decode_source(self._folder.texts[name])

    def exec_module(self, module: ModuleType) -> None:
        """As `InspectLoader.exec_module`, with `__file__`, which plug-ins look beside."""
        name = self._name_of(module.__name__)
        if name is not None:
            module.__file__ = self._file_of(name)
        super().exec_module(module)

    def _name_of(self, fullname: str) -> str | None:
        inside = fullname.removeprefix(PLUGIN_PACKAGE).lstrip(".").replace(".", "/")
        names = (f"{inside}.py", f"{inside}/__init__.py") if inside else ()
        return next((name for name in names if name in self._folder.texts), None)

    def _file_of(self, name: str) -> str:
        return str(self._folder.path / name) if self._folder.path is not None else name


def loaded_modules() -> dict[str, ModuleType]:
    """Return every module of plug-ins that is loaded, by name."""
    return {name: module for name, module in sys.modules.items() if _is_ours(name)}


def install(folder: PluginFolder, modules: Mapping[str, ModuleType]) -> None:
    """Import from `folder` from now on; of what is loaded, `modules` stay, and the rest is forgotten."""
    for name in [name for name in sys.modules if _is_ours(name)]:
        del sys.modules[name]
    sys.modules.update(modules)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, TextFinder)]
    # First: a package that is installed under this name is none of the operator's.
    sys.meta_path.insert(0, TextFinder(folder))
    importlib.invalidate_caches()


def _is_ours(name: str) -> bool:
    return name == PLUGIN_PACKAGE or name.startswith(f"{PLUGIN_PACKAGE}.")
