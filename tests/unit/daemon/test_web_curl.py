"""A stored request as a command: what a shell makes of it is the body that came."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.web.curl import curl_command
from hookline.daemon.web.texts import visible

EVENT = "evt_0000000000001"
URL = "https://hooks.example.com/hooks/shop/***"


def command(body: bytes, content_type: str = "application/json") -> str:
    return curl_command(event=EVENT, url=URL, content_type=content_type, body=body)


def arguments(said: str, folder: Path) -> list[str]:
    """Return what a real shell gives to curl."""
    script = f'curl() {{ for one in "$@"; do printf \'%s\\0\' "$one"; done; }}\n{said}\n'
    ran = subprocess.run(["/bin/sh"], input=script.encode(), capture_output=True, check=True, cwd=folder)
    return [one.decode() for one in ran.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize(
    "body", ['{"a": 1}', 'it\'s; $(touch x) `touch x` "!" \\ \n two', "", "ünïcode ☃", "'", "-d", "a" * 4_000]
)
def test_a_shell_brings_the_same_body(body: str, tmp_path: Path) -> None:
    said = arguments(command(body.encode()), tmp_path)
    assert said == ["-X", "POST", URL, "-H", "Content-Type: application/json", "--data-binary", body]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "body", [b"\xff", b"a" * 4_001, b"@/etc/passwd", b"a\r\nb", b"\x1b[31m", "\u202e".encode(), b"\x00"]
)
def test_what_cannot_be_copied_as_text_is_read_from_the_file(body: bytes, tmp_path: Path) -> None:
    assert arguments(command(body), tmp_path)[-1] == f"@{EVENT}.bin"


def test_a_content_type_that_is_none_or_hides_something_is_left_out(tmp_path: Path) -> None:
    assert "-H" not in arguments(command(b"{}", ""), tmp_path)
    assert "-H" not in arguments(command(b"{}", "a\u202eb"), tmp_path)
    assert arguments(command(b"{}", "a'b"), tmp_path)[4] == "Content-Type: a'b"


@given(st.binary(max_size=200))
def test_nothing_that_cannot_be_seen_stands_in_it(body: bytes) -> None:
    said = command(body)
    assert visible(said) == said
