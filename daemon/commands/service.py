"""`hookline service`: the units that run the daemon for years."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from hookline.daemon.commands import json_option
from hookline.daemon.commands.check import check
from hookline.daemon.commands.output import EXIT_FINDINGS, fail, print_json, styled
from hookline.daemon.commands.service_options import Wishes, files_of, need_root, prepare, what_service, which_service
from hookline.daemon.config.settings import Settings
from hookline.daemon.systemd.install import Machine, ServiceFile, apply, make_account, make_folders, paths
from hookline.daemon.systemd.obstacles import Obstacle, find_obstacles
from hookline.daemon.systemd.units import Service

_STATES = {
    "current": "as it should be",
    "absent": "not there: hookline service install writes it",
    "stale": "of another configuration or version: hookline service install writes it anew",
    "edited": "edited: hookline service install shows how",
}


@click.group()
def service() -> None:
    """Install, show, look after or remove the systemd units that run the daemon."""


@service.command("print")
@what_service
def print_(wishes: Wishes) -> None:
    """Write the units to stdout. Touches nothing."""
    made, settings = prepare(wishes)
    for file in files_of(wishes.machine, made, settings):
        if file.wanted is not None:
            click.echo(f"# {file.path}\n{file.wanted}")
    _tell(_obstacles(wishes.machine, made, settings))


@service.command()
@what_service
@click.option("--now", is_flag=True, help="Start it, or start it anew, and at every boot.")
@click.option("--force", is_flag=True, help="Overwrite what was edited, and install what will not work.")
@click.pass_context
def install(context: click.Context, wishes: Wishes, *, now: bool, force: bool) -> None:
    """Write the units for the configuration, after checking all of it. Can be run again at any time.

    The machine's service reads /etc/NAME/hookline.yaml and writes /var/lib/NAME; a unit that was edited is left alone.
    """
    need_root(wishes)
    machine = wishes.machine
    made, settings = prepare(wishes)
    # It ends this where anything is wrong. What it says is no data here.
    with contextlib.redirect_stdout(sys.stderr):
        context.invoke(check, config_path=settings.path, form="text", strict=False)
    obstacles = _obstacles(machine, made, settings)
    _tell(obstacles)
    files = files_of(machine, made, settings)
    edited = [file for file in files if file.state == "edited"]
    for file in edited:
        click.echo(file.diff(), err=True, nl=False)
    if edited and not force:
        do = f"{_systemctl(machine)} edit {edited[0].path.name}"
        fail(
            f"{edited[0].path} was edited, and nothing was written. Move the changes to a drop-in ({do}), then: --force"
        )
    if any(obstacle.is_fatal for obstacle in obstacles) and not force:
        fail("Nothing was written. Mend it, or install nevertheless: --force")
    _close_socket(machine, files)
    for line in [*apply(files), *make_folders(machine, made)]:
        click.echo(line, err=True)
    if made.account is not None and machine.root is None:
        ended = make_account(machine, made)
        if ended.returncode != 0:
            fail(f"The user {made.account} could not be made: {ended.stderr.strip()}")
    _go_on(machine, made, [file.path.name for file in files if file.state != "current"], now=now)


@service.command()
@which_service
@click.option("--force", is_flag=True, help="Remove also what was edited.")
def uninstall(wishes: Wishes, *, force: bool) -> None:
    """Stop the service and remove what `install` wrote. Configuration, secrets, state and its user stay."""
    need_root(wishes)
    machine, name = wishes.machine, wishes.name
    present = [
        ServiceFile(path=path, wanted=None, present=path.read_text("utf-8"))
        for path in paths(machine, name)
        if path.exists()
    ]
    if not present:
        fail(f"No service {name} in {machine.unit_folder}.")
    edited = [file for file in present if file.state == "edited"]
    if edited and not force:
        fail(f"{edited[0].path} was edited, and nothing was removed. Keep what you need of it, then: --force")
    units = [file.path.name for file in present if file.path.parent == machine.unit_folder]
    if machine.is_live:
        # All in one step: else the next connection starts the service that was just stopped.
        _systemctl_or_fail(machine, "disable", "--now", *units)
    for line in apply(present):
        click.echo(line, err=True)
    if machine.is_live:
        _systemctl_or_fail(machine, "daemon-reload")
        # It says so where nothing had failed.
        machine.systemctl("reset-failed", *units)
    kept = ["the configuration, and what lies beside it"]
    if not machine.is_user:
        kept = [str(machine.below(Path(folder, name))) for folder in ("/etc", "/var/lib")]
    kept += [str(folder) for unit in units if (folder := machine.unit_folder / f"{unit}.d").is_dir()]
    click.echo(f"Kept: {', '.join(kept)}.", err=True)


@service.command()
@what_service
@json_option
def status(wishes: Wishes, *, as_json: bool) -> None:
    """Say whether the service runs, and whether its units are those that `install` would write now.

    Exit code 1 if it does not run, or a unit is not.
    """
    machine = wishes.machine
    made, settings = prepare(_as_installed(wishes))
    files = files_of(machine, made, settings)
    obstacles = _obstacles(machine, made, settings)
    shown = {unit: dict(machine.show(unit)) for unit in made.units} if machine.is_live else {}
    if as_json:
        said = [{"path": str(file.path), "state": file.state} for file in files]
        print_json({"files": said, "units": shown, "obstacles": [asdict(obstacle) for obstacle in obstacles]})
    else:
        _print_status(files, shown)
        _tell(obstacles)
    is_well = all(file.state == "current" for file in files)
    if not is_well or any(state.get("ActiveState") not in {"active", "reloading"} for state in shown.values()):
        sys.exit(EXIT_FINDINGS)


def _print_status(files: Sequence[ServiceFile], shown: Mapping[str, Mapping[str, str]]) -> None:
    for file in files:
        text = _STATES[file.state] if file.wanted is not None else "not wanted: hookline service install removes it"
        click.echo(f"{file.path}: {styled(text, 'good' if file.state == 'current' else 'warn')}")
    for unit, state in shown.items():
        active = state.get("ActiveState", "unknown")
        text = f"{active} ({state.get('SubState', '')}), {state.get('UnitFileState') or 'not installed'}"
        text += f": {state['StatusText']}" if state.get("StatusText") else ""
        if active == "failed":
            text += f"; {state.get('Result')}, status {state.get('ExecMainStatus')}: journalctl -u {unit} -e"
        click.echo(f"{unit}: {styled(text, 'good' if active == 'active' else 'bad')}")
    if not shown:
        click.echo("No systemd to ask here.", err=True)


def _as_installed(wishes: Wishes) -> Wishes:
    """Return the wishes with the options that the unit which is there was written with, where none are given."""
    unit = wishes.machine.unit_folder / f"{wishes.name}.service"
    if not unit.is_file():
        return wishes
    lines: dict[str, str] = {}
    for line in unit.read_text("utf-8").splitlines():
        key, found, value = line.partition("=")
        if found:
            lines.setdefault(key, value)
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(lines.get("ExecStart", ""))]
    given: dict[str, Any] = {}
    if len(words) == 4:  # PROGRAM run -c CONFIG
        given = {"program": wishes.program or Path(words[0]), "config_path": wishes.config_path or Path(words[3])}
    return replace(
        wishes,
        **given,
        account=wishes.account or lines.get("User"),
        has_socket=wishes.has_socket and lines.get("Requires") == f"{wishes.name}.socket",
    )


def _is_active(machine: Machine, unit: str) -> bool:
    # A configuration that was changed just now is being reloaded while this is asked.
    return machine.show(unit).get("ActiveState") in {"active", "reloading", "activating"}


def _close_socket(machine: Machine, files: Sequence[ServiceFile]) -> None:
    """Have systemd let go of a port that the daemon is to listen on itself; the service stops with it."""
    for file in files:
        if file.wanted is None and file.path.suffix == ".socket" and machine.is_live:
            _systemctl_or_fail(machine, "disable", "--now", file.path.name)


def _obstacles(machine: Machine, made: Service, settings: Settings) -> list[Obstacle]:
    # What lies below another root is there as it will be elsewhere: its owners and places mean nothing here.
    return find_obstacles(made, settings, systemd=machine.version()) if machine.root is None else []


def _tell(obstacles: Sequence[Obstacle]) -> None:
    for obstacle in obstacles:
        word, style = ("wrong", "bad") if obstacle.is_fatal else ("warning", "warn")
        click.echo(f"{styled(word, style, sys.stderr)}: {obstacle.message}; {obstacle.hint}", err=True)


def _systemctl(machine: Machine) -> str:
    return "systemctl --user" if machine.is_user else "sudo systemctl"


def _systemctl_or_fail(machine: Machine, *words: str) -> None:
    ended = machine.systemctl(*words)
    if ended.returncode != 0:
        fail(f"{_systemctl(machine)} {' '.join(words)}: {ended.stderr.strip()}")


def _go_on(machine: Machine, made: Service, changed: Sequence[str], *, now: bool) -> None:
    """Have systemd read what was written, start it if that is wished, and say what to do next."""
    units = " ".join(made.units)
    if not machine.is_live:
        click.echo(f"No systemd was told. There: systemctl daemon-reload && systemctl enable --now {units}", err=True)
        return
    if changed:
        _systemctl_or_fail(machine, "daemon-reload")
    socket, unit = made.units[0], made.units[-1]
    is_running = _is_active(machine, unit)
    if is_running and not _is_active(machine, socket):
        # The daemon holds the port that systemd is to listen on, and systemd opens no socket of a service that runs.
        anew = f"stop {unit}"
    else:
        # A socket takes its service along.
        changed_first = next((name for name in made.units if name in changed), None)
        anew = f"restart {changed_first}" if is_running and changed_first else ""
    if now:
        if anew:
            _systemctl_or_fail(machine, *anew.split())
        _systemctl_or_fail(machine, "enable", "--now", *made.units)
    do = _systemctl(machine)
    journal = f"journalctl {'--user ' * machine.is_user}-u {made.name} -f"
    steps = {
        "secrets": f"{made.credentials}/NAME for ${{NAME}}, mode 0600; read at a start",
        "restart": f"{do} {anew}" if anew and not now else "",
        "start": f"{do} enable --now {units}" if not now and (not is_running or anew.startswith("stop")) else "",
        "look": f"{do.removeprefix('sudo ')} status {made.name}; {journal}",
        "reload": f"{do} reload {made.name}, which fails if anything is wrong",
        "boot": "loginctl enable-linger, or it runs only while you are logged in" if machine.is_user else "",
    }
    click.echo("Next:", err=True)
    for word, step in steps.items():
        if step:
            click.echo(f"  {word + ':':9} {step}", err=True)
