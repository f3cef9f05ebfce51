"""`sources` and `destinations` of the configuration."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Collection
from pathlib import Path

from hookline.daemon.config.listen import read_networks
from hookline.daemon.config.references import References
from hookline.daemon.config.section import is_null, kind_of, read_integer
from hookline.daemon.config.settings import DEFAULT_CONCURRENCY, Destination
from hookline.daemon.sources.placed import placed
from hookline.daemon.sources.port import SourceSettings
from hookline.daemon.sources.types import SourceTypes
from hookline.rules.bounds import parse_bounds
from hookline.rules.document import Entries, Findings, Node, Scalar
from hookline.rules.modifiers import MODIFIER_NAMES, parse_modifiers
from hookline.rules.suggestion import did_you_mean

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MOST_CONCURRENCY = 1000
# Stands beside the action as modifiers do, but says who may be reached and not when.
_ALLOW_NETWORKS = "allow_networks"


def known_actions(plugins: Path | None) -> frozenset[str]:
    """Return the names of all actions without importing any: built in, in the plug-ins folder, from packages."""
    from hookline.daemon.actions.registry import BUILT_IN, ENTRY_POINT_GROUP  # noqa: PLC0415 - slow, and often not asked

    names = {*BUILT_IN, *(point.name for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))}
    if plugins is not None and plugins.is_dir():
        names |= {path.stem for path in plugins.glob("*.py") if path.name[0] not in "._"}
    return frozenset(names)


def named_entries(node: Node | None, findings: Findings, *, what: str) -> dict[str, Entries]:
    """Return the mappings below `sources` or `destinations` whose names are in order."""
    if node is None or is_null(node):
        return {}
    if not isinstance(node, Entries):
        findings.error(
            node, f"expected a mapping of names, got {kind_of(node)}", f"write the {what}'s name and a colon first"
        )
        return {}
    entries: dict[str, Entries] = {}
    for name, value in node.entries.items():
        if not _NAME.fullmatch(name):
            hint = "use small letters, digits, - and _, at most 64"
            findings.error_at_key(node, name, f'"{name[:80]}" cannot be the name of a {what}', hint)
        elif isinstance(value, Entries):
            entries[name] = value
        else:
            hint = (
                "write at least its type, as in {type: agiled, …}"
                if what == "source"
                else "write its action and that action's options"
            )
            findings.error(value, f"expected a mapping, got {kind_of(value)}", hint)
    return entries


def read_sources(
    node: Node | None, references: References, findings: Findings, *, types: SourceTypes, has_public_url: bool
) -> dict[str, SourceSettings]:
    """Return the sources, each checked by its type."""
    from hookline.daemon.sources.build import check_options  # noqa: PLC0415 - slow, and only sources need it

    sources: dict[str, SourceSettings] = {}
    for name, entries in named_entries(node, findings, what="source").items():
        if name == "hookline":
            findings.error(entries, '"hookline" is the source of events about ourselves', "choose another name")
            continue
        kind = entries.entries.get("type")
        if not isinstance(kind, Scalar) or kind.value not in types:
            _report_type(entries, kind, types, findings)
            continue
        options = references.resolve(entries).plain()
        settings = SourceSettings(
            name=name,
            type=str(kind.value),
            options={key: value for key, value in options.items() if key != "type"}
            if isinstance(options, dict)
            else {},
        )
        found = check_options(settings, types=types, has_public_url=has_public_url)
        findings.problems.extend(placed(problem, entries) for problem in found)
        sources[name] = settings
    return sources


def _report_type(entries: Entries, kind: Node | None, types: SourceTypes, findings: Findings) -> None:
    if kind is None:
        named = next((key for key in entries.entries if key in types), None)
        hint = "write one, such as type: agiled; hookline sources --types lists them"
        if named is not None:
            hint = f"write type: {named}, and its options beside it"
        findings.error(entries, "the source has no type", hint)
        return
    if not isinstance(kind, Scalar):
        hint = "write one type, and a source of its own for each sender"
        findings.error(kind, f"expected the name of a source type, got {kind_of(kind)}", hint)
        return
    written = kind.text
    if written in types.broken:
        # What is wrong with it is reported where it stands.
        hint = f"mend {types.broken[written]}"
    else:
        hint = did_you_mean(written, types.names) or "hookline sources --types lists them; type: generic declares any"
    findings.error(kind, f'no source type "{written[:80]}"', hint)


def read_destinations(
    node: Node | None, references: References, findings: Findings, *, actions: Collection[str]
) -> dict[str, Destination]:
    """Return the destinations; their options stay as written, `${}` and templates included."""
    destinations: dict[str, Destination] = {}
    for name, entries in named_entries(node, findings, what="destination").items():
        if name in actions or name in MODIFIER_NAMES:
            what = "an action" if name in actions else "a modifier"
            findings.error(entries, f'"{name}" is the name of {what} as well', "choose another: rules use all by name")
            continue
        destination = _read_destination(name, entries, references, findings, actions)
        if destination is not None:
            destinations[name] = destination
    return destinations


def _read_destination(
    name: str, entries: Entries, references: References, findings: Findings, actions: Collection[str]
) -> Destination | None:
    chosen: list[str] = []
    beside: dict[str, Node] = {}
    networks: Node | None = None
    for key, value in entries.entries.items():
        if key in MODIFIER_NAMES:
            beside[key] = references.resolve(value)
        elif key == _ALLOW_NETWORKS:
            networks = references.resolve(value)
        elif key in actions:
            chosen.append(key)
        else:
            near = did_you_mean(key, {*actions, *MODIFIER_NAMES, _ALLOW_NETWORKS})
            listed = f"actions: {', '.join(sorted(actions))}"
            findings.error_at_key(entries, key, f'no action or modifier "{key}"', near or listed)
            chosen.append(key)
    concurrency = DEFAULT_CONCURRENCY
    if "concurrency" in beside:
        concurrency = read_integer(beside["concurrency"], findings, concurrency, low=1, high=_MOST_CONCURRENCY)
    modifiers = parse_modifiers(beside, findings, is_destination=True)
    bounds = parse_bounds(beside, findings)
    allowed = read_networks(networks, findings)
    if not chosen:
        findings.error(entries, "the destination has no action", f"write one of: {', '.join(sorted(actions))}")
    elif len(chosen) > 1 and all(key in actions for key in chosen):
        findings.error_at_key(
            entries, chosen[1], f'"{chosen[0]}" and "{chosen[1]}" in one destination', "make two of it"
        )
    if len(chosen) != 1 or chosen[0] not in actions:
        return None
    return Destination(
        name=name,
        action=chosen[0],
        options=_read_options(chosen[0], entries.entries[chosen[0]], references, findings),
        modifiers=modifiers,
        concurrency=concurrency,
        bounds=bounds,
        allow_networks=allowed,
        place=entries.keys[chosen[0]],
    )


def _read_options(action: str, node: Node, references: References, findings: Findings) -> dict[str, object]:
    if is_null(node):
        return {}
    if not isinstance(node, Entries):
        findings.error(node, f"the options of {action} are a mapping, got {kind_of(node)}")
        return {}
    for key in node.entries:
        if key in MODIFIER_NAMES or key == _ALLOW_NETWORKS:
            hint = f"move it left, beside {action}"
            findings.error_at_key(node, key, f'"{key}" is no option of {action}, but a modifier', hint)
    references.check(node)
    return {key: value.plain() for key, value in node.entries.items()}
