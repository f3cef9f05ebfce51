"""The source types that come with Hookline: declarations in files, with the options that fill them in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import yaml

from hookline.daemon.sources.options import Options, Path, kind_of
from hookline.daemon.sources.port import OptionProblem
from hookline.rules import Json

GENERIC: Final = "generic"
_SUFFIX: Final = ".source.yaml"
_FOLDER: Final = resources.files("hookline.daemon.sources") / "builtin"

#: The names of all source types.
SOURCE_TYPES: Final[tuple[str, ...]] = tuple(
    sorted(file.name.removesuffix(_SUFFIX) for file in _FOLDER.iterdir() if file.name.endswith(_SUFFIX))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSlot:
    """An option of a source type: where in the declaration it goes."""

    to: tuple[Path, ...]
    is_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceType:
    """A source type as its file says it."""

    name: str
    options: Mapping[str, OptionSlot]
    #: Options of which at least one must be there.
    one_of: tuple[str, ...]
    #: What a user could have written under `type: generic`, but for the options.
    declaration: Mapping[str, Json]
    #: What it can send, if its maker says; None if that is open.
    event_types: tuple[str, ...] | None
    #: Headers of a sample; `{type}` and `{id}` are filled in.
    sample_headers: Mapping[str, str]
    #: What is renewed in a sample so that it is not a duplicate: path to `id number iso s ms us`.
    sample_fresh: Mapping[str, str]

    def filled_in(self, options: Options) -> dict[str, Json] | None:
        """Return the declaration with a user's options in it; None, with problems, if they cannot be."""
        declaration: dict[str, Json] = copy.deepcopy(dict(self.declaration))
        if self.name != GENERIC and "verify" in options:
            return self._unverified(options, declaration)
        before = len(options.problems)
        for name, slot in self.options.items():
            value = options.get(name)
            if name in options:
                for target in slot.to:
                    _put(declaration, target, copy.deepcopy(value))
            elif slot.is_required:
                options.missing(name, "a source fails closed: give it, or write `verify: none` to accept anything")
        if self.one_of:
            if not any(name in options for name in self.one_of):
                options.missing(
                    "` or `".join(self.one_of),
                    "a source fails closed: give one, or write `verify: none` to accept anything",
                )
            _drop_unused_ways(declaration, [self.options[name].to for name in self.one_of if name not in options])
        return declaration if len(options.problems) == before else None

    def _unverified(self, options: Options, declaration: dict[str, Json]) -> dict[str, Json] | None:
        if options.get("verify") != "none":
            said = kind_of(options.get("verify"))
            options.problem(
                "verify",
                f"{self.name} knows how to verify; saw {said}",
                "take it away, write none, or use type: generic",
            )
            return None
        beside = [name for name in self.options if name in options]
        for name in beside:
            options.problem(name, "it has no effect beside `verify: none`", "take one of the two away")
        declaration["verify"] = "none"
        return None if beside else declaration

    def translate(self, problem: OptionProblem) -> OptionProblem:
        """Turn a place in the declaration into the place of the option that stands there."""
        for name, slot in self.options.items():
            for target in slot.to:
                if problem.path[: len(target)] == target:
                    path = (name, *problem.path[len(target) :])
                    return OptionProblem(path=path, message=problem.message, hint=problem.hint)
        return problem


@cache
def source_type(name: str) -> SourceType:
    """Read a source type's file. Raises `KeyError` for a name that is not in `SOURCE_TYPES`."""
    if name not in SOURCE_TYPES:
        raise KeyError(name)
    said: dict[str, Any] = yaml.safe_load((_FOLDER / f"{name}{_SUFFIX}").read_text("utf-8"))
    types = said.get("event_types")
    sample = said.get("sample", {})
    return SourceType(
        name=name,
        options={
            option: OptionSlot(
                to=tuple(_parse_target(target) for target in slot["to"]), is_required=slot.get("is_required", False)
            )
            for option, slot in said["options"].items()
        },
        one_of=tuple(said.get("one_of", ())),
        declaration=said["declaration"],
        event_types=None if types is None else tuple(types),
        sample_headers=sample.get("headers", {}),
        sample_fresh=sample.get("fresh", {}),
    )


def _parse_target(text: str) -> Path:
    return tuple(int(step) if step.isdigit() else step for step in text.split("."))


def _put(declaration: dict[str, Json], target: Path, value: Json) -> None:
    at: Any = declaration
    for step in target[:-1]:
        at = at[step]
    at[target[-1]] = value


def _drop_unused_ways(declaration: dict[str, Json], unused: list[tuple[Path, ...]]) -> None:
    ways = declaration["verify"]
    assert isinstance(ways, list)  # noqa: S101 - our own files: a test reads them all
    gone = {target[1] for targets in unused for target in targets}
    # They stay in the list, so that places in it stay what they are.
    for number in gone:
        ways[int(number)] = None
