"""What `hookline doctor` makes of what it sees: each fault is found, named, and comes with a step; what is fine is fine."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hookline.daemon.config.settings import Address, Admin, Backup, Limits, Retention, Settings
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.clock import check_zones, judge_clock
from hookline.daemon.doctor.configuration import check_configuration, check_live
from hookline.daemon.doctor.destinations import judge_destination
from hookline.daemon.doctor.finding import Finding, listed, shortened, size_text, warn, wrong
from hookline.daemon.doctor.listeners import judge_admin, why_not_free
from hookline.daemon.doctor.process import check_daemon, check_limits
from hookline.daemon.doctor.program import check_python, check_sqlite
from hookline.daemon.doctor.room import Growth, growth_of, judge_file_system, judge_free
from hookline.daemon.doctor.secrets import SecretSight, judge_secrets
from hookline.daemon.doctor.service import judge_unit, unit_of
from hookline.daemon.doctor.sight import DaemonSight, Sight, UnitSight
from hookline.daemon.doctor.store import judge_backups
from hookline.daemon.store.disk import FileSystem, Room
from hookline.daemon.store.places import SqliteFile
from hookline.daemon.store.stored import Fact
from hookline.daemon.systemd.obstacles import Obstacle
from hookline.daemon.version import VERSION
from hookline.rules import Place, Problem

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MIB = 1 << 20
SETTINGS = Settings(
    path=Path("/etc/hookline/hookline.yaml"),
    listen=(Address(host="127.0.0.1", port=8080),),
    public_url=None,
    trusted_proxies=(),
    admin=Admin(listen=Address(host="127.0.0.1", port=8081), token=None),
    store=SqliteFile(Path("/var/lib/hookline/hookline.db")),
    state=Path("/var/lib/hookline"),
    rules=(),
    plugins=None,
    workers=1,
    retention=Retention(),
    limits=Limits(),
    vars={},
    sources={},
    destinations={},
)


def seen(**changes: Any) -> Sight:
    facts: dict[str, Any] = {"now": NOW, "config_path": None, "environ": {}, "uid": 0, "settings": SETTINGS}
    return Sight(**facts | changes)


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("version", "is_safe", "level"),
    [
        ((3, 10, 1), True, "wrong"),
        ((3, 11, 0), True, "ok"),
        ((3, 12, 1), False, "warn"),
        ((3, 13, 9), True, "ok"),
        ((3, 14, 0), True, "warn"),
    ],
)
def test_a_python_is_judged_by_its_version_and_its_mail(
    version: tuple[int, int, int], is_safe: bool, level: str
) -> None:
    assert check_python(version, is_email_safe=is_safe).level == level


@pytest.mark.parametrize(
    ("version", "level"), [((3, 36, 0), "wrong"), ((3, 40, 1), "warn"), ((3, 51, 2), "warn"), ((3, 51, 3), "ok")]
)
def test_a_sqlite_is_judged_by_its_faults(version: tuple[int, int, int], level: str) -> None:
    assert check_sqlite(version).level == level


@pytest.mark.parametrize(
    ("last", "is_set", "level", "text"),
    [
        (None, True, "ok", "synchronized"),
        (NOW - timedelta(hours=2), True, "ok", "2 h after the last event"),
        (NOW + timedelta(minutes=4), True, "ok", "synchronized"),
        (NOW + timedelta(hours=1), True, "wrong", "it was set back"),
        (None, False, "warn", "no time server"),
        (None, None, "ok", "nobody says"),
    ],
)
def test_a_clock_is_judged_by_the_kernel_and_what_is_stored(
    last: datetime | None, is_set: bool | None, level: str, text: str
) -> None:
    found = only(judge_clock(NOW, last, is_set=is_set))
    assert (found.level, text in found.text) == (level, True), found


def test_a_clock_of_another_age_is_wrong() -> None:
    assert only(judge_clock(NOW.replace(year=1970), None, is_set=True)).level == "wrong"


def test_a_missing_zone_database_is_wrong() -> None:
    assert only(check_zones(["UTC"])).level == "wrong"
    assert only(check_zones()).level == "ok"


FLOOR = 256 * MIB


@pytest.mark.parametrize(
    ("free", "growth", "level", "text"),
    [
        (FLOOR, None, "wrong", "nothing is accepted"),
        (FLOOR + MIB, None, "warn", "nothing is accepted any more"),
        (100 * FLOOR, None, "ok", "25 GB free"),
        (FLOOR + 100 * MIB, Growth(bytes_a_day=100 * MIB, still_to_come=1 << 40), "wrong", "full in about 1 day"),
        (FLOOR + 1000 * MIB, Growth(bytes_a_day=100 * MIB, still_to_come=1 << 40), "warn", "full in about 10 days"),
        (FLOOR + 9000 * MIB, Growth(bytes_a_day=100 * MIB, still_to_come=1 << 40), "ok", "full in about 90 days"),
        (FLOOR + 100 * MIB, Growth(bytes_a_day=100 * MIB, still_to_come=50 * MIB), "ok", "all that `retention` keeps"),
    ],
)
def test_room_is_judged_by_the_floor_and_the_growth(free: int, growth: Growth | None, level: str, text: str) -> None:
    room = Room(free_bytes=free, size_bytes=1 << 40, is_read_only=False)
    found = judge_free(room, FLOOR, Path("/var/lib/hookline"), growth)
    assert (found.level, text in found.text) == (level, True), found


def test_a_disk_that_became_read_only_is_wrong() -> None:
    room = Room(free_bytes=1 << 40, size_bytes=1 << 40, is_read_only=True)
    assert judge_free(room, FLOOR, Path("/x"), None).level == "wrong"


def test_growth_is_reckoned_from_what_the_store_holds() -> None:
    # 10,000 events take 100 MB; 1,000 come a day; after 30 days of them there will be 300 MB.
    growth = growth_of(used=100_000_000, free_inside=0, kept=10_000, a_day=1000, retention=timedelta(days=30))
    assert growth == Growth(bytes_a_day=10_000_000, still_to_come=200_000_000)
    assert growth_of(used=100_000_000, free_inside=0, kept=10_000, a_day=1, retention=timedelta(days=30)) is None
    full = growth_of(used=300_000_000, free_inside=50, kept=30_000, a_day=1000, retention=timedelta(days=30))
    assert full is not None
    assert full.still_to_come == 0


@pytest.mark.parametrize(("kind", "level"), [("nfs4", "wrong"), ("fuse.sshfs", "wrong"), ("tmpfs", "warn")])
def test_a_file_system_that_does_not_keep_what_it_is_given_is_told_of(kind: str, level: str) -> None:
    assert only(judge_file_system(FileSystem(type=kind, at="/"), Path("/var"))).level == level
    assert judge_file_system(FileSystem(type="ext4", at="/"), Path("/var")) == []


def fact(value: Any, age: timedelta) -> Fact:
    return Fact(value=value, at=NOW - age)


DAY = timedelta(days=1)
PLAN = Backup(to=Path("/backups"), every=DAY)


@pytest.mark.parametrize(
    ("plan", "last", "is_empty", "level"),
    [
        (None, None, False, "warn"),
        (None, None, True, "ok"),
        (None, fact({"at": (NOW - 2 * DAY).isoformat()}, 2 * DAY), False, "ok"),
        (None, fact({"at": (NOW - 8 * DAY).isoformat()}, 8 * DAY), False, "warn"),
        (PLAN, fact({"at": (NOW - DAY).isoformat()}, DAY), False, "ok"),
        (PLAN, fact({"at": (NOW - 3 * DAY).isoformat()}, 3 * DAY), False, "wrong"),
        (replace(PLAN, every=30 * DAY), fact({"at": (NOW - 20 * DAY).isoformat()}, 20 * DAY), False, "ok"),
        (PLAN, fact({"ok": False, "why": "no room"}, DAY), False, "wrong"),
    ],
)
def test_backups_are_judged_by_their_age_and_the_plan(
    plan: Backup | None, last: Fact | None, is_empty: bool, level: str
) -> None:
    found = only(judge_backups(seen(), replace(SETTINGS, backup=plan), last, is_empty=is_empty))
    assert found.level == level, found
    assert (found.fix == "") == (level == "ok")


def test_secrets_are_judged_and_never_shown(tmp_path: Path) -> None:
    values = {
        "GOOD": "p3Wq-8sLx-0vTz-77",
        "EMPTY": "",
        "PLACE": "changeme",
        "SHORT": "k3y9",
        "ENDED": "p3Wq-8sLx-0vTz-78 \n",
        "TWIN_A": "p3Wq-8sLx-0vTz-79",
        "TWIN_B": "p3Wq-8sLx-0vTz-79",
        "UNSET": None,
    }
    sights = [SecretSight(name=name, value=value) for name, value in values.items()]
    sights.append(SecretSight(name="OPEN", value=None, why="/x/OPEN can be read by others: chmod 600 /x/OPEN"))
    sights.append(SecretSight(name="SHUT", value=None, why="cannot read /x/SHUT", is_forbidden=True))
    found = judge_secrets(sights, folder=tmp_path, is_whole=True, step="sudo hookline doctor")
    levels = {finding.text.split(" ")[0].rstrip(":,"): finding.level for finding in found}
    assert levels == {
        "EMPTY": "wrong",
        "PLACE": "wrong",
        "SHORT": "warn",
        "ENDED": "warn",
        "UNSET": "wrong",
        "OPEN": "wrong",
        "SHUT": "warn",
        "TWIN_A": "warn",
    }
    assert next(one.fix for one in found if one.text.startswith("OPEN")) == "chmod 600 /x/OPEN"
    shown = "".join(f"{one.text}{one.fix}" for one in found)
    assert not [value for value in values.values() if value and value in shown]


def test_a_secret_that_the_daemon_may_have_is_not_said_to_be_missing(tmp_path: Path) -> None:
    unset = [SecretSight(name="UNSET", value=None)]
    found = only(judge_secrets(unset, folder=tmp_path, is_whole=False, step="sudo hookline doctor"))
    assert (found.level, found.fix) == ("warn", "sudo hookline doctor")


def state(**changes: Any) -> dict[str, Any]:
    return {
        "destination": "erp", "waiting": 0, "oldest_due_at": None, "held": False, "reason": "", "failing_since": None,
        "configured": True, "state": "ok", "live": None, "delivered_24h": 1, "failed_24h": 0,
    } | changes  # fmt: skip


OLD = (NOW - timedelta(hours=3)).isoformat()


@pytest.mark.parametrize(
    ("changes", "level", "text", "fix"),
    [
        ({"waiting": 2, "oldest_due_at": NOW.isoformat()}, None, "", ""),
        ({"waiting": 2, "oldest_due_at": OLD, "state": "maintenance"}, None, "", ""),
        ({"waiting": 212, "oldest_due_at": OLD}, "warn", "212 waiting, oldest 3 h", "deliveries --destination erp"),
        ({"waiting": 212, "oldest_due_at": OLD, "failing_since": OLD}, "wrong", "fails since 3 h ago", "deliveries"),
        ({"failing_since": OLD, "live": {"breaker": "open"}}, "wrong", "breaker open", "deliveries"),
        ({"held": True, "reason": "by ada"}, "warn", "held: by ada", "hookline release erp"),
        ({"configured": False, "waiting": 1}, "wrong", "not in the configuration", "deliveries"),
    ],
)
def test_destinations_are_judged_by_what_waits(
    changes: Mapping[str, Any], level: str | None, text: str, fix: str
) -> None:
    found = judge_destination(state(**changes), seen())
    assert (found and found.level) == level
    if found:
        assert text in found.text
        assert fix in found.fix


@pytest.mark.parametrize(
    ("host", "level"),
    [
        ("127.0.0.1", None),
        ("::1", None),
        ("localhost", None),
        ("0.0.0.0", "wrong"),
        ("8.8.8.8", "wrong"),
        ("192.168.1.4", "warn"),
    ],
)
def test_an_admin_listener_that_others_reach_is_told_of(host: str, level: str | None) -> None:
    found = judge_admin(Address(host=host, port=8081))
    assert [one.level for one in found] == ([level] if level else [])


def test_an_address_is_free_taken_or_not_of_this_machine(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address(host="127.0.0.1", port=taken.getsockname()[1])
        assert why_not_free(address) == errno.EADDRINUSE
    assert why_not_free(address) is None
    assert why_not_free(Address(host="192.0.2.1", port=8080)) == errno.EADDRNOTAVAIL
    assert why_not_free(Address(unix=tmp_path / "s")) is None
    assert why_not_free(Address(unix=tmp_path / "no" / "s")) == errno.ENOENT


READY = DaemonSight(pid=7, ready=(200, {"status": "ready"}), status={"version": VERSION, "rules": "abc"})


def test_a_daemon_is_judged_by_what_it_answers() -> None:
    assert only(check_daemon(seen(daemon=READY))).level == "ok"
    trouble = (503, {"status": "not ready", "store": {"kind": "disk_full", "why": "the disk is full: make room"}})
    full = only(check_daemon(seen(daemon=replace(READY, ready=trouble))))
    assert full.level == "wrong"
    assert "the disk is full: make room" in full.text
    other = only(check_daemon(seen(daemon=replace(READY, status={"version": "0.0.1"}))))
    assert (other.level, "Hookline 0.0.1" in other.text) == ("warn", True)
    mute = only(check_daemon(seen(daemon=replace(READY, status=None, forbidden="/x may not be read by this user"))))
    assert (mute.level, mute.fix) == ("warn", "sudo hookline doctor")
    assert only(check_daemon(seen())).level == "wrong"
    assert only(check_daemon(seen(daemon=Failed(why="gave no answer within 15 s")))).level == "warn"


def test_what_runs_is_compared_with_what_is_on_disk() -> None:
    bad = replace(READY, status={"version": VERSION, "rules": "abc", "degraded": ["rules/a.yaml:1:1: no"]})
    found = only(check_live(seen(daemon=bad)))
    assert (found.level, "rules/a.yaml:1:1: no" in found.text) == ("wrong", True)
    restart = replace(READY, status={"version": VERSION, "rules": "abc", "restart": ["listen"]})
    assert only(check_live(seen(daemon=restart))).level == "warn"
    assert only(check_live(seen(daemon=READY))).level == "ok"
    assert check_live(seen()) == []


def test_too_few_files_are_wrong_and_enough_are_not() -> None:
    few = replace(READY, most_files=1024, open_files=20)
    assert only(check_limits(seen(daemon=few))).level == "wrong"
    assert only(check_limits(seen(daemon=replace(few, most_files=65536)))).level == "ok"
    assert only(check_limits(seen(daemon=replace(few, most_files=2000, open_files=1900)))).level == "warn"


def test_a_configuration_that_cannot_be_used_is_wrong() -> None:
    problem = Problem(place=Place("hookline.yaml", 3, 1), path="listen", message='"x" is not an address')
    found = only(check_configuration(seen(settings=Failed(why=str(problem)), problems=(problem,))))
    assert (found.level, found.fix) == ("wrong", "hookline check")
    assert "hookline.yaml:3:1" in found.text


PROPERTIES = {
    "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "Type": "notify",
    "WatchdogUSec": "30s", "NRestarts": "0", "Result": "success", "ExecMainStatus": "0",
}  # fmt: skip


def unit(score: float | None = 1.2, *, socket: Mapping[str, str] | None = None, **changes: str) -> UnitSight:
    return UnitSight(name="hookline.service", properties=PROPERTIES | changes, socket=socket or {}, score=score)


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({}, "ok", "notify, watchdog 30s, security score 1.2"),
        ({"LoadState": "not-found"}, "warn", "no hookline.service"),
        ({"LoadState": "masked"}, "wrong", "masked"),
        ({"ActiveState": "failed", "ExecMainStatus": "78"}, "wrong", "ended with 78"),
        ({"ActiveState": "failed", "Result": "watchdog"}, "wrong", "failed (watchdog"),
        ({"ActiveState": "inactive"}, "wrong", "not started"),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "warn", "auto-restart"),
        ({"NRestarts": "12"}, "warn", "12 times"),
        ({"UnitFileState": "disabled"}, "warn", "does not start with the machine"),
        ({"NeedDaemonReload": "yes"}, "warn", "has not read it"),
        ({"score": 4.2}, "warn", "security score 4.2"),
    ],
)
def test_a_unit_is_judged_by_what_systemd_says(changes: Mapping[str, Any], level: str, text: str) -> None:
    score = changes.get("score", 1.2)
    found = only(judge_unit(unit(score, **{key: value for key, value in changes.items() if key != "score"}), seen()))
    assert (found.level, text in found.text) == (level, True), found
    assert (found.fix == "") == (level == "ok")


def test_a_service_that_its_socket_starts_is_fine() -> None:
    listening = {"ActiveState": "active", "Id": "hookline.socket", "UnitFileState": "enabled"}
    found = only(judge_unit(unit(socket=listening, ActiveState="inactive", UnitFileState="disabled"), seen()))
    assert (found.level, "hookline.socket listens" in found.text) == ("ok", True)


def test_unit_files_of_another_version_or_hand_are_told_of() -> None:
    path = "/etc/systemd/system/hookline.service"
    for state_, fix in (("stale", "sudo hookline service install"), ("edited", "systemctl edit")):
        found = only(judge_unit(replace(unit(), files={path: state_}), seen()))
        assert (found.level, fix in found.fix) == ("warn", True)
    assert only(judge_unit(replace(unit(), files={path: "current"}), seen())).level == "ok"
    obstacle = Obstacle(message="the program lies in /root", hint="move it")
    assert only(judge_unit(replace(unit(), obstacles=(obstacle,)), seen())).level == "wrong"


@pytest.mark.parametrize(
    ("cgroup", "name"),
    [
        ("0::/system.slice/hookline.service\n", "hookline.service"),
        ("0::/system.slice/hookline-b.service/sub\n", "hookline-b.service"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/x.scope\n", None),
        ("0::/\n", None),
    ],
)
def test_the_unit_of_a_daemon_is_found_by_its_control_group(tmp_path: Path, cgroup: str, name: str | None) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(cgroup)
    assert unit_of(7, tmp_path) == name
    assert unit_of(8, tmp_path) is None
    assert unit_of(None, tmp_path) is None


def test_numbers_are_written_for_people() -> None:
    assert [size_text(size) for size in (12, 4096, 3 * MIB // 2, 1 << 36)] == ["12 bytes", "4.0 kB", "1.5 MB", "64 GB"]
    assert listed("abcdef") == "a, b, c, d and 2 more"


def test_of_many_the_first_are_shown_and_the_rest_counted() -> None:
    many = [*(warn("destinations", f"d{number}", "x") for number in range(39)), wrong("destinations", "last", "x")]
    found = shortened(many, "hookline destinations")
    assert found[:20] == many[:20]
    assert found[20:] == [wrong("destinations", "and 20 more", "hookline destinations")]
    assert shortened(many[:21], "x") == many[:21]
