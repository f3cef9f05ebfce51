"""What schemas know of an installation: the names that rules may use, and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hookline.daemon.actions.registry import action_names
from hookline.daemon.config.settings import Settings
from hookline.daemon.delivery.runner import Inspection
from hookline.daemon.rule_files import read_rule_texts
from hookline.daemon.sources.types import SourceTypes
from hookline.rules import RulesError
from hookline.rules.document import Entries, Findings, Items, Scalar
from hookline.rules.reader import read_document


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAction:
    """An action that rules and destinations may name."""

    #: A sentence for people.
    summary: str
    #: JSON Schema of its options, as pydantic writes it; None for a broken plug-in.
    options: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDestination:
    """A destination of the configuration."""

    action: str
    #: Names of the options that it says itself.
    says: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that schemas are made from."""

    actions: Mapping[str, KnownAction]
    destinations: Mapping[str, KnownDestination]
    #: Sources by name, each with all the event types that its type sends; None if that is open.
    sources: Mapping[str, tuple[str, ...] | None]
    source_types: SourceTypes
    #: Names of the rules as they are now, in their order.
    rules: tuple[str, ...]
    #: Named conditions of the rules as they are now.
    conditions: tuple[str, ...]


def known_in(settings: Settings, inspection: Inspection) -> Known:
    """Gather what a configuration and its plug-ins have; rules with mistakes are no obstacle."""
    found = {
        name: KnownAction(summary=facts.summary, options=facts.schema) for name, facts in inspection.actions.items()
    }
    broken = {
        name: KnownAction(summary="Its plug-in is broken: hookline check says why.", options=None)
        for name in action_names(settings.plugins)
    }
    documents = list(_documents(settings))
    return Known(
        actions=dict(sorted((broken | found).items())),
        destinations={
            name: KnownDestination(action=one.action, says=frozenset(one.options))
            for name, one in settings.destinations.items()
        },
        sources={name: _types(settings.source_types, source.type) for name, source in settings.sources.items()},
        source_types=settings.source_types,
        rules=tuple(dict.fromkeys(name for document in documents for name in _rules(document))),
        conditions=tuple(dict.fromkeys(name for document in documents for name in _conditions(document))),
    )


def _types(types: SourceTypes, name: str) -> tuple[str, ...] | None:
    sent = types.event_types(name)
    return None if sent is None else tuple(sorted(sent))


def _documents(settings: Settings) -> Iterator[Entries]:
    try:
        texts = read_rule_texts(settings.rules, relative_to=settings.path.parent)
    except RulesError:
        # Names in them are an editor's proposals; what is wrong with the files is for `check` to say.
        return
    for name, text in texts.items():
        document = read_document(text, name, Findings())
        if isinstance(document, Entries):
            yield document


def _conditions(document: Entries) -> Iterator[str]:
    conditions = document.entries.get("conditions")
    if isinstance(conditions, Entries):
        yield from conditions.entries


def _rules(document: Entries) -> Iterator[str]:
    rules = document.entries.get("rules")
    for rule in rules.items if isinstance(rules, Items) else ():
        name = rule.entries.get("name") if isinstance(rule, Entries) else None
        if isinstance(name, Scalar):
            yield name.text
