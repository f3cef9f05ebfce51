from __future__ import annotations

import os
from pathlib import Path

import pytest

from hookline.daemon.rule_files import MAX_FILE_BYTES, read_rule_texts, rule_test_files
from hookline.rules import RulesError


def read(folder: Path) -> dict[str, str]:
    return read_rule_texts([folder / "rules"], relative_to=folder)


def problems(folder: Path) -> list[str]:
    with pytest.raises(RulesError) as caught:
        read(folder)
    return [str(problem).replace(str(folder), "…") for problem in caught.value.problems]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "20.yaml").write_text("b")
    return folder


def test_files_are_sorted_by_name_and_tests_and_hidden_ones_left_out(tmp_path: Path, rules: Path) -> None:
    for name in ("10.yml", "20.test.yaml", ".hidden.yaml", "notes.txt", "30.yaml~"):
        (rules / name).write_text("a")
    assert list(read(tmp_path)) == ["rules/10.yml", "rules/20.yaml"]


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    assert problems(tmp_path) == ["rules:1:1: does not exist; create …/rules, or mend `rules:`"]


def test_every_unreadable_file_is_named_at_once(tmp_path: Path, rules: Path) -> None:
    (rules / "a.yaml").write_bytes(b"caf\xe9")
    os.mkfifo(rules / "b.yaml")
    (tmp_path / "outside.yaml").write_text("x")
    (rules / "c.yaml").symlink_to(tmp_path / "outside.yaml")
    (rules / "d.yaml").symlink_to("/dev/zero")
    with (rules / "e.yaml").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert problems(tmp_path) == [
        "rules/a.yaml:1:1: is not UTF-8 (byte 3); save it as UTF-8",
        "rules/b.yaml:1:1: …/rules/b.yaml is not a regular file",
        "rules/c.yaml:1:1: is a link out of the rules folder, to …/outside.yaml",
        "rules/d.yaml:1:1: is a link out of the rules folder, to /dev/zero",
        f"rules/e.yaml:1:1: …/rules/e.yaml is larger than {MAX_FILE_BYTES:,} bytes",
    ]


def test_a_link_within_the_folder_is_fine(tmp_path: Path, rules: Path) -> None:
    (rules / "10.yaml").symlink_to(rules / "20.yaml")
    assert read(tmp_path) == {"rules/10.yaml": "b", "rules/20.yaml": "b"}


def test_a_file_outside_the_configurations_folder_is_called_by_its_path(tmp_path: Path, rules: Path) -> None:
    (tmp_path / "etc").mkdir()
    assert list(read_rule_texts([rules], relative_to=tmp_path / "etc")) == [str(rules / "20.yaml")]


def test_tests_are_found_in_folders_and_beside_files(tmp_path: Path, rules: Path) -> None:
    for name in ("b.test.yaml", "a.test.yml", ".c.test.yaml", "test.yaml", "a.test.txt"):
        (rules / name).write_text("a")
    found = [rules / "a.test.yml", rules / "b.test.yaml"]
    assert rule_test_files([rules]) == found
    assert rule_test_files([rules / "20.yaml"]) == found
    assert rule_test_files([rules, rules / "20.yaml", tmp_path / "nowhere" / "x.yaml"]) == found
