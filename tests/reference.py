"""Writes docs/commands.md from the commands themselves: `make docs`. A test compares, so it cannot drift."""

from __future__ import annotations

from pathlib import Path

import click

from hookline.daemon.commands import cli

HEAD = """\
# Commands

Data goes to stdout, talk to stderr. `--json` prints JSON for programs. `-c FILE` names the configuration; else it is
`$HOOKLINE_CONFIG`, `./hookline.yaml` or `/etc/hookline/hookline.yaml`. Colors are for terminals, and `NO_COLOR` turns them off.
Exit codes: 0 fine, 1 findings or failure, 2 usage, 78 bad configuration.

This page is written by `make docs`.
"""


def reference() -> str:
    """Return the page."""
    return HEAD + "".join(_sections(cli, "hookline"))


def _sections(group: click.Group, path: str) -> list[str]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(_section(command, f"{path} {name}"))
        if isinstance(command, click.Group):
            found += _sections(command, f"{path} {name}")
    return found


def _section(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context)).replace("[OPTIONS] ", "").replace("[OPTIONS]", "")
    lines = [f"\n## `{path} {usage}".rstrip() + "`\n\n", f"{' '.join((command.help or '').split())}\n"]
    options = [
        (", ".join(f"`{opt}`" for opt in parameter.opts), _value(parameter, context), parameter.help or "")
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in {"config_path", "as_json"}
    ]
    if options:
        lines.append("\n| option | value | what |\n|---|---|---|\n")
        lines += [f"| {names} | {value} | {text} |\n" for names, value, text in options]
    return "".join(lines)


def _value(option: click.Option, context: click.Context) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        value = ", ".join(f"`{choice}`" for choice in option.type.choices)
    else:
        value = option.make_metavar(context).replace("|", r"\|")
    default = option.get_default(context) if option.show_default else None
    return f"{value}; else {default}" if default is not None else value


if __name__ == "__main__":
    (Path(__file__).parents[1] / "docs" / "commands.md").write_text(reference())
