"""The sandbox itself: it boots, says how the script ended, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.systemd.conftest import Systemd

pytestmark = pytest.mark.timeout(400)  # the first one builds and installs

GROUPS = Path("/sys/fs/cgroup")


@pytest.mark.slow
def test_installed_hookline_runs_as_a_user_who_may_read_no_home(systemd: Systemd) -> None:
    script = """
systemd-run --quiet --wait --pipe -p DynamicUser=yes -p ProtectHome=yes /opt/hookline/bin/hookline --version
cat /etc/hookline/greeting
stat -c %a /etc/hookline/credentials/NAME
echo written >/etc/hookline/greeting
"""
    files = {"/etc/hookline/greeting": "hello\n", "/etc/hookline/credentials/NAME": "s"}
    for _ in range(2):
        assert systemd.run(script, files=files).check().out.splitlines()[-2:] == ["hello", "600"]
    assert not Path("/etc/hookline/greeting").exists()


@pytest.mark.slow
def test_status_output_and_journal_of_a_script_that_fails(systemd: Systemd) -> None:
    result = systemd.run("echo some words; logger -t tester to-the-journal; exit 7")
    assert (result.status, result.out) == (7, "some words\n")
    assert "to-the-journal" in result.journal


@pytest.mark.slow
def test_a_script_that_hangs_is_ended_with_its_journal_and_all_its_processes(systemd: Systemd) -> None:
    result = systemd.run("logger -t tester was-here; exec -a sandbox-sleeper sleep 600", seconds=5)
    assert result.status == 124
    assert "was-here" in result.journal
    assert not [name for name in Path("/proc").glob("[0-9]*/cmdline") if b"sandbox-sleeper" in _read(name)]
    assert not [group for group in GROUPS.rglob("hookline-sandbox.*") if not _is_running(group)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _is_running(group: Path) -> bool:
    return Path("/proc", group.name.rpartition(".")[2]).exists()


def test_where_a_systemd_is_needed_its_absence_is_a_failure() -> None:
    assert "HOOKLINE_NEEDS_SYSTEMD=1" in (Path(__file__).parents[2] / ".ci" / "run").read_text()
