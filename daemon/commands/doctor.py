"""`hookline doctor`: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.output import EXIT_CONFIG, EXIT_FINDINGS, print_json, styled, terminal_width
from hookline.daemon.doctor.examine import Examination, examine
from hookline.daemon.doctor.finding import Finding, counted
from hookline.daemon.log import printable

_STYLES: Final = {"ok": "good", "warn": "warn", "wrong": "bad"}
_LEVEL_WIDTH: Final = 5
_LONGEST_NAME: Final = 16
#: Narrower than this, wrapped text is no easier to read.
_NARROWEST: Final = 30
_GAP: Final = "   "
#: Before what mends it, so that it stands out without color too.
_STEP: Final = "→ "


@click.command()
@config_option
@json_option
@click.option("--online", is_flag=True, help="Also ask destinations and public_url: names, connections, certificates.")
def doctor(config_path: Path | None, *, as_json: bool, online: bool) -> None:
    """Say what is wrong with this installation, and how to mend it. Changes nothing, delivers nothing.

    Each line is ok, warn or wrong, and names the command or step that mends it. It works while the daemon runs and
    while it does not. As root it sees all; what another user may not look at is said.

    Exit code 0 if nothing is wrong, 1 if something is, 78 if the configuration cannot be used.
    """
    examination = examine(config_path, os.environ, online=online)
    if as_json:
        print_json([finding.to_json() for finding in examination.findings])
    else:
        print_findings(examination.findings)
    _end(examination)


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a line for each; on a terminal long ones are wrapped under their column."""
    width = terminal_width()
    column = min(max((len(finding.name) for finding in findings), default=0), _LONGEST_NAME)
    for finding in findings:
        for line in lines_of(finding, column=column, width=width):
            click.echo(line)
    wrong = sum(finding.level == "wrong" for finding in findings)
    warned = sum(finding.level == "warn" for finding in findings)
    if wrong:
        last = f"{wrong} to mend" + (f", {counted(warned, 'warning')}." if warned else ".")
    else:
        last = f"Nothing to mend, {counted(warned, 'warning')}." if warned else "All is well."
    click.echo(styled(last, "bad" if wrong else "warn" if warned else "good", sys.stderr), err=True)


def lines_of(finding: Finding, *, column: int, width: int) -> list[str]:
    """Write one finding: level, name, text and fix, the last two in a column of their own."""
    name = printable(finding.name)
    head = f"{styled(finding.level.ljust(_LEVEL_WIDTH), _STYLES[finding.level])} {name.ljust(column)}  "
    indent = _LEVEL_WIDTH + 1 + max(column, len(name)) + 2
    room = max(width - indent, _NARROWEST)
    text, fix = printable(finding.text), finding.fix and f"{_STEP}{printable(finding.fix)}"
    if fix and len(text) + len(_GAP) + len(fix) <= room:
        return [f"{head}{text}{_GAP}{_mend(fix)}"]
    # A path or an option that is cut in two cannot be copied.
    wrap = textwrap.TextWrapper(room, break_long_words=False, break_on_hyphens=False)
    lines = wrap.wrap(text) or [""]
    wrap.subsequent_indent = " " * len(_STEP)
    mend = [_mend(line) for line in wrap.wrap(fix)]
    return [f"{head}{lines[0]}", *(" " * indent + line for line in (*lines[1:], *mend))]


def _mend(text: str) -> str:
    return styled(text, "step")


def _end(examination: Examination) -> None:
    is_wrong = any(finding.level == "wrong" for finding in examination.findings)
    code = EXIT_CONFIG if not examination.has_configuration else EXIT_FINDINGS if is_wrong else 0
    if examination.has_hung:
        # A thread that hangs in the kernel would keep the interpreter from ending.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
