"""The documents say what the code does: every command, option, key and operator is in them, and every example loads."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from hookline.daemon.config.load import load_settings
from hookline.daemon.sources.fragment import fragment, secret_names
from hookline.daemon.sources.types import BUILT_IN
from hookline.rules import RulesError, World, load_rules
from hookline.rules.parse_operand import OPERATORS
from hookline.rules.world import NoLookup

ROOT = Path(__file__).resolve().parents[2]
_PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs").glob("sources/*.md"))]
#: By path below docs/, but for the README of the repository.
DOCS = {
    "README.md" if path.parent == ROOT else str(path.relative_to(ROOT / "docs")): path.read_text() for path in _PATHS
}


def maker(name: str) -> ModuleType:
    """Return a module of tests/ that writes documents."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_commands_is_what_the_commands_say() -> None:
    assert DOCS["commands.md"] == maker("reference").reference(), "run: make docs"


def test_the_pages_of_source_types_are_what_their_declarations_say() -> None:
    pages: dict[str, str] = maker("source_pages").pages()
    written = {path.name: path.read_text() for path in (ROOT / "docs" / "sources").glob("*.md")}
    assert written == pages, "run: make docs"
    assert all("## A rule to start from" in text for name, text in pages.items() if name != "README.md")


def test_the_pages_of_the_api_are_what_its_endpoints_say() -> None:
    pages = maker("api_pages")
    assert DOCS["api.md"] == pages.page(), "run: make docs"
    assert (ROOT / "docs" / "openapi.json").read_text() == pages.openapi(), "run: make docs"


@pytest.mark.parametrize("name", BUILT_IN.names)
def test_the_fragment_of_a_source_type_loads_and_is_on_its_page(name: str, tmp_path: Path) -> None:
    kind = BUILT_IN.get(name)
    called = "shop" if name == "generic" else name
    piece = fragment(kind, name=called, public_url="https://hooks.example.com")
    assert f"```yaml\n{piece}```" in DOCS[f"sources/{name}.md"]
    (tmp_path / "hookline.yaml").write_text(f"version: 1\n{piece}")
    # Base64, a path, and a header can hold it alike.
    environ = dict.fromkeys(secret_names(piece), "c2VjcmV0LXNlY3JldC0wMTIz")
    settings = load_settings(tmp_path / "hookline.yaml", environ=environ, actions=set())
    assert settings.warnings == ()
    assert settings.sources[called].type == name
    assert set(kind.one_of[:1]) | {one for one, slot in kind.options.items() if slot.is_required} <= set(
        settings.sources[called].options
    )


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
        if not ((ROOT if name == "README.md" else (ROOT / "docs" / name).parent) / target).exists()
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
        sources={name: BUILT_IN.event_types(name) for name in BUILT_IN.names} | {"shop": None, "tracker": None},
        destinations=dict.fromkeys(["erp", "finance", "mail", "sales", "archive", "chat"], "forward"),
        actions={"forward", "email", "slack", "log"},
        vars={},
        lookup=NoLookup(),
        version="1",
    )
    try:
        rules = load_rules({name: block}, world)
    except RulesError as error:
        raise AssertionError(str(error)) from error
    assert not rules.warnings


@pytest.mark.parametrize(("name", "block"), yaml_blocks(of_configuration=True))
def test_every_yaml_block_with_a_configuration_loads(name: str, block: str, tmp_path: Path) -> None:
    assert name
    (tmp_path / "plugins").mkdir()
    path = tmp_path / "hookline.yaml"
    path.write_text(block)
    names = set(re.findall(r"\$\{([A-Z_]+)\}", block))
    load_settings(path, environ=dict.fromkeys(names, "a-secret-of-some-length-0123456789"))
