"""`hookline schema`: what an editor needs to complete and check rules, tests and the configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import click

from hookline.daemon.commands import config_option
from hookline.daemon.commands.opening import open_settings
from hookline.daemon.commands.output import EXIT_FINDINGS, fail, print_problems
from hookline.daemon.config.settings import Settings
from hookline.daemon.schema.write import FILES, make_schemas, modeline, write_file


@click.command()
@click.argument("what", type=click.Choice(list(FILES)), required=False)
@config_option
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file; with WHAT alone."
)
def schema(what: str | None, config_path: Path | None, *, output: Path | None) -> None:
    """Write JSON Schemas for editors: rules, tests or config to stdout; all three beside the configuration if left out.

    They know the plug-ins' options, the sources and the destinations as they are now: run it again when those change.
    Exit code 1 if a plug-in is broken, whose options are then open.
    """
    if output is not None and what is None:
        raise click.UsageError(f"--output goes with one of {', '.join(FILES)}")
    settings = open_settings(config_path, offline=True)
    texts, problems = anyio.run(make_schemas, settings, os.environ)
    print_problems(problems, {}, stream=sys.stderr)
    if what is None:
        _write_all(settings, texts)
    elif output is None:
        click.echo(texts[what], nl=False)
    else:
        _write(output, texts[what])
    if problems:
        sys.exit(EXIT_FINDINGS)


def _write_all(settings: Settings, texts: Mapping[str, str]) -> None:
    folder = settings.path.parent
    for what, name in FILES.items():
        _write(folder / name, texts[what])
    rules = settings.rules[0] if settings.rules[0].is_dir() else settings.rules[0].parent
    lines = {
        settings.path.name: modeline(folder / FILES["config"], folder),
        "each file of rules": modeline(folder / FILES["rules"], rules),
        "each *.test.yaml": modeline(folder / FILES["tests"], rules),
    }
    width = max(map(len, lines))
    click.echo("For editors with yaml-language-server, the first line of", err=True)
    for where, line in lines.items():
        click.echo(f"  {where.ljust(width)}  {line}", err=True)


def _write(path: Path, text: str) -> None:
    try:
        write_file(path, text)
    except OSError as error:
        fail(f"Cannot write {path}: {error.strerror}. Name another place with --output.")
    click.echo(f"wrote {path}", err=True)
