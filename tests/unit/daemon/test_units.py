"""What the units say, whether systemd takes it, and what is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hookline.daemon.commands import cli
from hookline.daemon.config.load import load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.systemd.install import Machine, ServiceFile
from hookline.daemon.systemd.obstacles import find_obstacles
from hookline.daemon.systemd.units import Service, UnitError, denied_resolvers, is_untouched, unit_texts

PROGRAM = Path(sys.executable).with_name("hookline")
needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")


def settings_of(folder: Path, config: str) -> Settings:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hookline.yaml").write_text(f"version: 1\n{config}")
    (folder / "rules").mkdir(exist_ok=True)
    return load_settings(folder / "hookline.yaml", environ={"STATE_DIRECTORY": "/var/lib/hookline"}, offline=True)


def lines_of(text: str, key: str) -> list[str]:
    return [line.removeprefix(f"{key}=") for line in text.splitlines() if line.startswith(f"{key}=")]


def texts_of(folder: Path, config: str = "", **service: object) -> tuple[str, str]:
    """Return the texts of the service and of the socket."""
    settings = settings_of(folder, config)
    made = Service(**({"name": "hookline", "program": PROGRAM, "config": settings.path} | service))  # type: ignore[arg-type]
    texts = unit_texts(made, settings)
    return texts[f"{made.name}.service"], texts.get(f"{made.name}.socket", "")


def verify(folder: Path, texts: dict[str, str], *options: str) -> str:
    """Return what systemd says against units."""
    (folder / "units").mkdir()
    for name, text in texts.items():
        (folder / "units" / name).write_text(text)
    environ = os.environ | {"XDG_RUNTIME_DIR": str(folder)}
    command: list[str | Path] = ["systemd-analyze", "verify", *options, *(folder / "units" / name for name in texts)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
    # Of other units of the machine it may say what it likes.
    said = [line for line in ended.stderr.splitlines() if "units/" in line or any(name in line for name in texts)]
    return "\n".join(said) + ("" if ended.returncode == 0 else f"\n{ended.returncode}: {ended.stderr}")


@needs_analyze
@pytest.mark.parametrize(
    ("config", "service", "options"),
    [
        ("", {}, ()),
        ("listen: ['127.0.0.1:8080', '[::1]:8080', 'unix:/run/hooks/public.sock', '192.0.2.1:80']\n", {}, ()),
        ("", {"account": "hooks", "has_socket": False, "resolvers": ("169.254.169.254",)}, ()),
        ("", {"is_user": True}, ("--user",)),
        ("", {"is_user": True, "has_socket": False}, ("--user",)),
    ],
)
def test_systemd_takes_the_units(
    tmp_path: Path, config: str, service: dict[str, object], options: tuple[str, ...]
) -> None:
    made, socket = texts_of(tmp_path / "a folder's 100%", config, **service)
    assert (
        verify(tmp_path, {"hookline.service": made} | ({"hookline.socket": socket} if socket else {}), *options) == ""
    )


def test_a_path_is_written_as_systemd_reads_it(tmp_path: Path) -> None:
    made, _ = texts_of(tmp_path / "a folder's 100% of $HOME")
    config = f"{tmp_path}/a folder's 100%% of $$HOME/hookline.yaml"
    assert lines_of(made, "ExecStart") == [f'{PROGRAM} run -c "{config}"']
    # No command line: nothing is expanded or taken apart but specifiers.
    folder = f"{tmp_path}/a folder's 100%% of $HOME/credentials"
    assert lines_of(made, "LoadCredential") == [f"credentials:{folder}"]


@needs_analyze
def test_what_systemd_does_not_take_is_seen_here(tmp_path: Path) -> None:
    made, _ = texts_of(tmp_path, has_socket=False)
    assert "Typo" in verify(tmp_path, {"hookline.service": made.replace("WatchdogSec=30", "Typo=30")})


@needs_analyze
@pytest.mark.parametrize("account", [None, "hooks"])
def test_the_exposure_is_at_most_1_5(tmp_path: Path, account: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = texts_of(tmp_path, account=account)
    (tmp_path / "hookline.service").write_text(made)
    command: list[str | Path] = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--threshold=15",
        tmp_path / "hookline.service",
    ]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    with capsys.disabled():
        sys.stdout.write(f"\n{ended.stdout.strip().splitlines()[-1]}\n")
    assert ended.returncode == 0, ended.stdout


def test_the_socket_listens_where_the_configuration_says(tmp_path: Path) -> None:
    listen = "listen: ['127.0.0.1:8080', 'localhost:8082', '[::]:8083', 'unix:/run/hooks/a%b.sock', '192.0.2.1:80']\n"
    made, socket = texts_of(tmp_path, listen)
    first, second, *rest = lines_of(socket, "ListenStream")
    assert (first, rest) == ("127.0.0.1:8080", ["[::]:8083", "/run/hooks/a%%b.sock", "192.0.2.1:80"])
    assert second in {"127.0.0.1:8082", "[::1]:8082"}
    assert lines_of(socket, "FileDescriptorName") == ["http"]
    assert lines_of(socket, "FreeBind") == ["yes"]
    assert lines_of(socket, "SocketMode") == ["0660"]
    assert lines_of(made, "Requires") == lines_of(made, "Also") == ["hookline.socket"]
    _, plain = texts_of(tmp_path, "listen: 0.0.0.0:8080\n")
    assert lines_of(plain, "FreeBind") == lines_of(plain, "SocketMode") == []


def test_a_port_that_is_not_known_cannot_be_listened_on_by_a_unit(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match="--no-socket"):
        texts_of(tmp_path, "listen: 127.0.0.1:0\n")
    made, socket = texts_of(tmp_path, "listen: 127.0.0.1:0\n", has_socket=False)
    assert socket == ""
    assert lines_of(made, "Requires") == lines_of(made, "ExecStopPost") == []


def test_what_it_may_take_follows_from_the_configuration(tmp_path: Path) -> None:
    made, _ = texts_of(tmp_path)
    found = [lines_of(made, key) for key in ("MemoryMax", "TasksMax", "LimitNOFILE")]
    assert found == [["1600M"], ["384"], ["16384"]]
    made, _ = texts_of(tmp_path, "workers: 4\nworker_memory: 1GiB\nlimits: {connections: 50000, in_flight: 128MiB}\n")
    found = [lines_of(made, key) for key in ("MemoryMax", "TasksMax", "LimitNOFILE")]
    assert found == [["8832M"], ["768"], ["104096"]]


def test_name_servers_at_a_metadata_address_stay_reachable(tmp_path: Path) -> None:
    text = "search x\nnameserver 169.254.169.254\nnameserver 127.0.0.53\n nameserver 168.63.129.16\nnameserver ::x\n"
    assert denied_resolvers(text) == ("169.254.169.254",)
    assert denied_resolvers("nameserver 168.63.129.16\nnameserver fd00:ec2::253\n") == ("168.63.129.16",)
    made, _ = texts_of(tmp_path, resolvers=("169.254.169.254",))
    assert lines_of(made, "IPAddressAllow") == ["169.254.169.254"]
    assert "169.254.0.0/16" in lines_of(made, "IPAddressDeny")[0]


def test_a_static_user_may_write_outside_the_state_folder_where_the_configuration_says(tmp_path: Path) -> None:
    config = "store: sqlite:/srv/hooks/a.db\nbackup: {to: /mnt/backup place}\n"
    made, _ = texts_of(tmp_path, config, account="hooks")
    assert lines_of(made, "ReadWritePaths") == ["/srv/hooks", '"/mnt/backup place"']
    assert (lines_of(made, "User"), lines_of(made, "DynamicUser")) == (["hooks"], [])
    assert lines_of(texts_of(tmp_path, config)[0], "ReadWritePaths") == []


def test_beside_a_database_it_writes_its_state_folder_alone_and_starts_after_a_server_here(tmp_path: Path) -> None:
    config = "store: postgresql://hookline@/hooks?host=/run/postgresql\n"
    made, _ = texts_of(tmp_path, config, account="hooks")
    assert lines_of(made, "ReadWritePaths") == []
    assert lines_of(made, "After")[0].split()[-1] == "postgresql.service"
    assert "postgresql" not in texts_of(tmp_path)[0]
    service = Service(name="hookline", program=PROGRAM, config=tmp_path / "hookline.yaml")
    found = [one for one in find_obstacles(service, settings_of(tmp_path, config), systemd=252) if not one.is_fatal]
    assert [(one.message.partition(" beside ")[0], one.hint.rpartition(", or ")[2]) for one in found] == [
        ("commands that you type look for the admin token", "write admin: {token: ${ADMIN_TOKEN}}")
    ]


def test_an_edited_file_is_told_from_one_of_ours(tmp_path: Path) -> None:
    old, new = (texts_of(tmp_path, f"listen: 127.0.0.1:{port}\n")[1] for port in (8080, 8090))
    assert is_untouched(old)
    assert not is_untouched(old.replace("Backlog=4096", "Backlog=1"))
    assert not is_untouched("[Socket]\n")

    def state(present: str | None) -> str:
        return ServiceFile(path=Path("x"), wanted=new, present=present).state

    assert [state(text) for text in (None, new, old, f"{old}#\n")] == ["absent", "current", "stale", "edited"]


def test_what_is_in_the_way_is_said_with_what_to_do(tmp_path: Path) -> None:
    def found(text: str = "", *, systemd: int = 252, **service: object) -> str:
        settings = settings_of(tmp_path, text)
        made = Service(**({"name": "hookline", "program": PROGRAM, "config": settings.path} | service))  # type: ignore[arg-type]
        return "\n".join(f"{one.message}; {one.hint}" for one in find_obstacles(made, settings, systemd=systemd))

    assert "systemd 249, and the units need 250" in found(systemd=249)
    assert "systemd" not in found(systemd=250)
    assert "only root may listen on; leave --no-socket out" in found("listen: 127.0.0.1:80\n", has_socket=False)
    assert "only root" not in found("listen: 127.0.0.1:80\n")
    assert "only root" in found("listen: 127.0.0.1:80\n", is_user=True)
    assert "/home/a/hookline.yaml lies in a home" in found(config=Path("/home/a/hookline.yaml"))
    assert "the program lies in /home/a/bin/hookline, and a service sees nobody's home; python3 -m venv /opt" in found(
        program=Path("/home/a/bin/hookline")
    )
    assert "/srv/x is not in /var/lib/hookline" in found("store: sqlite:/srv/x/a.db\n")
    assert "install -d -m 0700 -o hooks -g hooks /nonexistent/x" in found(
        "store: sqlite:/nonexistent/x/a.db\n", account="hooks"
    )
    assert "commands that you type look for the store beside" in found()
    assert found(is_user=True) == ""


def test_what_its_user_cannot_read_is_named_with_the_line_that_mends_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "etc", "")
    rule = tmp_path / "etc" / "rules" / "a.yaml"
    rule.write_text("rules: []\n")
    service = Service(name="hookline", program=PROGRAM, config=settings.path, account="root")

    def said() -> list[str]:
        return [one.hint for one in find_obstacles(service, settings, systemd=252) if "cannot be read" in one.message]

    for path in (tmp_path / "etc", rule.parent):
        path.chmod(0o755)
    rule.chmod(0o600)
    # Of a user who owns them.
    if os.geteuid() == 0:
        assert said() == []
    rule.chmod(0o000)
    hint = f"chmod go+rX {rule}"
    assert [text.endswith(hint) for text in said()] == [True]


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["service", *map(str, words)])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return the root of a tree with a configuration."""
    (tmp_path / "etc/hookline/rules").mkdir(parents=True)
    (tmp_path / "etc/hookline/hookline.yaml").write_text("version: 1\n")
    (tmp_path / "etc/hookline/rules/a.yaml").write_text("rules: []\n")
    return tmp_path


@pytest.fixture
def unit(tree: Path) -> Path:
    return tree / "etc/systemd/system/hookline.service"


def test_installing_twice_changes_nothing_and_says_so(tree: Path, unit: Path) -> None:
    first = run("install", "--root", tree, "--program", "/opt/hookline/bin/hookline")
    assert (first.exit_code, first.stdout) == (0, "")
    assert f"wrote {unit}\n" in first.stderr
    assert "systemctl enable --now hookline.socket hookline.service" in first.stderr
    text, stamp = unit.read_text(), unit.stat().st_mtime_ns
    assert lines_of(text, "ExecStart") == ["/opt/hookline/bin/hookline run -c /etc/hookline/hookline.yaml"]
    assert lines_of(text, "LoadCredential") == ["credentials:/etc/hookline/credentials"]
    assert (tree / "etc/hookline/credentials").stat().st_mode & 0o777 == 0o700
    second = run("install", "--root", tree, "--program", "/opt/hookline/bin/hookline")
    assert f"left {unit}, as it should be\n" in second.stderr
    assert "wrote" not in second.stderr
    assert unit.stat().st_mtime_ns == stamp
    status = run("status", "--root", tree)
    assert (status.exit_code, status.stdout.count(": as it should be\n")) == (0, 2)


def test_another_configuration_is_written_and_what_is_not_wanted_goes(tree: Path, unit: Path) -> None:
    assert run("install", "--root", tree, "--account", "hooks").exit_code == 0
    sysusers = tree / "etc/sysusers.d/hookline.conf"
    assert 'u hooks - "Hookline" /var/lib/hookline\n' in sysusers.read_text()
    (tree / "etc/hookline/hookline.yaml").write_text("version: 1\nworkers: 3\n")
    status = run("status", "--root", tree)
    assert (status.exit_code, "of another configuration" in status.stdout) == (1, True)
    said = run("install", "--root", tree, "--no-socket").stderr
    assert f"wrote {unit}, which was another\n" in said
    assert not sysusers.exists()
    assert sorted(path.name for path in unit.parent.iterdir()) == ["hookline.service"]


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_an_edited_unit_is_left_alone_unless_forced(tree: Path, unit: Path, command: str) -> None:
    assert run("install", "--root", tree).exit_code == 0
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=99"))
    socket = unit.with_suffix(".socket").read_text()
    said = run(command, "--root", tree)
    assert said.exit_code == 1
    assert f"{unit} was edited" in said.stderr
    assert ("-WatchdogSec=99\n+WatchdogSec=30\n" in said.stderr) == (command == "install")
    assert "WatchdogSec=99" in unit.read_text()
    assert unit.with_suffix(".socket").read_text() == socket
    assert run(command, "--root", tree, "--force").exit_code == 0
    assert (unit.exists() and "WatchdogSec=30" in unit.read_text()) == (command == "install")


@pytest.mark.parametrize(
    ("config", "rules", "code"),
    [
        ("version: 1\nlisten: nowhere\n", "rules: []\n", 78),
        ("version: 1\n", "rules: [{name: 1}]\n", 1),
        (None, "rules: []\n", 78),
    ],
)
def test_nothing_is_installed_for_what_is_bad(tree: Path, config: str | None, rules: str, code: int) -> None:
    (tree / "etc/hookline/rules/a.yaml").write_text(rules)
    file = tree / "etc/hookline/hookline.yaml"
    file.unlink()
    if config is not None:
        file.write_text(config)
    said = run("install", "--root", tree)
    assert (said.exit_code, said.stdout) == (code, "")
    assert (config is None) == ("sudo hookline init /etc/hookline" in said.stderr)
    assert not (tree / "etc/systemd").exists()


def test_uninstall_keeps_configuration_secrets_and_state(tree: Path, unit: Path) -> None:
    run("install", "--root", tree, "--account", "hooks")
    drop_in = unit.with_name("hookline.service.d")
    drop_in.mkdir()
    said = run("uninstall", "--root", tree)
    assert said.exit_code == 0
    assert list(unit.parent.iterdir()) == [drop_in]
    assert (tree / "etc/hookline/hookline.yaml").exists()
    assert (tree / "etc/hookline/credentials").is_dir()
    assert said.stderr.endswith(f"Kept: {tree}/etc/hookline, {tree}/var/lib/hookline, {drop_in}.\n")
    again = run("uninstall", "--root", tree)
    assert (again.exit_code, again.stderr) == (1, f"No service hookline in {unit.parent}.\n")


def test_print_writes_the_units_and_touches_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tree / "home"))
    before = sorted(tree.rglob("*"))
    said = run("print", "--root", tree, "--name", "hooks2", "-c", "/etc/hookline/hookline.yaml")
    assert said.exit_code == 0
    assert f"# {tree}/etc/systemd/system/hooks2.service\n# Written by" in said.stdout
    assert lines_of(said.stdout, "StateDirectory") == ["hooks2"]
    own = run("print", "--user", "-c", tree / "etc/hookline/hookline.yaml")
    assert f"# {tree}/home/systemd/user/hookline.service\n" in own.stdout
    assert lines_of(own.stdout, "WantedBy") == ["sockets.target", "default.target"]
    assert lines_of(own.stdout, "StateDirectory") == lines_of(own.stdout, "LoadCredential") == []
    assert sorted(tree.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ("--name", "Hook"),
        ("--name", "a/b"),
        ("--account", "0x"),
        ("--user", "--account", "me"),
        ("--user", "--root", "/x"),
    ],
)
def test_options_that_cannot_be(words: tuple[str, ...]) -> None:
    assert run("print", *words).exit_code == 2


def test_who_is_not_root_reads_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["hookline", "service", "install", "--name", "a b"])
    said = run("install")
    assert said.exit_code == 1
    assert f"  sudo {PROGRAM} service install --name 'a b'\n" in said.stderr


def test_a_folder_with_a_line_break_cannot_stand_in_a_unit(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match="control characters"):
        texts_of(tmp_path / "a\nb")


def test_the_version_of_systemd_is_a_number(tmp_path: Path) -> None:
    machine: Callable[..., Machine] = lambda **more: Machine(user_config=tmp_path, **more)  # noqa: E731
    version = machine().version()
    assert version is None or version > 200
    assert machine(root=tmp_path).is_live is False
