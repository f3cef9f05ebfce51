"""requirements.lock holds what pyproject asks for, each file by its hash, from nowhere in particular."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
#: Each package with the lines that belong to it.
ENTRIES = re.findall(r"^([a-z0-9][^\s;]*)((?: *;[^\\\n]*)?) \\\n((?:    --hash=.*\n)+)", LOCK, re.MULTILINE)


def test_all_that_is_asked_for_is_locked_in_a_version_that_will_do() -> None:
    extras = PROJECT["optional-dependencies"]
    locked = [Requirement(entry) for entry, _, _ in ENTRIES]
    for text in (*PROJECT["dependencies"], *(text for extra in ("speed", "postgres") for text in extras[extra])):
        asked = Requirement(text)
        found = [one for one in locked if one.name == asked.name]
        assert found, f"{asked.name} is not in requirements.lock: make lock"
        for one in found:
            (version,) = [str(pin.version) for pin in one.specifier]
            assert asked.specifier.contains(version), f"{one} does not satisfy {asked}: make lock"


def test_each_is_one_version_with_hashes_and_nothing_says_where_it_is_from() -> None:
    names = [line for line in LOCK.splitlines() if line and line[0] not in " #"]
    assert len(names) == len(ENTRIES)
    assert all("==" in entry for entry, _, _ in ENTRIES)
    assert all(re.fullmatch(r"(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", hashes) for *_, hashes in ENTRIES)
    assert "://" not in LOCK
    assert "--index" not in LOCK
