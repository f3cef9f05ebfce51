"""`hookline plugins`: what actions there are, from where, what each takes, and a new one to start from."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import click

from hookline.daemon.actions.local_runner import RESERVED_NAMES, LocalRunner
from hookline.daemon.actions.plugin_folder import read_plugin_folder
from hookline.daemon.actions.registry import Action, load_actions
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.group import ListOrShow
from hookline.daemon.commands.opening import again, looking, open_settings
from hookline.daemon.commands.output import EXIT_FINDINGS, EXIT_USAGE, fail, print_json, print_table, styled
from hookline.daemon.commands.plugin_options import Option, options_of, print_options
from hookline.daemon.config.settings import Settings
from hookline.daemon.delivery.retry import MISSING
from hookline.daemon.log import printable
from hookline.daemon.reload.live_rules import check_rules
from hookline.daemon.secrets import Secrets
from hookline.rules import Problem, RulesError, Step
from hookline.rules.suggestion import suggest

_SHORT_DIGEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """One action, or a plug-in that is none because it is broken."""

    name: str
    #: None: it is broken.
    action: Action | None
    problem: Problem | None
    #: Why the running daemon does not use it; "" if it does.
    set_aside: str
    destinations: tuple[str, ...]
    rules: tuple[str, ...]

    @property
    def state(self) -> str:
        """`loaded`, `broken`, or `set aside`."""
        return "broken" if self.action is None else "set aside" if self.set_aside else "loaded"

    @property
    def origin(self) -> str:
        """`built-in`, the file, or the package."""
        if self.action is not None:
            return self.action.facts.origin
        return self.problem.place.file if self.problem and self.problem.place else "unknown"

    def to_json(self) -> dict[str, Any]:
        """Return it as programs read it."""
        facts = self.action.facts if self.action else None
        return {
            "name": self.name,
            "state": self.state,
            "origin": self.origin,
            "summary": facts.summary if facts else "",
            "digest": facts.digest if facts else None,
            "problem": str(self.problem) if self.problem else None,
            "set_aside": self.set_aside,
            "destinations": list(self.destinations),
            "rules": list(self.rules),
        }


@click.group(cls=ListOrShow, invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def plugins(ctx: click.Context, config_path: Path | None, *, as_json: bool) -> None:
    """List actions: built in, in the plug-ins folder, and from packages; what is broken, and who uses each.

    `hookline plugins NAME` shows the options of one. Exit code 1 if one is broken.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = config_path
        return
    settings = open_settings(config_path, offline=True)
    found, others = anyio.run(_find, settings)
    if as_json:
        print_json({"actions": [one.to_json() for one in found], "problems": [str(problem) for problem in others]})
    else:
        _print(found, config_path)
    for problem in others:
        click.echo(printable(str(problem)), err=True)
    if others or any(one.action is None for one in found):
        sys.exit(EXIT_FINDINGS)


@plugins.command()
@click.argument("name")
@config_option
@json_option
@click.pass_obj
def show(outer: Path | None, name: str, config_path: Path | None, *, as_json: bool) -> None:
    """Show one action: what it does, its options as a rule writes them, and who uses it."""
    settings = open_settings(config_path or outer, offline=True)
    found, _ = anyio.run(_find, settings)
    one = next((one for one in found if one.name == name), None)
    if one is None:
        hint = suggest(name, [one.name for one in found], what="actions")
        fail(f"No action {name!r}" + (f"; {hint}" if hint else "."), EXIT_USAGE)
    options = options_of(one.action.options) if one.action else ()
    if as_json:
        schema = one.action.facts.schema if one.action else None
        print_json(one.to_json() | {"options": [option.to_json() for option in options], "schema": schema})
        return
    _print_one(one, options)
    if one.action is None:
        sys.exit(EXIT_FINDINGS)


@plugins.command("new")
@click.argument("name")
@config_option
@click.pass_obj
def new(outer: Path | None, name: str, config_path: Path | None) -> None:
    """Write a plug-in NAME.py into the plug-ins folder, and its test beside the configuration. Overwrites nothing."""
    from hookline.daemon.commands.plugins_new import write_plugin

    path = config_path or outer
    write_plugin(open_settings(path, offline=True), name, path)


async def _find(settings: Settings) -> tuple[list[_Listed], list[Problem]]:
    """Return every action with what is known of it, and problems that are of no one plug-in."""
    folder = read_plugin_folder(settings.plugins)
    loaded = await anyio.to_thread.run_sync(lambda: load_actions(folder, reserved=RESERVED_NAMES))
    problems = {problem.path: problem for problem in loaded.problems if problem.place is not None}
    steps = await _steps(settings)
    aside = await _set_aside(settings)
    found = []
    for name in [*loaded.by_name, *(name for name in problems if name not in loaded.by_name)]:
        used = tuple(one.name for one in settings.destinations.values() if one.action == name)
        rules = [step.rule or "fallback" for step in steps if step.action == name or step.destination in used]
        found.append(
            _Listed(
                name=name,
                action=loaded.by_name.get(name),
                problem=problems.get(name),
                set_aside=next((why for lane, why in aside.items() if lane in used or f" {name} " in why), ""),
                destinations=used,
                rules=tuple(dict.fromkeys(rules)),
            )
        )
    return found, [problem for problem in loaded.problems if problem.place is None]


async def _steps(settings: Settings) -> Sequence[Step]:
    """Return the steps of the rules on disk; none if these are bad, which `check` tells."""
    secrets = Secrets(os.environ, folder=settings.path.parent)
    runner = LocalRunner(settings, secrets, is_offline=True)
    try:
        rules = (await check_rules(settings, secrets, runner, is_offline=True, is_start=True)).rules
    except RulesError:
        click.echo("The rules on disk are bad, so who uses what is not known: hookline check", err=True)
        return ()
    finally:
        await runner.close()
    return [step for rule in (*rules.rules, *rules.fallback) for step in rule.steps]


async def _set_aside(settings: Settings) -> Mapping[str, str]:
    """Return by lane why the daemon has set its plug-in aside."""
    async with looking(settings) as reader:
        lanes = await reader.lanes() if reader else []
    held = {lane.lane: lane.reason.removeprefix(MISSING).strip() for lane in lanes if lane.is_held}
    return {lane: why for lane, why in held.items() if "set aside" in why}


def _print(found: Sequence[_Listed], config_path: Path | None) -> None:
    rows = [
        [
            one.name,
            one.state,
            one.origin,
            one.action.facts.digest[:_SHORT_DIGEST] if one.action else "",
            ", ".join(one.destinations),
            _some(one.rules),
            one.action.facts.summary if one.action else "",
        ]
        for one in found
    ]
    print_table(rows, ["action", "state", "from", "version", "destinations", "rules", "does"])
    for one in found:
        if one.problem is not None:
            click.echo(styled(printable(str(one.problem)), "bad"))
        if one.set_aside:
            click.echo(styled(f"{one.name}: {printable(one.set_aside)}", "bad"))
    click.echo(f"The options of one: {again(f'plugins {found[0].name}', config_path)}", err=True)


def _some(names: Sequence[str]) -> str:
    if len(names) <= 2:
        return ", ".join(names)
    return f"{names[0]}, and {len(names) - 1} more"


def _print_one(one: _Listed, options: Sequence[Option]) -> None:
    facts = one.action.facts if one.action else None
    click.echo(f"{one.name}  {styled(one.state, 'good' if one.state == 'loaded' else 'bad')}")
    if facts is not None:
        click.echo(f"  {printable(facts.summary)}")
    click.echo(f"  from          {printable(one.origin)}")
    for label, names in (("destinations", one.destinations), ("rules", one.rules)):
        click.echo(f"  {label:12}  {printable(', '.join(names) or 'none')}")
    for wrong in (str(one.problem) if one.problem else "", one.set_aside):
        if wrong:
            click.echo(f"  {styled(printable(wrong), 'bad')}")
    if facts is not None:
        print_options(one.name, options)
