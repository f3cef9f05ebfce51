"""Which node a process is."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.daemon.nodes.identity import FILE, identify
from hookline.daemon.store.port import StoreError


def test_a_process_that_starts_in_the_same_folder_is_the_same_node(tmp_path: Path) -> None:
    first = identify(tmp_path / "state", {})
    first.close()
    second = identify(tmp_path / "state", {"HOOKLINE_NODE": "left"})
    second.close()
    assert 0 < first.id < 1 << 63
    assert (second.id, second.name) == (first.id, "left")
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o777 == 0o600


def test_two_folders_are_two_nodes(tmp_path: Path) -> None:
    one, other = identify(tmp_path / "a", {}), identify(tmp_path / "b", {})
    assert one.id != other.id
    one.close()
    other.close()


def test_two_processes_cannot_be_one_node(tmp_path: Path) -> None:
    one = identify(tmp_path, {})
    with pytest.raises(StoreError, match="each node needs a state folder of its own") as raised:
        identify(tmp_path, {})
    assert raised.value.kind == "unfit"
    one.close()
    identify(tmp_path, {}).close()


@pytest.mark.parametrize("written", [b"abc\n", b"99999999999999999999\n", b"9223372036854775808\n"])
def test_a_file_that_is_no_number_is_named(tmp_path: Path, written: bytes) -> None:
    (tmp_path / FILE).write_bytes(written)
    with pytest.raises(StoreError, match="node: not a node's number: remove the file"):
        identify(tmp_path, {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the daemon keeps there which node it is"):
        identify(tmp_path / "file" / "state", {})
