"""A source type: what its file says, and how a user's options fill it in."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from hookline.daemon.sources.options import Options, Path, kind_of
from hookline.daemon.sources.port import LearnedSecrets, OptionProblem, Outside, Source, SourceSettings
from hookline.rules import Json
from hookline.rules.suggestion import suggest

#: Options of every source; a source type has none of these names.
COMMON_OPTIONS: Final = ("type", "path_token", "public_url", "dedupe_window", "expect_every", "rate")

_VERIFY: Final = "verify"
_FAILS_CLOSED: Final = "a source fails closed: {}; or write `verify: none` to accept anything"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSlot:
    """An option of a source type: where in the declaration it goes."""

    #: `"*"` is every element of a list.
    to: tuple[Path, ...]
    #: A sentence for people.
    about: str
    is_required: bool = False
    #: What may be written, and what goes to `to` for it; None: what is written goes there as it is.
    values: Mapping[str, Json] | None = None
    #: With `values`: one word or several, and a list of what they stand for.
    is_list: bool = False
    #: Places that are taken out if the option is not given.
    unused: tuple[Path, ...] = ()
    #: What the page of the type shows; None: a reference if it is required, else nothing.
    example: Json = None

    @property
    def proves(self) -> bool:
        """Whether it says nothing but how a sender proves itself."""
        return all(target[0] == _VERIFY for target in self.to)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleForm:
    """How a sample is sent and made fresh."""

    #: By name; formats, such as `"{type|first .}"`.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Path to what stands there anew, such as `id` or `"evt_{id}"`.
    fresh: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    method: str = "POST"
    #: What is otherwise for an event type, or for all with its first word.
    exceptions: Mapping[str, SampleForm] = field(default_factory=dict)

    def of(self, event_type: str) -> SampleForm:
        """Return the form of one event type's samples."""
        exceptions = self.exceptions
        return exceptions.get(event_type) or exceptions.get(event_type.partition(".")[0]) or self


class SourceCode(Protocol):
    """A source type that a package brings, under the entry-point group `hookline.sources`."""

    @property
    def title(self) -> str:
        """The system's name, for people."""
        ...

    @property
    def event_types(self) -> Sequence[str] | None:
        """All that it can send; None if that is open."""
        ...

    def check(self, settings: SourceSettings, *, has_public_url: bool) -> list[OptionProblem]:
        """Return all that is wrong with a source's options; called whenever a configuration is read."""
        ...

    def build(
        self,
        settings: SourceSettings,
        *,
        batch_limit: int,
        dedupe_window: timedelta,
        outside: Outside | None,
        learned: LearnedSecrets | None,
    ) -> Source:
        """Return the source; called once at start, after `check` found nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceType:
    """A source type, from a file or a package."""

    name: str
    #: The system's name, for people.
    title: str
    #: What to know, what cannot be had.
    about: str
    #: What to paste where, a step an entry; `{url}` is the source's URL, `<name>` its name.
    setup: tuple[str, ...]
    options: Mapping[str, OptionSlot]
    #: Options of which at least one must be there.
    one_of: tuple[str, ...] = ()
    #: What a user could have written under `type: generic`, but for the options.
    declaration: Mapping[str, Json]
    #: What it can send, if its maker says; None if that is open.
    event_types: tuple[str, ...] | None = None
    sample: SampleForm = field(default_factory=SampleForm)
    #: Bodies by event type, of a user's file; those of built-in types are files.
    samples: Mapping[str, Json] = field(default_factory=dict)
    #: A rule file to start from; "" if none.
    rule: str = ""
    #: `built in`, a file, or a package.
    origin: str
    #: What a package brings instead of a declaration.
    code: SourceCode | None = None

    def steps(self, name: str, url: str) -> tuple[str, ...]:
        """Return `setup` for a source of this name and URL."""
        return tuple(step.replace("{url}", url).replace("<name>", name) for step in self.setup)

    def filled_in(self, options: Options) -> Filled | None:
        """Return the declaration with a user's options in it; None, with problems, if they cannot be."""
        before = len(options.problems)
        declaration: dict[str, Json] = copy.deepcopy(dict(self.declaration))
        given: set[Path] = set()
        said = options.get(_VERIFY) if _VERIFY in options else None
        if _VERIFY in options and _VERIFY not in self.options:
            if said != "none":
                here = [name for name in said if name in self.options] if isinstance(said, dict) else []
                hint = "take it away, write none, or use type: generic"
                if here:
                    hint = f"write {', '.join(here)} beside type: instead"
                options.problem(_VERIFY, f"{self.name} knows how to verify; saw {kind_of(said)}", hint)
                return None
            declaration[_VERIFY] = "none"
        is_verify_written = _VERIFY in options
        if self.one_of and not is_verify_written:
            self._choose(options, declaration)
        # What brings places comes before what goes into them.
        for name, slot in sorted(self.options.items(), key=lambda item: (item[1].values is None, len(item[1].to[0]))):
            if name not in options:
                self._leave_out(name, slot, options, declaration, is_verify_written=is_verify_written)
            elif is_verify_written and name != _VERIFY and slot.proves:
                options.problem(name, f"it has no effect beside `{_VERIFY}`", "take one of the two away")
            else:
                given |= self._put(name, slot, options, declaration)
        if len(options.problems) > before:
            return None
        written = {name: slot for name, slot in self.options.items() if name in options}
        return Filled(written, declaration, given)

    def _leave_out(
        self, name: str, slot: OptionSlot, options: Options, declaration: dict[str, Json], *, is_verify_written: bool
    ) -> None:
        if slot.is_required and not (is_verify_written and slot.proves):
            hint = _FAILS_CLOSED.format(f"give {slot.about}") if slot.proves else f"it is {slot.about}"
            options.missing(name, hint)
        for place in slot.unused:
            for found in places(declaration, place):
                put(declaration, found, None)

    def _put(self, name: str, slot: OptionSlot, options: Options, declaration: dict[str, Json]) -> set[Path]:
        before = len(options.problems)
        part = _part(name, slot, options)
        if len(options.problems) > before:
            return set()
        found = [place for target in slot.to for place in places(declaration, target)]
        if not found:
            options.problem(name, "it has no effect beside the other options", "take it away")
        for place in found:
            put(declaration, place, copy.deepcopy(part))
        return set(found) if slot.values is None else set()

    def _choose(self, options: Options, declaration: dict[str, Json]) -> None:
        used = [name for name in self.one_of if name in options]
        if not used:
            options.missing("` or `".join(self.one_of), _FAILS_CLOSED.format("give one"))
        ways = declaration.get(_VERIFY)
        if isinstance(ways, list):
            kept = {target[:2] for name in used for target in self.options[name].to}
            dropped = {target[:2] for name in self.one_of for target in self.options[name].to} - kept
            for place in dropped:
                if len(place) == 2 and place[0] == _VERIFY and isinstance(place[1], int):
                    # It stays in the list as null, so that places in it stay what they are.
                    ways[place[1]] = None


class Filled:
    """A declaration with a user's options in it."""

    def __init__(self, options: Mapping[str, OptionSlot], declaration: dict[str, Json], given: set[Path]) -> None:
        """Keep it; `options` are those that were written, `given` is where their values stand, left as they are."""
        self._options = options
        self._whole = declaration
        #: Without the places that are null, but for ways to verify.
        self.declaration: dict[str, Json] = {
            name: _without_nulls(value, (name,), given)
            for name, value in declaration.items()
            if value is not None or (name,) in given
        }

    def translate(self, problem: OptionProblem) -> OptionProblem:
        """Turn a place in the declaration into the place of the option that stands there; the source's if none does."""
        path = self._in_whole(problem.path)
        best: tuple[int, Path] | None = None
        for name, slot in self._options.items():
            for target in slot.to:
                if len(path) >= len(target) and all(map(_fits, target, path)) and len(target) > (best or (-1,))[0]:
                    best = (len(target), (name, *(path[len(target) :] if slot.values is None else ())))
        place = best[1] if best else ()
        return OptionProblem(path=place, message=problem.message, hint=problem.hint)

    def _in_whole(self, path: Path) -> Path:
        """Return the path with indexes as they are in the list that still has its nulls."""
        steps: list[str | int] = []
        at: Any = self._whole
        for step in path:
            here = step
            if isinstance(at, list) and isinstance(step, int) and steps != [_VERIFY]:
                there = [number for number, element in enumerate(at) if element is not None]
                here = there[step] if step < len(there) else step
            steps.append(here)
            at = at[here] if _has(at, here) else None
        return tuple(steps)


def places(declaration: Json, target: Path) -> Iterator[Path]:
    """Give the places that a target means: those whose parent is there, `*` bound to each element that is."""
    yield from _places(declaration, target, ())


def _places(value: Any, target: Path, before: Path) -> Iterator[Path]:
    step, rest = target[0], target[1:]
    if step == "*" and isinstance(value, list):
        for number, element in enumerate(value):
            if element is not None:
                yield from _places(value, (number, *rest), before)
    elif not rest:
        if isinstance(value, dict) or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            yield (*before, step)
    elif _has(value, step):
        yield from _places(value[step], rest, (*before, step))


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def put(declaration: Any, place: Path, value: Json) -> None:
    """Put a value at a place whose parent is there."""
    at = declaration
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value


def _part(name: str, slot: OptionSlot, options: Options) -> Json:
    said = options.get(name)
    if slot.values is None:
        return said
    words = said if slot.is_list and isinstance(said, list) else [said]
    if not words:
        options.problem(name, "the list is empty", "write at least one")
    parts: list[Json] = []
    for word in words:
        text = ("true" if word else "false") if isinstance(word, bool) else word
        if isinstance(text, str) and text in slot.values:
            parts.append(slot.values[text])
            continue
        what = f'"{text[:40]}"' if isinstance(text, str) else kind_of(word)
        hint = suggest(text if isinstance(text, str) else "", slot.values, what="there are")
        options.problem(name, f"{what} is not known here", hint)
    return parts if slot.is_list else parts[0] if parts else None


def _fits(wanted: str | int, step: str | int) -> bool:
    return wanted == step or (wanted == "*" and isinstance(step, int))


def _without_nulls(value: Json, path: Path, given: set[Path]) -> Json:
    if path in given:
        return value
    if isinstance(value, dict):
        return {
            name: _without_nulls(part, (*path, name), given)
            for name, part in value.items()
            if part is not None or (*path, name) in given
        }
    if isinstance(value, list):
        is_ways = path == (_VERIFY,)
        return [
            _without_nulls(part, (*path, number), given)
            for number, part in enumerate(value)
            if part is not None or is_ways or (*path, number) in given
        ]
    return value
