"""Where secrets come from, and how they are hidden."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hookline.daemon.regular_file import read_regular
from hookline.daemon.secrets import MAX_SECRET_BYTES, Secrets, masked
from hookline.rules.interpolation import UnsetError, interpolate


def test_a_credential_goes_before_the_environment(tmp_path: Path) -> None:
    (tmp_path / "TOKEN").write_text("from-credential\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "TOKEN": "from-environment", "OTHER": "other"}
    secrets = Secrets(environ, folder=tmp_path)
    assert secrets.secret("TOKEN") == "from-credential"
    assert secrets.secret("OTHER") == "other"
    assert secrets.secret("NOPE") is None


def test_what_systemd_loads_from_the_credentials_folder_is_found_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "credentials_TOKEN").write_text("from-the-folder\n")
    secrets = Secrets({"CREDENTIALS_DIRECTORY": str(tmp_path), "TOKEN": "from-environment"}, folder=tmp_path)
    assert secrets.secret("TOKEN") == "from-the-folder"
    (tmp_path / "TOKEN").write_text("named-in-a-drop-in\n")
    assert secrets.secret("TOKEN") == "named-in-a-drop-in"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes a user who may not look into a folder")
def test_roots_credentials_are_not_set_for_a_service_and_unreadable_for_others(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from hookline.daemon.secrets import Secrets
os.setegid(65534), os.seteuid(65534)
print(Secrets({"CREDENTIALS_DIRECTORY": "/nonexistent"}, folder=Path(sys.argv[1])).secret("TOKEN"))
try:
    Secrets({}, folder=Path(sys.argv[1])).secret("TOKEN")
except ValueError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "credentials").mkdir(mode=0o700)
        ended = subprocess.run([sys.executable, "-c", script, name], check=True, capture_output=True, text=True)
    assert ended.stdout == f"None\ncannot read {name}/credentials/TOKEN: Permission denied\n"


def test_a_file_is_read_relative_to_the_configuration_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("line one\nline two\n\n")
    secrets = Secrets({}, folder=tmp_path)
    assert secrets.file("key") == "line one\nline two\n"
    assert secrets.file(str(tmp_path / "key")) == "line one\nline two\n"


def test_a_windows_line_break_is_left_out_as_well(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"secret\r\n")
    assert Secrets({}, folder=tmp_path).file("key") == "secret"


def test_an_empty_secret_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "EMPTY").write_text("\n")
    secrets = Secrets({"CREDENTIALS_DIRECTORY": str(tmp_path), "BLANK": ""}, folder=tmp_path)
    for text in ("${EMPTY}", "${BLANK}", "${file:EMPTY}"):
        with pytest.raises(UnsetError, match="is empty"):
            interpolate(text, secrets)


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone", "cannot read .*gone: No such file"), ("folder", "is not a regular file"), ("fifo", "is not a regular file"),
     ("latin", "is not UTF-8 text"), ("large", "is larger than 1,048,576 bytes"), ("a\0b", "cannot read"), ("/dev/zero", "is not a regular file")],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "latin").write_bytes(b"\xe9")
    (tmp_path / "large").write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    with pytest.raises(ValueError, match=message):
        Secrets({}, folder=tmp_path).file(name)


def test_a_file_of_just_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert read_regular(tmp_path / "f", limit=5) == b"12345"
    with pytest.raises(ValueError, match="larger than 4 bytes"):
        read_regular(tmp_path / "f", limit=4)


def test_a_credential_that_cannot_be_read_is_not_taken_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "TOKEN").mkdir()
    secrets = Secrets({"CREDENTIALS_DIRECTORY": str(tmp_path), "TOKEN": "old"}, folder=tmp_path)
    with pytest.raises(UnsetError, match="is not a regular file; put it into"):
        interpolate("${TOKEN}", secrets)


def test_variables_are_found_also_inside_others(tmp_path: Path) -> None:
    secrets = Secrets({}, folder=tmp_path).with_variables({"channels": {"acme": "#ops", "none": None}, "a.b": 1})
    assert secrets.variable("channels") == {"acme": "#ops", "none": None}
    assert secrets.variable("channels.acme") == "#ops"
    assert secrets.variable("channels.none") is None
    assert secrets.variable("a.b") == 1
    for name in ("chanels", "channels.x", "channels.acme.x", "nope"):
        with pytest.raises(UnsetError, match=f'no variable "{name}"'):
            secrets.variable(name)


def test_an_unknown_variable_brings_the_nearest_to_mind(tmp_path: Path) -> None:
    with pytest.raises(UnsetError, match='did you mean "channels"'):
        Secrets({}, folder=tmp_path, variables={"channels": 1}).variable("chanels")


def test_what_was_given_out_is_hidden_by_every_lookup_of_the_family(tmp_path: Path) -> None:
    secrets = Secrets({"TOKEN": "abcd", "LONG": "abcdef", "TINY": "7"}, folder=tmp_path)
    other = secrets.with_variables({"x": 1})
    for name in ("TOKEN", "LONG", "TINY"):
        other.secret(name)
    assert secrets.masked("abcdef and abcd and 7") == "*** and *** and 7"


def test_longer_secrets_are_hidden_first() -> None:
    assert masked("x hunter2hunter2 y", ["hunter2", "hunter2hunter2"]) == "x *** y"
    assert masked("nothing here", []) == "nothing here"


def test_what_subscribe_kept_beside_the_configuration_comes_last(tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name in ("TOKEN", "OTHER"):
        (folder / name).write_text("kept\n")
        (folder / name).chmod(0o600)
    secrets = Secrets({"OTHER": "from-environment"}, folder=tmp_path)
    assert secrets.secret("TOKEN") == "kept"
    assert secrets.secret("OTHER") == "from-environment"
    assert secrets.secret("NOPE") is None
    assert secrets.masked("kept") == "***"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_credential_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "credentials" / "TOKEN"
    file.parent.mkdir()
    file.write_text("kept")
    file.chmod(mode)
    with pytest.raises(ValueError, match=f"can be read by others than its owner: chmod 600 {file}"):
        Secrets({}, folder=tmp_path).secret("TOKEN")
