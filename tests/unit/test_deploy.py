"""What is copied into a container is what the wheel is built from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
KEPT = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}


def test_a_container_gets_all_that_the_wheel_is_built_from_and_no_secrets_of_the_machine() -> None:
    folders = set(PYPROJECT["tool"]["setuptools"]["package-dir"].values())
    files = {"pyproject.toml", PYPROJECT["project"]["readme"], *PYPROJECT["project"]["license-files"]}
    assert folders | files | {"requirements.lock"} == KEPT
    assert all((ROOT / kept).exists() for kept in KEPT)


def test_what_the_containerfile_copies_is_let_through() -> None:
    text = (ROOT / "examples" / "deploy" / "Containerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE)
    assert copied
    assert all(source == "." or source in KEPT for source in copied)
