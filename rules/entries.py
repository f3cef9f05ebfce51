"""`do`: what a rule asks for, read into steps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.event import Json
from hookline.rules.interpolation import Lookup, find_references, interpolate_node
from hookline.rules.modifiers import BOUND_NAMES, MODIFIER_NAMES, conflicts_of, parse_modifiers
from hookline.rules.options import WrittenOptions, read_options
from hookline.rules.policies import Modifiers
from hookline.rules.steps import Step
from hookline.rules.suggestion import did_you_mean
from hookline.rules.template_names import ALL_VARIABLES, names_for

_NO_OPTIONS = WrittenOptions(options={}, variables={})
_NO_MODIFIERS = Modifiers()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What the entries of one rule are read with."""

    #: Name of the rule; "" for a fallback.
    rule: str
    #: What templates see as `rule`.
    rule_facts: Mapping[str, Json]
    #: What holds where an entry says nothing.
    defaults: Modifiers
    #: True: whatever the entries say, nothing is sent.
    dry_run: bool
    destinations: Collection[str]
    #: The modifiers of destinations by name, where they have any.
    destination_defaults: Mapping[str, Modifiers]
    actions: Collection[str]
    #: False: names that are not there are taken for destinations.
    check_references: bool
    variables: Mapping[str, Json]
    lookup: Lookup
    findings: Findings


def read_steps(node: Node, context: StepContext) -> tuple[Step, ...]:
    """Read the value of `do`; every mistake goes to the findings."""
    if isinstance(node, Items):
        if not node.items:
            context.findings.error(node, "do is empty", "name a destination, or leave do out and write stop: true")
        steps = [_read_entry(item, context) for item in node.items]
    else:
        steps = [_read_entry(node, context)]
    return tuple(step for step in steps if step is not None)


def read_modifiers(node: Entries, lookup: Lookup, findings: Findings) -> Modifiers:
    """Read the modifiers among the entries of a mapping; `${vars.…}` in them are replaced."""
    found: dict[str, Node] = {}
    for key, item in node.entries.items():
        if key in MODIFIER_NAMES:
            resolved = _resolved(item, lookup, findings)
            if resolved is not None:
                found[key] = resolved
    return parse_modifiers(found, findings)


def _resolved(node: Node, lookup: Lookup, findings: Findings) -> Node | None:
    """Return a modifier with its variables replaced; None if that cannot be, which is in the findings."""
    secret = next(_secrets_in(node), None)
    if secret is not None:
        hint = "modifiers are kept with the events, secrets never: write the value, or ${vars.NAME}"
        findings.error(secret, f"a modifier cannot hold {secret.text[:80]}", hint)
        return None
    unset = Findings()
    resolved = interpolate_node(node, lookup, unset)
    findings.problems += unset.problems
    return None if unset.problems else resolved


def _secrets_in(node: Node) -> Iterator[Scalar]:
    match node:
        case Scalar(value=str(text)):
            if any(found.kind in {"secret", "file"} for found in find_references(text)):
                yield node
        case Items(items=items):
            for item in items:
                yield from _secrets_in(item)
        case Entries(entries=entries):
            for item in entries.values():
                yield from _secrets_in(item)
        case _:
            return


def _read_entry(node: Node, context: StepContext) -> Step | None:
    findings = context.findings
    if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
        return _step(node, node.value, Modifiers(), context)
    if not isinstance(node, Entries):
        findings.error(node, "not a step", "write the name of a destination, or {name: {its options}}")
        return None
    modifiers = read_modifiers(node, context.lookup, findings)
    names = [key for key in node.entries if key not in MODIFIER_NAMES]
    if len(names) != 1:
        _report_names(node, names, context)
        return None
    return _step(node, names[0], modifiers, context)


def _report_names(node: Entries, names: list[str], context: StepContext) -> None:
    known = {*context.destinations, *context.actions}
    if not names:
        context.findings.error(
            node, "the step names no destination or action", "write its name beside the modifiers, as in {erp: {}, …}"
        )
        return
    strange = [name for name in names if name not in known]
    if len(strange) == len(names) - 1:
        # One is right, so the others were probably meant as modifiers.
        for name in strange:
            listed = f"modifiers are: {', '.join(sorted(MODIFIER_NAMES - BOUND_NAMES))}"
            hint = did_you_mean(name, MODIFIER_NAMES) or f"indent it, if it is an option; {listed}"
            context.findings.error_at_key(node, name, f'unknown modifier "{name}"', hint)
        return
    context.findings.error(
        node, f"one step names {len(names)} destinations: {', '.join(names)}", "write each as an item of its own"
    )


def _read_step_options(node: Node, name: str, effective: Modifiers, context: StepContext) -> WrittenOptions | None:
    """Read what stands under the name, if anything does; `effective`: the modifiers that hold for it."""
    value = node.entries[name] if isinstance(node, Entries) else None
    if value is None or (isinstance(value, Scalar) and value.value is None):
        return _NO_OPTIONS
    if not isinstance(value, Entries):
        context.findings.error(value, f"the options of {name} must be a mapping", f"write {name}: {{option: value}}")
        return None
    for key in value.entries:
        if key in MODIFIER_NAMES:
            context.findings.error_at_key(
                value,
                key,
                f'"{key}" is a modifier, not an option of {name}',
                f'move it left, so that it stands beside "{name}"',
            )
    # What destinations of the past had as defaults is not known.
    names = names_for(effective) if context.check_references else ALL_VARIABLES
    return read_options(
        value, names=names, variables=context.variables, lookup=context.lookup, findings=context.findings
    )


def _step(node: Node, name: str, own: Modifiers, context: StepContext) -> Step | None:
    is_action = name in context.actions and name not in context.destinations
    modifiers = own.over(context.defaults)
    effective = modifiers.over(context.destination_defaults.get(name, _NO_MODIFIERS))
    written = _read_step_options(node, name, effective, context)
    if written is None:
        return None
    if context.check_references and not is_action and name not in context.destinations:
        _report_unknown(node, name, context)
        return None
    _report_conflicts(node, name, own, effective, context)
    return Step(
        rule=context.rule,
        rule_facts=context.rule_facts,
        destination=None if is_action else name,
        action=name if is_action else None,
        options=written.options,
        modifiers=replace(modifiers, dry_run=True) if context.dry_run else modifiers,
        vars=written.variables,
        place=node.keys[name] if isinstance(node, Entries) else node.place,
    )


def _report_unknown(node: Node, name: str, context: StepContext) -> None:
    known = sorted({*context.destinations, *context.actions})
    hint = did_you_mean(name, known) or f"there are: {', '.join(known[:20])}"
    if name in MODIFIER_NAMES:
        hint = "it is a modifier: write it beside a destination or an action"
    message = f'no destination or action "{name}"'
    if isinstance(node, Entries):
        context.findings.error_at_key(node, name, message, hint)
    else:
        context.findings.error(node, message, hint)


def _report_conflicts(node: Node, name: str, own: Modifiers, effective: Modifiers, context: StepContext) -> None:
    """Report modifiers that cannot hold together and come from different places; where they come from one, it was."""
    destination = context.destination_defaults.get(name, _NO_MODIFIERS)
    known = {pair for one in (own, context.defaults, destination) for pair in conflicts_of(one)}
    for pair, (message, hint) in conflicts_of(effective).items():
        if pair not in known:
            where = " and ".join(f"{each} {_origin(each, name, own, context)}" for each in pair)
            context.findings.error(node, f"{message}: {where}", hint)


def _origin(modifier: str, name: str, own: Modifiers, context: StepContext) -> str:
    if getattr(own, modifier) is not None:
        return "stands here"
    if getattr(context.defaults, modifier) is not None:
        return "stands under defaults"
    return f"is set on the destination {name}"
