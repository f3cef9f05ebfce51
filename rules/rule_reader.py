"""Reads the entries of `rules` and `fallback`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from hookline.rules.condition import Condition
from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.entries import StepContext, read_modifiers, read_steps
from hookline.rules.event import Json
from hookline.rules.interpolation import Lookup
from hookline.rules.modifiers import BOUND_NAMES, MODIFIER_NAMES
from hookline.rules.name_filter import NameFilter, Pattern, sources_filter, types_filter
from hookline.rules.policies import Modifiers
from hookline.rules.rule import Rule
from hookline.rules.steps import Step
from hookline.rules.suggestion import did_you_mean
from hookline.rules.world import World

RULE_KEYS = (
    "name", "description", "owner", "from", "on", "when", "do", "stop", "enabled", "aside", "dry_run"
)  # fmt: skip
_FALLBACK_KEYS = tuple(key for key in RULE_KEYS if key != "name")
_DEFAULT_KEYS = ("from", "on", "when", "enabled", "stop")
# What other systems call it.
_OTHER_WORDS = {
    "if": "when",
    "condition": "when",
    "conditions": "when",
    "match": "when",
    "filter": "when",
    "where": "when",
    "source": "from",
    "sources": "from",
    "event": "on",
    "events": "on",
    "type": "on",
    "types": "on",
    "trigger": "on",
    "then": "do",
    "action": "do",
    "actions": "do",
    "to": "do",
    "id": "name",
    "title": "name",
    "disabled": "enabled",
    "final": "stop",
    "last": "stop",
}
_MAX_NAME_CHARACTERS = 200
_NO_MODIFIERS = Modifiers()
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleContext:
    """What the rules of all files are read with."""

    world: World
    #: Those of hookline.yaml and of all files.
    variables: Mapping[str, Json]
    lookup: Lookup
    #: Reads a `when`.
    condition: Callable[[Node], Condition]
    findings: Findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """`defaults` of one file."""

    sources: tuple[Pattern, ...] = ()
    types: tuple[Pattern, ...] = ()
    conditions: tuple[Condition, ...] = ()
    is_enabled: bool = True
    is_last: bool = False
    modifiers: Modifiers = _NO_MODIFIERS


def read_defaults(node: Node | None, context: RuleContext) -> Defaults:
    """Read `defaults`; every mistake goes to the findings."""
    findings = context.findings
    if node is None:
        return Defaults()
    if not isinstance(node, Entries):
        findings.error(node, "defaults must be a mapping", f"keys: {', '.join(_DEFAULT_KEYS)} and modifiers")
        return Defaults()
    check_keys(node, (*_DEFAULT_KEYS, *sorted(MODIFIER_NAMES)), findings)
    entries = node.entries
    return Defaults(
        sources=_patterns(entries.get("from"), findings) or (),
        types=_patterns(entries.get("on"), findings) or (),
        conditions=(context.condition(entries["when"]),) if "when" in entries else (),
        is_enabled=_flag(entries.get("enabled"), findings, default=True),
        is_last=_flag(entries.get("stop"), findings, default=False),
        modifiers=read_modifiers(node, context.lookup, findings),
    )


def read_rules(node: Node | None, defaults: Defaults, context: RuleContext, *, is_fallback: bool) -> list[Rule]:
    """Read the value of `rules` or `fallback`; every mistake goes to the findings."""
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return []
    if not isinstance(node, Items):
        what = "fallback" if is_fallback else "rules"
        context.findings.error(node, f"{what} must be a list", "begin each rule with a dash: - name: …")
        return []
    rules = [_read_rule(item, defaults, context, is_fallback=is_fallback) for item in node.items]
    return [rule for rule in rules if rule is not None]


def check_keys(node: Entries, known: Iterable[str], findings: Findings) -> None:
    """Report keys that are not known."""
    known = tuple(known)
    for key in node.entries:
        if key in known:
            continue
        if key in BOUND_NAMES and "do" in known:
            hint = "it limits a destination as a whole: set it on the destination in hookline.yaml"
        elif key in MODIFIER_NAMES and "do" in known:
            hint = "it is a modifier: write it beside a destination under do, or under defaults"
        else:
            listed = ", ".join(name for name in known if name not in BOUND_NAMES)
            hint = _suggest_key(key, known) or f"keys: {listed}"
        findings.error_at_key(node, key, f'unknown key "{key}"', hint)


def _suggest_key(key: str, known: tuple[str, ...]) -> str | None:
    # An exact word of other systems says more than a likeness: `then` is no misspelt `when`.
    meant = _OTHER_WORDS.get(key, "")
    near = f'did you mean "{meant}"?' if meant in known else did_you_mean(key, known)
    if near:
        return near
    words = [word for word in get_close_matches(key, _OTHER_WORDS, n=1, cutoff=0.8) if _OTHER_WORDS[word] in known]
    return f'did you mean "{_OTHER_WORDS[words[0]]}"?' if words else None


def _read_rule(node: Node, defaults: Defaults, context: RuleContext, *, is_fallback: bool) -> Rule | None:
    findings = context.findings
    if not isinstance(node, Entries):
        findings.error(node, "a rule must be a mapping", "write name:, when: and do: under one dash")
        return None
    entries = node.entries
    if is_fallback and "name" in entries:
        findings.error_at_key(node, "name", "a fallback has no name", "remove it, or move the rule under rules")
        check_keys(node, RULE_KEYS, findings)
    else:
        check_keys(node, _FALLBACK_KEYS if is_fallback else RULE_KEYS, findings)
    name = "" if is_fallback else _name(node, findings)
    facts: dict[str, Json] = {"name": name}
    for key in ("description", "owner"):
        facts[key] = _text(entries.get(key), findings)
    is_last = _flag(entries.get("stop"), findings, default=defaults.is_last)
    dry_run = _flag(entries.get("dry_run"), findings, default=False)
    own_conditions = (context.condition(entries["when"]),) if "when" in entries else ()
    steps: tuple[Step, ...] = ()
    if "do" in entries:
        steps = read_steps(entries["do"], _step_context(name, facts, defaults, context, dry_run=dry_run))
    elif not is_last and all(key in RULE_KEYS for key in entries):
        findings.error(node, "the rule does nothing", "write what it does under do:, or stop: true")
    return Rule(
        name=name,
        description=str(facts["description"]),
        owner=str(facts["owner"]),
        sources=_filter(entries.get("from"), defaults.sources, sources_filter, findings),
        types=_filter(entries.get("on"), defaults.types, types_filter, findings),
        conditions=(*defaults.conditions, *own_conditions),
        steps=steps,
        is_last=is_last,
        is_enabled=_flag(entries.get("enabled"), findings, default=defaults.is_enabled),
        is_aside=_flag(entries.get("aside"), findings, default=False),
        place=entries["name"].place if "name" in entries else node.place,
    )


def _step_context(
    name: str, facts: Mapping[str, Json], defaults: Defaults, context: RuleContext, *, dry_run: bool
) -> StepContext:
    return StepContext(
        rule=name,
        rule_facts=facts,
        defaults=defaults.modifiers,
        dry_run=dry_run,
        destinations=context.world.destinations,
        destination_defaults=context.world.defaults,
        actions=context.world.actions,
        check_references=context.world.check_references,
        variables=context.variables,
        lookup=context.lookup,
        findings=context.findings,
    )


def _name(node: Entries, findings: Findings) -> str:
    name = node.entries.get("name")
    if name is None:
        findings.error(node, "the rule has no name", "write name: …; it is shown wherever the rule is")
        return ""
    text = _text(name, findings).strip()
    if not text:
        findings.error(name, "the name is empty", "say in a few words what the rule is about")
    elif len(text) > _MAX_NAME_CHARACTERS:
        findings.error(
            name, f"the name is longer than {_MAX_NAME_CHARACTERS} characters", "move the rest to description"
        )
    elif _CONTROL.search(text):
        findings.error(name, "the name holds a line break or a control character", "write it on one line")
    return text


def _text(node: Node | None, findings: Findings) -> str:
    if node is None:
        return ""
    if isinstance(node, Scalar) and node.value is not None:
        # A number or a truth value, as written: `name: 1.10` is called 1.10.
        return node.text if not isinstance(node.value, str) else node.value
    findings.error(node, "must be a text")
    return ""


def _flag(node: Node | None, findings: Findings, *, default: bool) -> bool:
    if node is None:
        return default
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    findings.error(node, "must be true or false")
    return default


def _filter(
    node: Node | None,
    default: tuple[Pattern, ...],
    make: Callable[[Iterable[Pattern]], NameFilter],
    findings: Findings,
) -> NameFilter:
    patterns = _patterns(node, findings)
    return make(default if patterns is None else patterns)


def _patterns(node: Node | None, findings: Findings) -> tuple[Pattern, ...] | None:
    """Read a name, a glob, or a list of them; None if nothing is written."""
    if node is None:
        return None
    items = node.items if isinstance(node, Items) else (node,)
    if not items:
        findings.error(node, "the list is empty", "leave the key out to accept any")
    patterns: list[Pattern] = []
    for item in items:
        if isinstance(item, Scalar) and item.value is not None and item.text and not isinstance(item.value, bool):
            patterns.append((item.value if isinstance(item.value, str) else item.text, item.place))
        else:
            findings.error(item, "must be a name, or a glob such as invoice.*, or a list of them")
    return tuple(patterns)
