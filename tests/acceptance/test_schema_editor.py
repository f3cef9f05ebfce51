"""What people see in an editor: the schemas as yaml-language-server reads them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Kept between runs; whoever looks for a newer server removes it.
FOLDER = ROOT / "build" / "language-server"
PACKAGE = "yaml-language-server@1.25"
SERVER = FOLDER / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
COMMAND = Path(sys.executable).parent / "hookline"
CONFIG = """\
version: 1
sources:
  agiled: {type: agiled, secret: 0123456789abcdef}
  shop: {type: generic, verify: none, path_token: 0123456789abcdef}
destinations:
  finance: {slack: {url: https://hooks.example.com/x}}
  erp: {forward: {url: https://erp.example.com}}
  room: {chat: {}}
"""
PLUGIN = '''\
"""Say it in a room."""
from pydantic import BaseModel, Field

class Options(BaseModel):
    room: str = Field(description="Which room hears it")
    level: int = 1

def deliver(delivery, options, context): ...
'''
RULES = "# yaml-language-server: $schema=../hookline-rules.schema.json\n"
TESTS = "# yaml-language-server: $schema=../hookline-tests.schema.json\n"
SETTINGS = "# yaml-language-server: $schema=./hookline.schema.json\n"


def installed() -> Path:
    """Return the server; install it where it is not, or skip."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed: editors' side of the schemas is not tried")
    if not SERVER.exists():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed: yaml-language-server cannot be had")
        FOLDER.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", f"--prefix={FOLDER}", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            subprocess.run([*install, PACKAGE], cwd=FOLDER, check=True, capture_output=True, timeout=90)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            shutil.rmtree(FOLDER, ignore_errors=True)
            pytest.skip(f"yaml-language-server cannot be had here: {(error.stderr or b'').decode()[-200:]}")
    return SERVER


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editor")
    (folder / "rules").mkdir()
    (folder / "plugins").mkdir()
    (folder / "plugins" / "chat.py").write_text(PLUGIN)
    (folder / "hookline.yaml").write_text(CONFIG)
    (folder / "rules" / "live.yaml").write_text("conditions: {live: {$.a: 1}}\nrules: [{name: large, do: erp}]\n")
    subprocess.run([COMMAND, "schema"], cwd=folder, check=True, capture_output=True, env=os.environ, timeout=60)
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    path = installed()
    spec = importlib.util.spec_from_file_location("language_server", Path(__file__).with_name("language_server.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.LanguageServer(["node", str(path), "--stdio"])
    yield made
    made.close()


def test_mistakes_in_rules_are_said_at_their_lines_with_what_to_write(server: Any, home: Path) -> None:
    text = (
        RULES
        + """\
rules:
  - name: large
    from: agild
    when:
      $.data.total: {gt_e: 1000}
      $.data.owner: null
    do: finanse
  - name: paid
    from: agiled
    on: invoice.payd
    do:
      - erp: {}
        timeout: 15
      - room: {rom: den}
      - chat: {room: den, level: high}
  - name: nothing
    whn: {$.a: 1}
extra: 1
"""
    )
    found = dict(server.problems(home / "rules" / "mistakes.yaml", text))
    assert found[4] == "no source of this name; there are: agiled, shop, hookline"
    assert found[6].startswith("unknown operator; a test has: eq, ne, in, not_in, gt, gte")
    assert found[7].startswith("compared with nothing: write {eq: null} for a JSON null")
    assert found[8].startswith("no destination or action; there are: finance, erp, room, ")
    assert found[11].startswith("agiled never sends this: it sends account.created")
    assert found[14] == "not a duration: write it as in 250ms, 10s, 5m, 2h30m or 7d"
    assert found[15] == "unknown option; chat has: room, level"
    assert found[16] == 'Incorrect type. Expected "integer".'
    assert found[18].startswith("unknown key; a rule has: name, description, owner, from, on, when, do")
    assert found[19].startswith("unknown key; a file of rules has: vars, conditions")
    # The rule's first line: that it does nothing.
    assert found[17] == "the rule does nothing: write what it does under do:, or stop: true"
    assert set(found) == {4, 6, 7, 8, 11, 14, 15, 16, 17, 18, 19}


def test_what_is_right_is_left_alone(server: Any, home: Path) -> None:
    text = (
        RULES
        + """\
vars: {team: [ada]}
conditions:
  live: {$.data.test: {exists: false}}
rules:
  - name: large invoice paid
    from: agiled
    on: [invoice.paid, deal.*]
    when:
      $.data.total: {gte: 1000, lt: 100000}
      $.data.owner: {not_in: "${vars.team}"}
      "$.data.lines[*]": {where: {$.sku: {starts_with: SVC-}}, count: {gt: 1}}
      all: [live]
      not: {header.X-Test: "1"}
    do:
      - finance: {text: "Invoice {{ payload.data.number }}"}
      - erp
      - room: {room: den, level: "{{ payload.level }}"}
        retry: {schedule: [5s, 1h], jitter: 20%}
"""
    )
    assert server.problems(home / "rules" / "right.yaml", text) == []


def test_what_a_new_user_has_is_left_alone(server: Any, tmp_path: Path) -> None:
    subprocess.run([COMMAND, "init", "new"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    for name in ("hookline.yaml", "rules/first.yaml"):
        path = tmp_path / "new" / name
        assert server.problems(path, path.read_text()) == []
        # It was read by its schema, and not by none.
        assert server.problems(path, f"{path.read_text()}\nstrange: 1\n") != []


@pytest.mark.parametrize(
    ("text", "there", "absent"),
    [
        ("|", {"vars", "conditions", "defaults", "rules", "fallback"}, {"name"}),
        ("rules:\n  - name: a\n    |", {"from", "on", "when", "do", "stop"}, {"name", "timeout"}),
        ("rules:\n  - name: a\n    from: |", {"agiled", "shop", "hookline"}, {"true"}),
        ("rules:\n  - name: a\n    from:\n      - |", {"agiled", "shop"}, set()),
        ("rules:\n  - name: a\n    from: agiled\n    on: |", {"invoice.paid", "deal.created"}, {"delivery.dead"}),
        ("rules:\n  - name: a\n    from: hookline\n    on: [|]", {"delivery.dead"}, {"invoice.paid"}),
        ("rules:\n  - name: a\n    when:\n      |", {"type", "tenant", "all", "any", "not", "$.path: value"}, {"eq"}),
        ("rules:\n  - name: a\n    when:\n      all: [|]", {"live"}, set()),
        ("rules:\n  - name: a\n    when:\n      $.a:\n        |", {"eq", "gte", "starts_with", "count", "as"}, {"all"}),
        ("rules:\n  - name: a\n    when:\n      $.a:\n        as: |", {"number", "text", "lower", "time"}, set()),
        ("rules:\n  - name: a\n    do: |", {"finance", "erp", "room", "chat", "log"}, {"retry"}),
        ("rules:\n  - name: a\n    do:\n      - |", {"finance", "erp", "room", "chat"}, set()),
        ("rules:\n  - name: a\n    do:\n      - erp: {}\n        |", {"retry", "timeout", "dry_run"}, {"concurrency"}),
        ("rules:\n  - name: a\n    do:\n      - room:\n          |", {"room", "level"}, {"text"}),
        ("rules:\n  - name: a\n    do:\n      - forward:\n          method: |", {"POST", "PUT"}, set()),
    ],
)
def test_what_may_be_written_in_rules_is_offered(
    text: str, there: set[str], absent: set[str], server: Any, home: Path
) -> None:
    offered = server.proposals(home / "rules" / "offered.yaml", RULES + text)
    assert there <= offered
    assert not absent & offered


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("|", {"listen", "sources", "destinations", "retention"}),
        ("sources:\n  a:\n    type: |", {"agiled", "github", "generic"}),
        ("sources:\n  a:\n    type: agiled\n    |", {"secret", "tolerance", "path_token", "expect_every"}),
        ("sources:\n  a:\n    type: generic\n    verify:\n      scheme: |", {"hmac", "token", "basic"}),
        (
            "sources:\n  a:\n    type: generic\n    verify:\n      scheme: hmac\n      |",
            {"header", "signed", "timestamp"},
        ),
        ("destinations:\n  a:\n    |", {"chat", "forward", "slack", "retry", "concurrency", "allow_networks"}),
        ("destinations:\n  a:\n    chat:\n      |", {"room", "level"}),
    ],
)
def test_what_may_be_written_in_the_configuration_is_offered(
    text: str, there: set[str], server: Any, home: Path
) -> None:
    assert there <= server.proposals(home / "hookline.yaml", SETTINGS + text)


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("tests:\n  - name: a\n    |", {"from", "event", "with", "expect", "rules", "at"}),
        ("tests:\n  - name: a\n    from: agiled\n    sample: |", {"invoice.paid"}),
        ("tests:\n  - name: a\n    rules: [|]", {"large"}),
        ("tests:\n  - name: a\n    expect:\n      - room:\n          |", {"room", "level"}),
    ],
)
def test_what_may_be_written_in_tests_is_offered(text: str, there: set[str], server: Any, home: Path) -> None:
    assert there <= server.proposals(home / "rules" / "a.test.yaml", TESTS + text)


def test_mistakes_in_the_configuration_and_in_tests_are_said(server: Any, home: Path) -> None:
    text = "version: 1\nsources:\n  a: {type: agiled, secrt: x}\ndestinations:\n  b: {log: {}, chat: {}}\n"
    found = server.problems(home / "mistakes.yaml", SETTINGS + text)
    assert (4, "a source fails closed: give secret, or write verify: none to accept anything from anyone") in found
    assert any(line == 4 and said.startswith("unknown option; a source of type agiled has: ") for line, said in found)
    assert (6, "a destination has one action: make two of it") in found
    assert len(found) == 3
    text = "tests:\n  - name: a\n    from: agiled\n    event: {a: 1}\n    expekt: []\n"
    said = dict(server.problems(home / "rules" / "b.test.yaml", TESTS + text))
    assert said[6].startswith("unknown key; a test has: name, from, event, sample")
    assert said[3].startswith("the test expects nothing in particular: write expect:")


def test_a_word_under_the_pointer_is_explained(server: Any, home: Path) -> None:
    path = home / "rules" / "hover.yaml"
    in_rules = "rules:\n  - name: a\n    when:\n      $.a: {starts_w|ith: x}\n    do: erp\n"
    assert "Is a text that begins so" in server.hover(path, RULES + in_rules)
    assert "Which room hears it" in server.hover(
        path, RULES + "rules:\n  - name: a\n    do:\n      - room: {ro|om: den}\n"
    )
