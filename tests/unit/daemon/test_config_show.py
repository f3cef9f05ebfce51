"""`config show`."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.daemon.config.load import load_settings
from hookline.daemon.config.show import show_settings
from hookline.rules.document import Findings
from hookline.rules.reader import read_document

TEXT = """\
version: 1
public_url: "https://${HOST}"
admin: {token: literal-admin-token}
limits: {body: 64KiB}
vars: {team: [ada], note: "costs $${x}: {{ 5 }}", code: "007", path: "$.a[0]"}
sources:
  agiled: {type: agiled, secret: ["${AGILED}", literal-old-secret]}
  shop:
    type: generic
    verify: {scheme: hmac, algorithm: sha256, header: X-Sig, encoding: hex, secret: literal-secret}
    event: {type: $.event, id: $.id, key: "$.k"}
destinations:
  erp:
    forward: {url: "https://erp.example.com/hooks", secret: "${ERP}", headers: {X-Api-Key: literal-key, X-Plain: "v"}}
    timeout: 15s
    retry: {schedule: [5s], jitter: 12.5%, on: [429, 500-599]}
    rate: 50/s
    breaker: none
    hold: {during: ["sat 22:00-24:00 Europe/Berlin"]}
    changed: {of: $.a, per: [tenant], to: ["${ERP}", 5]}
  ops: {slack: {url: "https://hooks.slack.example.com/services/literal-path"}}
  own: {pager: {url: "https://user:literal-pass@pager.example.com/literal-path", text: "{{ event.type }}"}}
"""
TRACKER = """\
title: Tracker
about: Ours.
setup: ["Give it {url}."]
options:
  word: {to: [verify.secret], is_required: true, about: the secret word}
  team: {to: [event.tenant], about: whose it is}
declaration: {verify: {scheme: token}, event: {tenant: $.owner}}
"""
ENVIRON = {"HOST": "hooks.example.com", "AGILED": "agiled-from-environment", "ERP": "erp-from-environment"}


@pytest.fixture
def shown(tmp_path: Path) -> str:
    path = tmp_path / "hookline.yaml"
    path.write_text(TEXT)
    settings = load_settings(path, environ=ENVIRON, actions={"forward", "slack", "log", "email", "pager"})
    return show_settings(settings)


def line(shown: str, key: str) -> str:
    return " ".join(next(found for found in shown.splitlines() if found.strip().startswith(f"{key}:")).split())


def test_no_secret_is_shown(shown: str) -> None:
    assert "literal" not in shown
    assert "environment" not in shown


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("listen", "listen: 127.0.0.1:8080 # default"),
        ("worker_memory", "worker_memory: 512MiB # default"),
        ("allow_commands", "allow_commands: false # default"),
        ("rate", "rate: 50/s # hookline.yaml:17"),
        ("breaker", "breaker: none # hookline.yaml:18"),
        ("hold", 'hold: {during: "sat 22:00-24:00 Europe/Berlin"} # hookline.yaml:19'),
        ("failure_budget", "failure_budget: 5d # default"),
        ("changed", 'changed: {of: "$.a", per: [tenant], to: ["***", 5]} # hookline.yaml:20'),
        ("public_url", "public_url: https://hooks.example.com # $HOST"),
        ("token", 'token: "***" # hookline.yaml:3'),
        ("body", "body: 64KiB # hookline.yaml:4"),
        ("batch", "batch: 1000 # default"),
        ("team", "team: [ada] # hookline.yaml:5"),
        ("code", 'code: "007" # hookline.yaml:5'),
        ("event", 'event: {type: "$.event", id: "$.id", key: "$.k"} # hookline.yaml:11'),
        ("timeout", "timeout: 15s # hookline.yaml:15"),
        (
            "retry",
            'retry: {schedule: [5s], jitter: "12.5%", retry_unknown: always, on: [429, 500-599]} # hookline.yaml:16',
        ),
        ("text", 'text: "{{ event.type }}" # hookline.yaml:22'),
    ],
)
def test_each_value_is_shown_with_its_origin(shown: str, key: str, expected: str) -> None:
    assert line(shown, key) == expected


def test_what_is_not_set_is_a_comment(shown: str) -> None:
    assert "# plugins: null" in shown


def test_an_address_of_an_unknown_action_is_shown_without_path_and_user(shown: str) -> None:
    assert '"https://pager.example.com/***"' in shown or "https://pager.example.com/***" in shown


def test_what_is_shown_is_a_configuration_again(shown: str, tmp_path: Path) -> None:
    findings = Findings()
    node = read_document(shown, "shown", findings)
    assert findings.problems == []
    again = tmp_path / "again.yaml"
    again.write_text(shown.replace("***", "masked-for-the-test"))
    settings = load_settings(again, environ={}, actions={"forward", "slack", "log", "email", "pager"})
    assert settings.vars == {"team": ["ada"], "note": "costs ${x}: {{ 5 }}", "code": "007", "path": "$.a[0]"}
    assert node is not None
    assert set(settings.destinations) == {"erp", "ops", "own"}


def test_a_secret_of_a_users_source_type_is_hidden_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "tracker.source.yaml").write_text(TRACKER)
    path = tmp_path / "hookline.yaml"
    path.write_text(
        "version: 1\nsources:\n"
        "  meta: {type: meta, secret: literal-app-secret, verify_token: literal-word}\n"
        "  own: {type: tracker, word: literal-own-secret, team: $.team}\n"
    )
    shown = show_settings(load_settings(path, environ={}))
    assert "literal" not in shown
    assert line(shown, "word").startswith('word: "***"')
    assert "$.team" in line(shown, "team")
