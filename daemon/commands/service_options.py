"""The options of `hookline service`, and what follows from them: the machine, the service, its configuration."""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from hookline.daemon.commands.output import EXIT_CONFIG, EXIT_USAGE, fail, print_problems
from hookline.daemon.config.load import SYSTEM_CONFIG, ConfigError, find_config, load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.systemd.install import Machine, ServiceFile, service_files
from hookline.daemon.systemd.units import Service, UnitError, denied_resolvers, unit_texts

# What useradd and systemd both take.
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the options say."""

    is_user: bool
    name: str
    root: Path | None
    config_path: Path | None = None
    account: str | None = None
    has_socket: bool = True
    program: Path | None = None

    def __post_init__(self) -> None:
        for option, name in (("--name", self.name), ("--account", self.account)):
            if name is not None and not _NAME.fullmatch(name):
                said = f"{option} {name}: lower-case letters, digits, - and _, a letter first, at most 31"
                fail(said, EXIT_USAGE)
        if self.is_user and (self.account is not None or self.root is not None):
            fail("--account and --root are for the machine's service: a user's runs as that user.", EXIT_USAGE)

    @property
    def machine(self) -> Machine:
        """Return where files go and which systemd is asked."""
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return Machine(root=self.root and self.root.absolute(), is_user=self.is_user, user_config=config)


def which_service(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which service is meant; the command gets them as `wishes`."""

    @functools.wraps(command)
    def gathered(*args: Any, is_user: bool, name: str, root: Path | None, **rest: Any) -> Any:
        return command(*args, wishes=Wishes(is_user=is_user, name=name, root=root), **rest)

    return _with_place(gathered)


def what_service(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add also the options that say what it is like."""

    @functools.wraps(command)
    def gathered(
        *args: Any, config_path: Path | None, is_user: bool, name: str, root: Path | None, account: str | None,
        no_socket: bool, program: Path | None, **rest: Any,
    ) -> Any:  # fmt: skip
        wishes = Wishes(
            is_user=is_user, name=name, root=root, config_path=config_path, account=account,
            has_socket=not no_socket, program=program,
        )  # fmt: skip
        return command(*args, wishes=wishes, **rest)

    for option in (
        click.option("--program", type=click.Path(path_type=Path), help="The program; this one, if left out."),
        click.option("--no-socket", is_flag=True, help="The daemon listens itself: while it starts anew, nobody does."),
        click.option("--account", metavar="USER", help="Run as this user, made if need be; else systemd makes one up."),
    ):
        gathered = option(gathered)
    option = click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        envvar="HOOKLINE_CONFIG",
        help="The configuration; else /etc/NAME/hookline.yaml, with --user ./hookline.yaml.",
    )
    return option(_with_place(gathered))


def _with_place(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="Write below this folder."),
        click.option("--name", default="hookline", show_default=True, help="Of the units: for several on one machine."),
        click.option("--user", "is_user", is_flag=True, help="A service of your own, in your user's manager."),
    ):
        command = option(command)
    return command


def need_root(wishes: Wishes) -> None:
    """End with the line to type where only root can go on."""
    if os.geteuid() != 0 and not wishes.is_user and wishes.root is None:
        words = shlex.join([str(own_program()), *sys.argv[1:]])
        fail(f"The machine's units are root's:\n  sudo {words}\nA service of your own: --user")


def own_program() -> Path:
    """Return this program's absolute path."""
    beside = Path(sys.executable).with_name("hookline")
    return beside if beside.exists() else Path(sys.argv[0]).absolute()


def prepare(wishes: Wishes) -> tuple[Service, Settings]:
    """Read the configuration and say what the service is made of; print what is wrong with it and exit 78."""
    machine = wishes.machine
    try:
        inside = wishes.config_path or Path("/etc", wishes.name, SYSTEM_CONFIG.name)
        if wishes.is_user:
            inside = find_config(wishes.config_path, os.environ)
        inside = inside.absolute()
        service = Service(
            name=wishes.name,
            program=(wishes.program or own_program()).absolute(),
            config=inside,
            is_user=wishes.is_user,
            has_socket=wishes.has_socket,
            account=wishes.account,
            resolvers=_resolvers(machine),
        )
        # As the service will see it.
        environ = {**os.environ, **({} if wishes.is_user else {"STATE_DIRECTORY": str(service.state)})}
        return service, load_settings(machine.below(inside), environ=environ, offline=True)
    except ConfigError as error:
        _fail_bad(error, wishes)


def _fail_bad(error: ConfigError, wishes: Wishes) -> NoReturn:
    print_problems(error.problems, error.sources, stream=sys.stderr)
    hint = "" if wishes.config_path or wishes.is_user else f" Write one: sudo hookline init /etc/{wishes.name}"
    fail(f"No good configuration, and nothing was changed.{'' if error.sources else hint}", EXIT_CONFIG)


def _resolvers(machine: Machine) -> tuple[str, ...]:
    file = Path("/etc/resolv.conf")
    if machine.root is not None or machine.is_user or not file.is_file():
        return ()
    return denied_resolvers(file.read_text("utf-8", "replace"))


def files_of(machine: Machine, service: Service, settings: Settings) -> list[ServiceFile]:
    """Return the files of the service; exit 78 where the configuration allows no unit."""
    try:
        return service_files(machine, service, unit_texts(service, settings))
    except UnitError as error:
        fail(f"{error}. Nothing was changed.", EXIT_CONFIG)
