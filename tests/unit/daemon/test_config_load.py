"""The configuration: found, read, checked, filled in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookline.daemon.config import load
from hookline.daemon.config.listen import do_clash, parse_address
from hookline.daemon.config.load import MAX_CONFIG_BYTES, ConfigError, find_config, load_settings
from hookline.daemon.config.settings import Address, Backup, Limits, Logging, Retention, Settings
from hookline.daemon.store.places import SqliteFile
from hookline.rules import Bounds, Breaker, Modifiers, Once, Problem, Rate, RetryPolicy
from hookline.rules.problem import with_excerpt

ACTIONS = {"forward", "slack", "email", "log"}

WHOLE = """\
version: 1
listen: [127.0.0.1:8080, "[::1]:8080", "unix:run/public.sock"]
public_url: https://hooks.example.com/in/
trusted_proxies: [127.0.0.1, 10.0.0.0/8, "fd00::/8"]
admin:
  listen: 127.0.0.1:9000
  token: ${ADMIN_TOKEN}
  hosts: [Hookline.example.com, "fd00::1"]
store: sqlite:data/hookline.db
rules: [rules, extra/one.yaml]
workers: 0
retention: {events: 7d, dedupe: 30d, dead: 60d}
limits: {body: 2MiB, connections: 50, in_flight: 8MiB, body_timeout: 20s, batch: 10, free_space: 64MiB}
backup: {to: copies, every: 6h, keep: 3}
log: {level: warning, format: text}
vars: {team: [ada, grace], host: erp.example.com, price: "$${x}"}
sources:
  agiled: {type: agiled, secret: "${AGILED_SECRET}"}
  try: {type: generic, verify: none, path_token: "${file:path-token}", expect_every: 7d}
destinations:
  erp:
    forward: {url: "https://${vars.host}/hooks", secret: "${ERP_SECRET}"}
    concurrency: 4
    timeout: 15s
    dry_run: true
    retry: {schedule: [5s, 1m], jitter: 10%}
    allow_networks: [10.0.0.0/8]
  archive: {log: }
"""
ENVIRON = {"ADMIN_TOKEN": "admin-token", "AGILED_SECRET": "agiled-secret", "ERP_SECRET": "erp-secret"}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    (tmp_path / "path-token").write_text("a-path-token-long-enough\n")

    def written(text: str) -> Path:
        path = tmp_path / "hookline.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def read(path: Any, environ: Mapping[str, str] = ENVIRON, **options: Any) -> Settings:
    return load_settings(path, environ=environ, actions=ACTIONS, **options)


def mistakes(path: Any, environ: Mapping[str, str] = ENVIRON, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(path, environ, **options)
    return [str(problem).replace(f"{path}:", "") for problem in caught.value.problems]


def test_everything_that_can_be_written_is_read(write: Callable[[str], Path], tmp_path: Path) -> None:
    found = read(write(WHOLE))
    assert found.path == tmp_path / "hookline.yaml"
    assert [str(address) for address in found.listen] == [
        "127.0.0.1:8080", "[::1]:8080", f"unix:{tmp_path}/run/public.sock",
    ]  # fmt: skip
    assert found.public_url == "https://hooks.example.com/in"
    assert found.trusted_proxies == (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert (found.admin.listen, found.admin.token) == (Address(host="127.0.0.1", port=9000), "admin-token")
    assert found.admin.hosts == ("hookline.example.com", "fd00::1")
    assert (found.store, found.state) == (SqliteFile(tmp_path / "data" / "hookline.db"), tmp_path / "data")
    assert found.rules == (tmp_path / "rules", tmp_path / "extra" / "one.yaml")
    assert (found.plugins, found.workers) == (None, 0)
    assert found.retention == Retention(events=timedelta(days=7), dedupe=timedelta(days=30), dead=timedelta(days=60))
    assert found.limits == Limits(
        body_bytes=2 << 20,
        connections=50,
        in_flight_bytes=8 << 20,
        body_timeout=timedelta(seconds=20),
        batch=10,
        free_space_bytes=64 << 20,
    )
    assert found.backup == Backup(to=tmp_path / "copies", every=timedelta(hours=6), keep=3)
    assert found.log == Logging(level="warning", format="text")
    assert found.vars == {"team": ["ada", "grace"], "host": "erp.example.com", "price": "${x}"}
    assert found.sources["agiled"].options == {"secret": "agiled-secret"}
    assert found.sources["try"].options == {
        "verify": "none",
        "path_token": "a-path-token-long-enough",
        "expect_every": "7d",
    }
    assert found.warnings == ()


def test_a_destination_keeps_its_references_as_written(write: Callable[[str], Path]) -> None:
    erp = read(write(WHOLE)).destinations["erp"]
    assert erp.options == {"url": "https://${vars.host}/hooks", "secret": "${ERP_SECRET}"}
    assert (erp.action, erp.concurrency, erp.allow_networks) == ("forward", 4, (ip_network("10.0.0.0/8"),))
    retry = RetryPolicy(schedule=(timedelta(seconds=5), timedelta(minutes=1)), jitter=0.1)
    assert erp.modifiers == Modifiers(retry=retry, timeout=timedelta(seconds=15), dry_run=True)
    assert erp.place is not None
    assert erp.place.line == 22


def test_a_destination_that_says_nothing_has_defaults(write: Callable[[str], Path]) -> None:
    archive = read(write(WHOLE)).destinations["archive"]
    assert (archive.options, archive.modifiers, archive.concurrency) == ({}, Modifiers(), 8)


def test_a_version_is_all_that_must_be_written(write: Callable[[str], Path], tmp_path: Path) -> None:
    found = read(write("version: 1\nsources:\ndestinations:\n"))
    assert str(found.listen[0]) == "127.0.0.1:8080"
    assert str(found.admin.listen) == "127.0.0.1:8081"
    assert found.admin.token is None
    assert found.public_url is None
    assert (found.store, found.rules) == (SqliteFile(tmp_path / "hookline.db"), (tmp_path / "rules",))
    assert (found.retention, found.limits, found.workers) == (Retention(), Limits(), 1)
    assert (found.sources, found.destinations, found.vars) == ({}, {}, {})


def test_no_secret_is_in_the_settings_representation(write: Callable[[str], Path]) -> None:
    shown = repr(read(write(WHOLE)))
    assert not any(secret in shown for secret in (*ENVIRON.values(), "a-path-token-long-enough"))


def test_a_relative_store_lies_under_the_state_directory(write: Callable[[str], Path], tmp_path: Path) -> None:
    path = write("version: 1\nstore: sqlite:hookline.db\n")
    assert read(path, {"STATE_DIRECTORY": "/var/lib/hookline:/var/lib/other"}).store == SqliteFile(
        Path("/var/lib/hookline/hookline.db")
    )
    absolute = write("version: 1\nstore: sqlite:/srv/x.db\n")
    assert read(absolute, {"STATE_DIRECTORY": "/var/lib/hookline"}).store == SqliteFile(Path("/srv/x.db"))
    assert read(write("version: 1\n"), {"STATE_DIRECTORY": "/s"}).store == SqliteFile(Path("/s/hookline.db"))


@pytest.mark.parametrize(
    ("config", "environ", "state"),
    [
        ("/etc/hookline/hookline.yaml", {}, "/var/lib/hookline"),
        ("/etc/hooks2/hookline.yaml", {}, "/var/lib/hooks2"),
        ("/etc/hookline/hookline.yaml", {"STATE_DIRECTORY": "/srv/state"}, "/srv/state"),
        ("/etc/hookline/other.yaml", {}, "/etc/hookline"),
        ("/etc/hookline.yaml", {}, "/etc"),
        ("/srv/hookline/hookline.yaml", {}, "/srv/hookline"),
    ],
)
def test_who_types_a_command_sees_the_store_of_the_service(config: str, environ: dict[str, str], state: str) -> None:
    assert load.state_folder(Path(config), environ) == Path(state)


def test_the_plugins_folder_is_taken_if_it_is_there_and_its_actions_are_known(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "plugins").mkdir()
    for name in ("discord.py", "_shared.py", "notes.txt"):
        (tmp_path / "plugins" / name).write_text("")
    path = write("version: 1\ndestinations: {a: {discord: {}}, b: {log: {}}, c: {_shared: {}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ={})
    (problem,) = caught.value.problems
    assert problem.message == 'no action or modifier "_shared"'
    assert problem.hint is not None
    assert "discord" in problem.hint


def test_a_plugins_folder_that_is_named_must_be_there(write: Callable[[str], Path], tmp_path: Path) -> None:
    assert mistakes(write("version: 1\nplugins: plugs\n")) == [
        f"2:10: plugins: {tmp_path}/plugs is not a folder; create it, or remove the key"
    ]


def test_offline_an_unset_secret_is_a_warning_and_causes_no_other_complaint(write: Callable[[str], Path]) -> None:
    found = read(write(WHOLE), {}, offline=True)
    assert [problem.severity for problem in found.warnings] == ["warning"] * 3
    assert [problem.path for problem in found.warnings] == [
        "admin.token", "sources.agiled.secret", "destinations.erp.forward.secret",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [
        'type: stripe, secret: ["${OLD}", "${NEW}"]',
        'type: svix, secret: ["${OLD}", "${NEW}"]',
        'type: pipedrive, username: me, password: ["${OLD}"]',
        'type: sns, topics: ["${OLD}"]',
        'type: twilio, secret: long-enough, public_url: "${OLD}"',
    ],
)
def test_offline_an_unset_secret_in_a_list_causes_no_other_complaint(write: Callable[[str], Path], source: str) -> None:
    found = read(write(f"version: 1\nsources: {{x: {{{source}}}}}\n"), {}, offline=True)
    assert {problem.message for problem in found.warnings} <= {"${OLD} is not set", "${NEW} is not set"}
    assert found.warnings


def test_of_several_secrets_each_bad_one_is_told(write: Callable[[str], Path]) -> None:
    path = write('version: 1\nsources: {x: {type: svix, secret: ["${OLD}", "whsec_a=b=c=d=", short]}}\n')
    unset, too_short = mistakes(path, {}, offline=True)
    assert "sources.x.secret[0]: ${OLD} is not set" in unset
    assert "sources.x.secret[2]: secret 3 of 3 is shorter than 8 characters" in too_short


def test_a_secret_with_its_prefix_is_told_what_is_wrong_with_it(write: Callable[[str], Path]) -> None:
    path = write('version: 1\nsources: {x: {type: svix, secret: "${S}"}}\n')
    (told,) = mistakes(path, {"S": "whsec_no!base64!"})
    assert told.endswith("sources.x.secret: a secret is not base64 after its prefix; was it copied whole?")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{hubspot: {secret: x}}", "the source has no type; write type: hubspot, and its options beside it"),
        ("{type: [a, b]}", "expected the name of a source type, got a list; write one type"),
        ("hubspot", 'got the text "hubspot"; write at least its type, as in {type: agiled, …}'),
    ],
)
def test_what_is_no_type_is_told(write: Callable[[str], Path], source: str, expected: str) -> None:
    (told,) = mistakes(write(f"version: 1\nsources: {{x: {source}}}\n"), {})
    assert expected in told


def test_offline_a_malformed_reference_or_an_unknown_variable_is_still_an_error(write: Callable[[str], Path]) -> None:
    assert (
        len(mistakes(write('version: 1\npublic_url: "${vars.x}"\nadmin: {token: "${a b}"}\n'), {}, offline=True)) == 2
    )


def test_an_unset_name_is_reported_once_and_its_consequences_not_at_all(write: Callable[[str], Path]) -> None:
    assert mistakes(write('version: 1\npublic_url: "${URL}"\nlisten: "${LISTEN}"\nstore: "${S}"\n'), {}) == [
        "2:13: public_url: ${URL} is not set; looked in $CREDENTIALS_DIRECTORY, the environment and credentials/ for URL",
        "3:9: listen: ${LISTEN} is not set; looked in $CREDENTIALS_DIRECTORY, the environment and credentials/ for LISTEN",
        "4:8: store: ${S} is not set; looked in $CREDENTIALS_DIRECTORY, the environment and credentials/ for S",
    ]


@pytest.mark.parametrize(
    "text",
    [
        'public_url: "ftp://${SECRET}"', 'listen: "${SECRET}"', 'admin: {token: "${SECRET}"}', 'limits: {body: "${SECRET}"}',
        'trusted_proxies: ["${SECRET}"]', 'sources: {a: {type: generic, verify: {scheme: "${SECRET}"}}}',
        'destinations: {a: {log: {}, timeout: "${SECRET}"}}', 'workers: "${SECRET}"', 'store: "${SECRET}"',
    ],
)  # fmt: skip
def test_no_message_shows_what_a_secret_is(write: Callable[[str], Path], text: str) -> None:
    problems = mistakes(write(f"version: 1\n{text}\n"), {"SECRET": "hunter 2é"})
    assert problems
    assert not any("hunter" in problem for problem in problems)


def test_a_variable_keeps_its_type_and_may_stand_inside_a_text(write: Callable[[str], Path]) -> None:
    text = 'version: 1\nvars: {most: 7, port: 9999, nets: [10.0.0.0/8]}\nlimits: {connections: "${vars.most}"}\n'
    found = read(write(text + 'listen: "127.0.0.1:${vars.port}"\ntrusted_proxies: "${vars.nets}"\n'))
    assert (found.limits.connections, found.listen[0].port) == (7, 9999)
    assert found.trusted_proxies == (ip_network("10.0.0.0/8"),)


def test_workers_and_what_they_may_do(write: Callable[[str], Path]) -> None:
    found = read(write("version: 1\n"))
    assert (found.workers, found.worker_memory_bytes, found.allow_commands) == (1, 512 << 20, False)
    found = read(write("version: 1\nworkers: 32\nworker_memory: 128MiB\nallow_commands: true\n"))
    assert (found.workers, found.worker_memory_bytes, found.allow_commands) == (32, 128 << 20, True)


def test_a_destination_has_bounds_and_defaults_for_its_rules(write: Callable[[str], Path]) -> None:
    text = """\
version: 1
vars: {quiet: "sat UTC"}
destinations:
  plain: {log: }
  erp:
    log:
    rate: 50/s
    breaker: {share: 30%, of: 5}
    hold: {during: "${vars.quiet}"}
    failure_budget: 3d
    order_by: [tenant, $.id]
    once: {per: $.id, within: 10m}
"""
    found = read(write(text)).destinations
    assert (found["plain"].bounds, found["plain"].modifiers) == (Bounds(), Modifiers())
    assert found["erp"].bounds == Bounds(
        rate=Rate(50, timedelta(seconds=1)),
        breaker=Breaker(share=0.3, least=5),
        hold_during=("sat UTC",),
        failure_budget=timedelta(days=3),
    )
    assert found["erp"].modifiers == Modifiers(
        order_by=("tenant", "$.id"), once=Once(per=("$.id",), within=timedelta(minutes=10))
    )


def test_problems_come_with_an_excerpt_and_a_caret(write: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(write("version: 1\nworkers: 50\n"))
    (problem,) = caught.value.problems
    assert with_excerpt(problem, caught.value.sources).splitlines()[1:] == [
        "    2 | workers: 50",
        "      |          ^^",
    ]


def test_warnings_alone_do_not_keep_the_configuration_from_loading(write: Callable[[str], Path]) -> None:
    found = read(write("version: 1\nvars: {a: b #c\n}\n"))
    assert [problem.severity for problem in found.warnings] == ["warning"]


def test_a_file_that_is_not_there_is_named_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "hookline.yaml")
    assert str(caught.value) == (
        f"cannot read {tmp_path}/hookline.yaml: No such file or directory; hookline init writes one"
    )


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "large"])
def test_only_a_regular_file_of_bounded_size_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hookline.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    (problem,) = mistakes(path)
    assert ("is larger than" if kind == "large" else "is not a regular file") in problem


def test_the_configuration_is_found_as_told_then_by_environment_then_here_then_in_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(load, "SYSTEM_CONFIG", tmp_path / "etc.yaml")
    with pytest.raises(ConfigError, match=r"no configuration.*hookline init writes one"):
        find_config(None, {})
    (tmp_path / "etc.yaml").touch()
    assert find_config(None, {}) == tmp_path / "etc.yaml"
    (tmp_path / "hookline.yaml").touch()
    assert find_config(None, {}) == Path("hookline.yaml")
    assert find_config(None, {"HOOKLINE_CONFIG": "x.yaml"}) == Path("x.yaml")
    assert find_config(Path("y.yaml"), {"HOOKLINE_CONFIG": "x.yaml"}) == Path("y.yaml")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address(host="127.0.0.1", port=8080)),
        ("localhost:0", Address(host="localhost", port=0)),
        ("[::1]:80", Address(host="::1", port=80)),
        ("unix:/run/x.sock", Address(unix=Path("/run/x.sock"))),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address) -> None:
    assert parse_address(text, Path("/etc/hookline")) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("8080", "write 127.0.0.1:8080"), (":8080", "write 127.0.0.1:8080, or 0.0.0.0:8080"), ("::1:8080", r"write \[::1\]:8080"),
        ("http://x:80", "without a scheme"), ("localhost", "write localhost:8080"), ("a b:80", "write host:port"),
        ("x:65536", "ports end at 65535"), ("[::g]:1", "write host:port"), ("[1.2.3]:1", "is not an IPv6 address"), ("unix:", "not the path of a socket"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_address_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_address(text, Path("/etc/hookline"))


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True), ("127.0.0.1:1", "127.0.0.1:2", False), ("0.0.0.0:1", "127.0.0.1:1", True),
        ("127.0.0.1:0", "127.0.0.1:0", False), ("10.0.0.1:1", "127.0.0.1:1", False), ("[::]:1", "127.0.0.1:1", True),
        ("unix:/a", "unix:/a", True), ("unix:/a", "127.0.0.1:1", False),
    ],
)  # fmt: skip
def test_two_addresses_clash_if_both_cannot_be_had(one: str, other: str, clash: bool) -> None:
    assert do_clash(parse_address(one, Path()), parse_address(other, Path())) is clash
    assert do_clash(parse_address(other, Path()), parse_address(one, Path())) is clash


LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
KEYS = st.sampled_from(
    ["version", "listen", "public_url", "trusted_proxies", "admin", "store", "rules", "plugins", "workers", "retention", "limits",
     "backup", "keep", "level", "format", "vars", "sources", "destinations", "token", "events", "dedupe", "body", "batch", "type", "verify", "secret", "forward", "log",
     "timeout", "retry", "schedule", "jitter", "concurrency", "allow_networks", "erp", "agiled", "generic"]
)  # fmt: skip
VALUES = st.recursive(
    LEAF | st.sampled_from(["${X}", "${vars.a}", "${file:x}", "5s", "agiled", "generic", "none", "1MiB"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=6), st.booleans())
def test_any_document_is_settings_or_problems_with_places(
    write: Callable[[str], Path], document: dict[str, Any], offline: bool
) -> None:
    path = write(json.dumps({"version": 1, **document}))
    problems: tuple[Problem, ...]
    try:
        problems = read(path, offline=offline).warnings
        is_refused = False
    except ConfigError as error:
        problems = error.problems
        is_refused = True
    assert any(problem.severity == "error" for problem in problems) is is_refused
    for problem in problems:
        assert problem.place is not None
        assert "\n" not in with_excerpt(problem, {})
