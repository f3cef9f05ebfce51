"""The house's own rules: who imports whom, what is documented, what the wheel holds."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("rules", "plugins", "daemon")
#: A package may import itself and what stands left of it.
MAY_IMPORT = {"rules": {"rules"}, "plugins": {"plugins", "rules"}, "daemon": {"daemon", "plugins", "rules"}}
#: `rules` is pure. `hashlib`, `re` and the like are; these touch the world, or wait for it.
IMPURE = {
    "aiohttp", "aiosqlite", "anyio", "asyncio", "http", "io", "logging", "multiprocessing", "os", "pathlib",
    "quart", "random", "secrets", "shutil", "signal", "socket", "sqlite3", "structlog", "subprocess", "tempfile",
    "threading", "time", "urllib",
}  # fmt: skip


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            found.append((node.module or "", node.lineno))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    offending = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for name, line in imports(ast.parse(path.read_text()))
        if name.split(".")[0] in PACKAGES
        or (name.startswith("hookline.") and name.split(".")[1] not in MAY_IMPORT[package])
    ]
    assert offending == []


def test_rules_touch_nothing_outside() -> None:
    offending = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources("rules")
        for name, line in imports(ast.parse(path.read_text()))
        if name.split(".")[0] in IMPURE
    ]
    assert offending == []


def test_rules_and_plugins_read_no_clock() -> None:
    # An action may ask what time it is (to sign); a rule may not, or then and now would disagree.
    offending = [
        f"{path.relative_to(ROOT)}:{node.lineno} reads the clock"
        for path in sources("rules")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
        if isinstance(node.value, ast.Name) and node.value.id in {"datetime", "date"}
    ]
    assert offending == []


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_documented(package: str) -> None:
    undocumented = []
    for path in sources(package):
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree):
            undocumented.append(f"{path.relative_to(ROOT)}:1")
        undocumented += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if not node.name.startswith("_") and not ast.get_docstring(node)
        ]
    assert undocumented == []


def test_broad_handlers_are_three_and_each_says_why() -> None:
    broad = []
    for package in PACKAGES:
        for path in sources(package):
            lines = path.read_text().splitlines()
            for node in ast.walk(ast.parse("\n".join(lines))):
                if not isinstance(node, ast.ExceptHandler):
                    continue
                names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"bare"}
                if names & {"Exception", "BaseException", "bare"} and not is_reraised(node):
                    broad.append(f"{path.relative_to(ROOT)}:{node.lineno}")
                    assert "#" in "".join(lines[node.lineno - 2 : node.lineno + 2]), f"{broad[-1]} gives no reason"
    assert len(broad) <= 3, broad


def is_reraised(handler: ast.ExceptHandler) -> bool:
    """Say whether the handler raises again, as it was or as an error that has a catcher: then it swallows nothing."""
    return isinstance(handler.body[-1], ast.Raise)


@pytest.mark.slow
def test_wheel_holds_what_the_source_holds(tmp_path: Path) -> None:
    # Under `package-dir` a new sub-package works in an editable install and is silently absent from the wheel.
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    present = [name for name in names if (ROOT / name).is_file()]
    # Built from a copy: setuptools would leave a build/lib behind and ship from it what was deleted since.
    for name in present:
        target = tmp_path / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", *build, "-w", tmp_path, tmp_path / "source"], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    bundled = (*(f"{package}/" for package in PACKAGES), "examples/quickstart/")
    assert shipped == {f"hookline/{name}" for name in present if name.startswith(bundled)}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"Version: {version}" in metadata
