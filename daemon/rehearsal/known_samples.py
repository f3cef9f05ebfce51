"""The events that there are samples of: what comes with source types, and what users keep beside their rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hookline.daemon.config.settings import Settings
from hookline.daemon.own.samples import OWN_SAMPLES
from hookline.daemon.regular_file import read_regular
from hookline.daemon.rehearsal.sample_events import Given, SampleReader
from hookline.daemon.rule_files import shown_name
from hookline.daemon.sources.declared import UNREADABLE
from hookline.daemon.sources.sample_files import sample_names
from hookline.rules import Event, Place, Problem
from hookline.rules.name_filter import HOOKLINE, NAMED_ONLY_TYPES
from hookline.rules.rule import Rule
from hookline.rules.rule_test import EventFile, RuleTest

#: The folder beside the rules that holds a user's samples, called after source and event type.
SAMPLES_FOLDER: Final = "samples"
MAX_BODY_BYTES: Final = 16 << 20
# What stands beside the rules is small; a folder of thousands is something else.
_MOST_FILES: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSamples:
    """Samples of every kind of event that a rule is about."""

    events: tuple[Event, ...]
    #: The kinds, as people say them: `agiled invoice.paid`.
    kinds: tuple[str, ...]
    #: Whether users' own are among them for each kind, and not only what Hookline made up in parts.
    is_own: bool


class KnownSamples:
    """All samples of one configuration; each is read when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        """Read nothing yet."""
        self._settings = settings
        self._reader = SampleReader(settings)
        self._own: dict[str, dict[str, list[Event]]] = {}
        self._coming: dict[tuple[str, str], tuple[Event, ...]] = {}
        #: Files among the samples that cannot be read.
        self.problems: list[Problem] = []

    def read_own(self, tests: Iterable[tuple[RuleTest, Path]]) -> None:
        """Read the user's: those in the folder beside the rules, and the files of rule tests, with their folders."""
        folders = dict.fromkeys(path if path.is_dir() else path.parent for path in self._settings.rules)
        files = [file for folder in folders for file in _listed(folder / SAMPLES_FOLDER)]
        tested: set[Path] = set()
        for test, folder in tests:
            if isinstance(test.body, EventFile) and test.source in self._settings.sources:
                tested.add((folder / test.body.path).resolve())
                given = Given(type=test.type, headers=test.headers, query=test.query)
                self._keep(folder / test.body.path, test.source, given, place=test.body.place)
        for file in files:
            # Where a test reads it, that says more of the request.
            if file.resolve() not in tested:
                self._read_named(file)

    def of_rule(self, rule: Rule) -> RuleSamples | None:
        """Return samples of all that a rule may see; None if there is a kind of event without one."""
        kinds = list(self._kinds(rule))
        if not kinds or None in kinds:
            return None
        events: list[Event] = []
        is_own = True
        named = [kind for kind in kinds if kind is not None]
        for source, type_ in named:
            own = self._own.get(source, {}).get(type_, [])
            found = [*own, *self._that_come(source, type_)]
            if not found:
                return None
            # Those about ourselves are exact, as a user's own are.
            is_own = is_own and (bool(own) or source == HOOKLINE)
            events += found
        return RuleSamples(
            events=tuple(events), kinds=tuple(f"{source} {type_}" for source, type_ in named), is_own=is_own
        )

    def _kinds(self, rule: Rule) -> Iterator[tuple[str, str] | None]:
        """Return the kinds of events that a rule admits; None among them for kinds without end, or without samples."""
        if rule.sources.accepts(HOOKLINE):
            yield from ((HOOKLINE, type_) for type_ in sorted(OWN_SAMPLES) if rule.types.accepts(type_))
        for name, source in self._settings.sources.items():
            if not rule.sources.accepts(name):
                continue
            documented = self._settings.source_types.event_types(source.type)
            written = rule.types.names
            if documented is None and written is None:
                yield None
                return
            for type_ in sorted(documented or written or ()):
                if rule.types.accepts(type_):
                    yield name, type_
            if written is not None and not written.isdisjoint(NAMED_ONLY_TYPES):
                yield None

    def _that_come(self, source: str, type_: str) -> tuple[Event, ...]:
        """Return what the source's type brings of an event type, bodies of its own only."""
        key = (source, type_)
        if key not in self._coming and source == HOOKLINE:
            self._coming[key] = tuple(one.event for one in self._reader.read_sample(source, type_, Given()))
        if key not in self._coming:
            kind = self._settings.source_types.get(self._settings.sources[source].type)
            try:
                has_body = type_ in sample_names(kind)
                found = self._reader.read_sample(source, type_, Given()) if has_body else ()
            except ValueError:
                found = ()  # It takes an option that is not set here, so nothing is known.
            self._coming[key] = tuple(one.event for one in found if one.event.type == type_)
            if kind.origin != "built in" and self._coming[key]:
                self._own.setdefault(source, {}).setdefault(type_, []).extend(self._coming[key])
        return self._coming[key]

    def _read_named(self, file: Path) -> None:
        """Read a sample called `SOURCE-TYPE….json`; one that is called otherwise belongs to somebody else."""
        sources = [name for name in self._settings.sources if file.name.startswith(f"{name}-")]
        if not sources:
            return
        source = max(sources, key=len)
        rest = file.stem.removeprefix(f"{source}-")
        types = self._settings.source_types.event_types(self._settings.sources[source].type) or ()
        # `events save` puts a part of the event's id behind the type.
        said = max((name for name in types if rest == name or rest.startswith(f"{name}-")), key=len, default=None)
        place = Place(shown_name(file, self._settings.path.parent), 1)
        self._keep(file, source, Given(type=said), place=place)

    def _keep(self, file: Path, source: str, given: Given, *, place: Place) -> None:
        try:
            found = self._reader.read(source, read_regular(file, limit=MAX_BODY_BYTES), given)
        except ValueError as error:
            self._refuse(place, source, str(error))
            return
        for one in found:
            if one.event.type == UNREADABLE != given.type:
                self._refuse(place, source, one.why_unreadable or "it is unreadable")
            else:
                self._own.setdefault(source, {}).setdefault(one.event.type, []).append(one.event)

    def _refuse(self, place: Place, source: str, why: str) -> None:
        message = f"the sample cannot be read as {source} would: {why}"
        self.problems.append(Problem(place=place, path="", message=message, severity="warning"))


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.suffix == ".json")[:_MOST_FILES]
