"""`do`: what a rule asks for, read into steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.event import Json
from hookline.rules.interpolation import Lookup
from hookline.rules.modifiers import MODIFIER_NAMES, parse_modifiers
from hookline.rules.options import WrittenOptions, read_options
from hookline.rules.steps import Modifiers, Step
from hookline.rules.suggestion import did_you_mean

_NO_OPTIONS = WrittenOptions(options={}, variables={})


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


def _read_entry(node: Node, context: StepContext) -> Step | None:
    findings = context.findings
    if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
        return _step(node, node.value, _NO_OPTIONS, Modifiers(), context)
    if not isinstance(node, Entries):
        findings.error(node, "not a step", "write the name of a destination, or {name: {its options}}")
        return None
    modifiers = parse_modifiers({key: item for key, item in node.entries.items() if key in MODIFIER_NAMES}, findings)
    names = [key for key in node.entries if key not in MODIFIER_NAMES]
    if len(names) != 1:
        _report_names(node, names, context)
        return None
    written = _read_step_options(node, names[0], context)
    return None if written is None else _step(node, names[0], written, modifiers, context)


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
            listed = f"modifiers are: {', '.join(sorted(MODIFIER_NAMES))}"
            hint = did_you_mean(name, MODIFIER_NAMES) or f"indent it, if it is an option; {listed}"
            context.findings.error_at_key(node, name, f'unknown modifier "{name}"', hint)
        return
    context.findings.error(
        node, f"one step names {len(names)} destinations: {', '.join(names)}", "write each as an item of its own"
    )


def _read_step_options(node: Entries, name: str, context: StepContext) -> WrittenOptions | None:
    """Read what stands under the name."""
    value = node.entries[name]
    if isinstance(value, Scalar) and value.value is None:
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
    return read_options(value, variables=context.variables, lookup=context.lookup, findings=context.findings)


def _step(node: Node, name: str, written: WrittenOptions, modifiers: Modifiers, context: StepContext) -> Step | None:
    is_action = name in context.actions and name not in context.destinations
    if context.check_references and not is_action and name not in context.destinations:
        known = sorted({*context.destinations, *context.actions})
        hint = did_you_mean(name, known) or f"there are: {', '.join(known[:20])}"
        if name in MODIFIER_NAMES:
            hint = "it is a modifier: write it beside a destination or an action"
        message = f'no destination or action "{name}"'
        if isinstance(node, Entries):
            context.findings.error_at_key(node, name, message, hint)
        else:
            context.findings.error(node, message, hint)
        return None
    return Step(
        rule=context.rule,
        rule_facts=context.rule_facts,
        destination=None if is_action else name,
        action=name if is_action else None,
        options=written.options,
        modifiers=_merged(modifiers, context),
        vars=written.variables,
        place=node.keys[name] if isinstance(node, Entries) else node.place,
    )


def _merged(own: Modifiers, context: StepContext) -> Modifiers:
    defaults = context.defaults
    merged = Modifiers(
        retry=own.retry if own.retry is not None else defaults.retry,
        timeout=own.timeout if own.timeout is not None else defaults.timeout,
        dry_run=own.dry_run if own.dry_run is not None else defaults.dry_run,
    )
    return replace(merged, dry_run=True) if context.dry_run else merged
