"""Templates: none lets anything through unescaped, and none needs what the policy forbids."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jinja2 import UndefinedError, meta

from hookline.daemon.web.icons import icon_of
from hookline.daemon.web.rendering import Templates
from hookline.daemon.web.static_files import StaticFiles

FOLDER = Path(__file__).resolve().parents[3] / "daemon" / "web"
TEMPLATES = {
    str(path.relative_to(FOLDER / "templates")): path.read_text() for path in FOLDER.glob("templates/**/*.html")
}
NOW = datetime(2026, 5, 18, tzinfo=UTC)


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates(StaticFiles())


@pytest.mark.parametrize("name", TEMPLATES)
def test_nothing_is_let_through_unescaped(name: str) -> None:
    assert not re.search(r"\|\s*(safe|forceescape)\b|autoescape|Markup", TEMPLATES[name])


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_template_needs_what_the_policy_forbids(name: str) -> None:
    text = re.sub(r"\{#.*?#\}", "", TEMPLATES[name], flags=re.DOTALL)

    assert not re.search(
        r"\sstyle=|<style|\son[a-z]+=|javascript:|<iframe|<base|hx-on|hx-vals='js:|hx-vars|https?://", text
    )
    assert all(' src="{{ static(' in script for script in re.findall(r"<script[^>]*>", text))


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_compile_and_import_what_there_is(templates: Templates, name: str) -> None:
    environment = templates._environment
    tree = environment.parse(TEMPLATES[name])

    environment.compile(tree, name)
    assert {one for one in meta.find_referenced_templates(tree) if one} <= set(TEMPLATES)
    macros = set(re.findall(r"\{%-? macro (\w+)", TEMPLATES["parts/ui.html"]))
    assert set(re.findall(r"\bui\.(\w+)\(", TEMPLATES[name])) <= macros


@pytest.mark.parametrize("name", TEMPLATES)
def test_symbols_that_are_asked_for_are_drawn(name: str) -> None:
    drawn = set(re.findall(r'<symbol id="(\w+)"', (FOLDER / "static" / "symbols.svg").read_text()))

    assert set(re.findall(r'icon\("(\w+)"', TEMPLATES[name])) <= drawn


def test_every_state_has_a_symbol_that_is_drawn() -> None:
    from hookline.daemon.web.icons import _ICONS

    drawn = set(re.findall(r'<symbol id="(\w+)"', (FOLDER / "static" / "symbols.svg").read_text()))
    assert {icon.symbol for icon in _ICONS.values()} <= drawn
    assert icon_of("never heard of").symbol in drawn


@pytest.mark.anyio
async def test_a_value_that_is_missing_is_an_error_not_an_empty_place(templates: Templates) -> None:
    with pytest.raises(UndefinedError):
        await templates.render("outside.html", now=NOW)


def test_styles_say_how_it_looks_in_the_dark_wherever_they_name_a_color() -> None:
    css = re.sub(r"/\*.*?\*/", "", (FOLDER / "static" / "hookline.css").read_text(), flags=re.DOTALL)
    declared = css[: css.index("}")]

    # Every color is a name of both themes; outside of it only shades of those names.
    assert all("light-dark(" in line for line in declared.splitlines() if "#" in line)
    assert not re.search(r"#[0-9a-f]{3,8}\b(?=[^{}]*[;}])", css[css.index("}") :])


def test_our_scripts_write_text_only() -> None:
    for path in (FOLDER / "static").glob("*.js"):
        if path.name != "htmx.min.js":
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|\.style\b",
                path.read_text(),
            )


def test_htmx_is_what_it_says_it_is_and_may_not_evaluate() -> None:
    import hashlib

    readme = (FOLDER / "static" / "htmx-README.txt").read_text()
    assert hashlib.sha256((FOLDER / "static" / "htmx.min.js").read_bytes()).hexdigest() in readme
    assert '"allowEval":false' in TEMPLATES["layout.html"]
    assert '"includeIndicatorStyles":false' in TEMPLATES["layout.html"]
