"""The documents say what the code does: every command, option, key and operator is in them, and every example loads."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from hookline.daemon.config.load import load_settings
from hookline.rules import RulesError, World, load_rules
from hookline.rules.parse_operand import OPERATORS
from hookline.rules.world import NoLookup

ROOT = Path(__file__).resolve().parents[2]
DOCS = {path.name: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}


def test_the_reference_of_commands_is_what_the_commands_say() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tests" / "reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert DOCS["commands.md"] == module.reference(), "run: make docs"


def test_every_operator_is_documented() -> None:
    prose = re.sub(r"```.*?```", "", DOCS["rules.md"], flags=re.DOTALL)
    words = set(re.findall(r"`([^`]+)`", prose))
    written = {word for text in words for word in text.split()}
    assert set(OPERATORS) - written == set()


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{name}: {target}"
        for name, text in DOCS.items()
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text)
        if not ((ROOT if name == "README.md" else ROOT / "docs") / target).exists()
    ]
    assert broken == []


def yaml_blocks(*, of_configuration: bool) -> list[tuple[str, str]]:
    """Return the whole configurations in the documents, or the rule files."""
    found = [
        (f"{name}-{number}", block)
        for name, text in DOCS.items()
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    ]
    configurations = [one for one in found if re.search(r"^version: 1", one[1], re.MULTILINE)]
    rules = [one for one in found if re.search(r"^rules:\s*$", one[1], re.MULTILINE) and one not in configurations]
    return configurations if of_configuration else rules


@pytest.mark.parametrize(("name", "block"), yaml_blocks(of_configuration=False))
def test_every_yaml_block_with_rules_loads(name: str, block: str) -> None:
    world = World(
        sources={"agiled": None, "agave": None, "shop": None},
        destinations=dict.fromkeys(["erp", "finance", "mail", "sales", "archive", "chat"], "forward"),
        actions={"forward", "email", "slack", "log"},
        vars={},
        lookup=NoLookup(),
        version="1",
    )
    try:
        load_rules({name: block}, world)
    except RulesError as error:
        raise AssertionError(str(error)) from error


@pytest.mark.parametrize(("name", "block"), yaml_blocks(of_configuration=True))
def test_every_yaml_block_with_a_configuration_loads(name: str, block: str, tmp_path: Path) -> None:
    assert name
    (tmp_path / "plugins").mkdir()
    path = tmp_path / "hookline.yaml"
    path.write_text(block)
    names = set(re.findall(r"\$\{([A-Z_]+)\}", block))
    load_settings(path, environ=dict.fromkeys(names, "a-secret-of-some-length-0123456789"))
