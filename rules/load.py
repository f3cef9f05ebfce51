"""Loads rule files: all of them at once, with every mistake in any of them, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial

from hookline.rules.condition import Condition
from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.event import Json
from hookline.rules.interpolation import find_references, interpolate_node, unescaped
from hookline.rules.options import lay_over
from hookline.rules.parse_condition import Scope, parse_named_conditions, parse_when
from hookline.rules.problem import Place, Problem, RulesError
from hookline.rules.reader import read_document
from hookline.rules.rule import Rule
from hookline.rules.rule_reader import RuleContext, check_keys, read_defaults, read_rules
from hookline.rules.rule_warnings import warn_about_meaning, warn_about_names
from hookline.rules.ruleset import RuleSet, manifest_text, text_hash
from hookline.rules.world import LenientLookup, RuleLookup, World

__all__ = ["World", "is_rule_file", "lay_over", "load_rules"]

FILE_KEYS = ("vars", "conditions", "defaults", "rules", "fallback")


def is_rule_file(name: str) -> bool:
    """Whether a file of the rules folder holds rules: tests stand beside them in `*.test.yaml`."""
    return name.endswith((".yaml", ".yml")) and not name.endswith((".test.yaml", ".test.yml"))


def load_rules(texts: Mapping[str, str], world: World) -> RuleSet:
    """Load the rule files, whose texts are given by the names that messages call them; tests among them are skipped.

    Raises `RulesError` with all that is wrong in all of them, warnings included.
    """
    texts = {name: texts[name] for name in sorted(texts) if not name.endswith((".test.yaml", ".test.yml"))}
    findings = Findings()
    read = (_read_file(name, text, findings) for name, text in texts.items())
    documents = [file for file in read if file is not None]

    variables = {**world.vars, **_variables(documents, world.vars, findings)}
    is_strict = world.check_references and not world.is_offline
    outer = world.lookup if is_strict else LenientLookup(world.lookup)
    # Apart, as what conditions are compared with is shown by `explain`, so its secrets must be masked.
    compared = RuleLookup(outer, variables)
    scope = Scope(findings, interpolate=partial(_interpolated, lookup=compared, findings=findings))
    scope = replace(scope, named=_named_conditions(documents, scope))
    context = RuleContext(
        world=world,
        variables=variables,
        lookup=RuleLookup(outer, variables),
        condition=partial(parse_when, scope=scope),
        findings=findings,
    )
    rules, fallback = _read_rules(documents, context)
    _let_go(documents)
    _check_names(rules, findings)
    if world.check_references:
        findings.problems += warn_about_names(rules, fallback, world)
        if not findings.has_errors:
            findings.problems += warn_about_meaning(rules, fallback, compared.seen)

    problems = sorted(findings.problems, key=_position)
    if findings.has_errors:
        raise RulesError(problems)
    return RuleSet(
        rules=tuple(rules),
        fallback=tuple(fallback),
        manifest=_manifest(texts, world),
        files={text_hash(text): text for text in texts.values()},
        warnings=tuple(problems),
        masked=compared.seen,
    )


def _read_rules(documents: Iterable[Entries], context: RuleContext) -> tuple[list[Rule], list[Rule]]:
    rules: list[Rule] = []
    fallback: list[Rule] = []
    for document in documents:
        defaults = read_defaults(document.entries.get("defaults"), context)
        rules += read_rules(document.entries.get("rules"), defaults, context, is_fallback=False)
        fallback += read_rules(document.entries.get("fallback"), defaults, context, is_fallback=True)
    return rules, fallback


def _let_go(documents: list[Entries]) -> None:
    """Free the documents rule by rule: all at once, ten thousand would hold every thread for a tenth of a second."""
    parts: list[Node] = []
    while documents:
        parts += [item for node in documents.pop().entries.values() if isinstance(node, Items) for item in node.items]
    while parts:
        parts.pop()


def _position(problem: Problem) -> tuple[str, int, int]:
    return (problem.place.file, problem.place.line, problem.place.column) if problem.place else ("", 0, 0)


def _read_file(name: str, text: str, findings: Findings) -> Entries | None:
    node = read_document(text, name, findings)
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return None  # Reported, or empty: a file of comments holds no rules.
    if not isinstance(node, Entries):
        findings.error(node, "a file of rules must be a mapping", "put rules: above the list of rules")
        return None
    check_keys(node, FILE_KEYS, findings)
    return node


def _interpolated(node: Node, lookup: RuleLookup, findings: Findings) -> Node:
    unset = lookup.unset
    resolved = interpolate_node(node, lookup, findings)
    for written in sorted(lookup.unset - unset):
        findings.warning(node, f"{written} is not set here", "the condition is checked without its value")
    return resolved


def _unique_entries(
    documents: Iterable[Entries], key: str, taken: Collection[str], findings: Findings
) -> dict[str, Node]:
    """Collect what stands under `key` in all files; names are unique across files and `taken`."""
    found: dict[str, Node] = {}
    places: dict[str, Place] = {}
    for document in documents:
        node = document.entries.get(key)
        if node is None or (isinstance(node, Scalar) and node.value is None):
            continue
        if not isinstance(node, Entries):
            findings.error(node, f"{key} must be a mapping", f"write {key}: {{name: …}}")
            continue
        for name, item in node.entries.items():
            if name in taken:
                findings.error_at_key(node, name, f'"{name}" is in hookline.yaml already', "choose another name")
            elif name in found:
                findings.error_at_key(node, name, f'"{name}" is at {places[name]} already', "choose another name")
            else:
                found[name] = item
                places[name] = node.keys[name]
    return found


def _variables(documents: Iterable[Entries], taken: Mapping[str, Json], findings: Findings) -> dict[str, Json]:
    nodes = _unique_entries(documents, "vars", taken, findings)
    for node in nodes.values():
        _check_variable(node, findings)
    return {name: unescaped(node.plain()) for name, node in nodes.items()}


def _check_variable(node: Node, findings: Findings) -> None:
    """Refuse `${…}` in a variable: variables are kept with the events that they routed, and secrets never are."""
    match node:
        case Scalar(value=str(text)):
            for found in find_references(text):
                if found.kind != "escape":
                    written = text[found.start : found.end]
                    findings.error(
                        node,
                        f"a variable cannot hold {written}",
                        "variables are kept with events, secrets never: write it where it is used",
                    )
        case Entries(entries=entries):
            for item in entries.values():
                _check_variable(item, findings)
        case Scalar():
            pass
        case _:
            for item in node.items:
                _check_variable(item, findings)


def _named_conditions(documents: Iterable[Entries], scope: Scope) -> Mapping[str, Condition]:
    nodes = _unique_entries(documents, "conditions", (), scope.findings)
    return parse_named_conditions(nodes, scope)


def _check_names(rules: Iterable[Rule], findings: Findings) -> None:
    first: dict[str, Rule] = {}
    for rule in rules:
        known = first.setdefault(rule.name, rule)
        if known is not rule and rule.name:
            findings.problems.append(
                Problem(
                    place=rule.place,
                    path="",
                    message=f'the name "{rule.name}" is taken by the rule at {known.place}',
                    hint="choose another: names tell rules apart wherever they are shown",
                )
            )


def _manifest(texts: Mapping[str, str], world: World) -> str:
    return manifest_text(
        {
            "hookline": world.version,
            "files": {name: text_hash(text) for name, text in texts.items()},
            "plugins": dict(world.plugins),
            # Decides whether a step names an action or a destination.
            "actions": sorted(world.actions),
            "vars": dict(world.vars),
        }
    )
