"""`hookline schema` and the schemas that `hookline init` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from jsonschema import Draft7Validator

from hookline.daemon.commands import cli

FILES = ("hookline-rules.schema.json", "hookline-tests.schema.json", "hookline.schema.json")
CONFIG = """\
version: 1
rules: [more/rules, one.yaml]
plugins: actions
sources: {shop: {type: generic, verify: none, path_token: "${SHOP_PATH}"}}
destinations: {room: {chat: {url: "https://chat.example.com/${CHAT}"}}}
"""
PLUGIN = '''\
"""Say it in a room."""
from pydantic import BaseModel

class Options(BaseModel):
    url: str
    words: list[str] = []

def deliver(delivery, options, context): ...
'''


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "more" / "rules").mkdir(parents=True)
    (tmp_path / "actions").mkdir()
    (tmp_path / "actions" / "chat.py").write_text(PLUGIN)
    (tmp_path / "hookline.yaml").write_text(CONFIG)
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


def test_without_an_argument_all_three_stand_beside_the_configuration(home: Path) -> None:
    result = run("schema", "-c", home / "hookline.yaml")
    assert (result.exit_code, result.stdout) == (0, "")
    for name in FILES:
        Draft7Validator.check_schema(json.loads((home / name).read_text()))
        assert f"wrote {home / name}" in result.stderr
    assert sorted(path.name for path in home.iterdir() if path.is_file()) == sorted([*FILES, "hookline.yaml"])
    assert "# yaml-language-server: $schema=./hookline.schema.json\n" in result.stderr
    assert "# yaml-language-server: $schema=../../hookline-rules.schema.json\n" in result.stderr
    assert "# yaml-language-server: $schema=../../hookline-tests.schema.json\n" in result.stderr


def test_an_older_schema_is_replaced(home: Path) -> None:
    (home / FILES[0]).write_text("{}")
    run("schema", "-c", home / "hookline.yaml")
    assert '"room"' in (home / FILES[0]).read_text()


@pytest.mark.parametrize(("what", "name"), [("rules", FILES[0]), ("tests", FILES[1]), ("config", FILES[2])])
def test_one_goes_to_stdout_or_to_a_file(what: str, name: str, home: Path) -> None:
    printed = run("schema", what, "-c", home / "hookline.yaml")
    assert (printed.exit_code, printed.stderr) == (0, "")
    assert not (home / name).exists()
    elsewhere = run("schema", what, "-c", home / "hookline.yaml", "--output", home / "x.json")
    assert (elsewhere.stdout, elsewhere.stderr) == ("", f"wrote {home / 'x.json'}\n")
    run("schema", "-c", home / "hookline.yaml")
    assert printed.stdout == (home / "x.json").read_text() == (home / name).read_text()


def test_a_plug_ins_options_are_in_it(home: Path) -> None:
    schema = Draft7Validator(json.loads(run("schema", "rules", "-c", home / "hookline.yaml").stdout))
    assert schema.is_valid({"rules": [{"name": "a", "do": {"room": {"words": ["a", "{{ payload.b }}"]}}}]})
    assert schema.is_valid({"rules": [{"name": "a", "do": {"chat": {"url": "https://example.com"}}}]})
    assert not schema.is_valid({"rules": [{"name": "a", "do": {"room": {"wrds": ["a"]}}}]})
    assert not schema.is_valid({"rules": [{"name": "a", "do": {"chat": {"words": ["a"]}}}]})


def test_a_broken_plug_in_is_said_and_the_rest_is_written(home: Path) -> None:
    (home / "actions" / "bad.py").write_text("import nothing_of_the_kind")
    result = run("schema", "-c", home / "hookline.yaml")
    assert result.exit_code == 1
    assert f"{home / 'actions' / 'bad.py'}:1" in result.stderr
    assert "nothing_of_the_kind" in result.stderr
    assert '"bad"' in (home / FILES[0]).read_text()


def test_a_bad_configuration_is_reported_as_everywhere(home: Path) -> None:
    (home / "hookline.yaml").write_text("version: 1\nsorces: {}\n")
    result = run("schema", "-c", home / "hookline.yaml")
    assert result.exit_code == 78
    assert 'unknown key "sorces"' in result.stderr
    assert not (home / FILES[0]).exists()


def test_output_is_for_one(home: Path) -> None:
    result = run("schema", "-c", home / "hookline.yaml", "--output", home / "x.json")
    assert result.exit_code == 2
    assert "--output goes with one of rules, tests, config" in result.stderr


def test_a_place_that_cannot_be_written_is_said(home: Path) -> None:
    result = run("schema", "rules", "-c", home / "hookline.yaml", "--output", home / "no" / "x.json")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Cannot write {home / 'no' / 'x.json'}: No such file or directory.")


def test_init_writes_the_schemas_and_where_they_are(tmp_path: Path) -> None:
    result = run("init", tmp_path / "new")
    assert result.exit_code == 0
    for file, name in (("hookline.yaml", FILES[2]), ("rules/first.yaml", FILES[0])):
        path = tmp_path / "new" / file
        text = path.read_text()
        line, _, _ = text.partition("\n")
        assert line.startswith("# yaml-language-server: $schema=.")
        schema = (path.parent / line.partition("$schema=")[2]).resolve()
        assert schema == tmp_path / "new" / name
        assert list(Draft7Validator(json.loads(schema.read_text())).iter_errors(yaml.safe_load(quoted(text)))) == []
    assert run("init", tmp_path / "new").exit_code == 1


def quoted(text: str) -> str:
    """Return the text so that a reader of YAML 1.1 does not take `on` for true."""
    return text.replace("    on: ", '    "on": ')


def test_init_overwrites_no_schema(tmp_path: Path) -> None:
    (tmp_path / FILES[1]).write_text("mine")
    result = run("init", tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path / FILES[1]} is there already; nothing was written." in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [FILES[1]]


def test_init_goes_on_where_a_schema_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.source.yaml").write_text("titel: x")
    result = run("init", tmp_path)
    assert result.exit_code == 0
    assert "No schemas for editors: " in result.stderr
    assert f"Then: hookline schema -c {tmp_path / 'hookline.yaml'}" in result.stderr
    assert (tmp_path / "rules" / "first.yaml").exists()
    assert not (tmp_path / FILES[0]).exists()
