"""What a worker is told first: which plug-ins to load, and how much memory it may take."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from dataclasses import dataclass, replace
from typing import Any

from hookline.daemon.actions.local_runner import RESERVED_NAMES
from hookline.daemon.actions.plugin_folder import PluginFolder
from hookline.daemon.actions.registry import ENTRY_POINT_GROUP
from hookline.daemon.version import VERSION
from hookline.daemon.workers.messages import problem_values, texts_tail
from hookline.daemon.workers.wire import Head
from hookline.rules import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The same for every worker of a generation."""

    folder: PluginFolder
    memory_bytes: int
    #: Actions of packages that cannot be loaded.
    skipped: tuple[str, ...] = ()
    #: What is wrong with those.
    problems: tuple[Problem, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of all that makes a difference: workers of equal plans need not replace each other."""
        points = sorted(
            (point.name, point.value, point.dist.version if point.dist else "")
            for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        )
        folder = [str(self.folder.path), self.folder.digest]
        facts = [VERSION, sys.version, folder, self.memory_bytes, self.skipped, points]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    @property
    def is_well(self) -> bool:
        """Whether nothing had to be left out."""
        return not self.folder.problems and not self.skipped

    def without(self, name: str, problem: Problem) -> Plan:
        """Return the plan without what cannot be loaded: a file of the folder, or a package's action."""
        if name in self.folder.texts:
            return replace(self, folder=self.folder.without(name, problem))
        return replace(self, skipped=(*self.skipped, name), problems=(*self.problems, problem))

    def frame(self) -> tuple[Head, bytes]:
        """Return it as a frame."""
        names, tail = texts_tail(dict(self.folder.texts))
        told: dict[str, Any] = {
            "folder": None if self.folder.path is None else str(self.folder.path),
            "texts": names,
            "problems": [problem_values(problem) for problem in self.folder.problems],
            "memory": self.memory_bytes,
            "reserved": sorted(RESERVED_NAMES),
            "skipped": self.skipped,
        }
        return ["plan", told], tail
