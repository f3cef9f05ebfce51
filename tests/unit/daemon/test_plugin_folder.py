"""The plug-ins folder: what is read of it, and what is refused because somebody else may have written it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hookline.daemon.actions.plugin_folder import PluginFolder, read_plugin_folder
from hookline.rules import Problem


def test_every_python_file_is_read_but_the_hidden(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "_shared.py", "sub/c.py", ".hidden/d.py", ".e.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    folder = read_plugin_folder(tmp_path)
    assert folder.problems == ()
    assert folder.plugins == ("a.py", "b.py")
    assert folder.texts == {name: name.encode() for name in ("_shared.py", "a.py", "b.py", "sub/c.py")}
    before = folder.digest, folder.shared
    (tmp_path / "a.py").write_text("other")
    assert read_plugin_folder(tmp_path).digest != before[0]
    assert read_plugin_folder(tmp_path).shared == before[1]
    (tmp_path / "sub" / "c.py").write_text("other")
    assert read_plugin_folder(tmp_path).shared != before[1]


@pytest.mark.parametrize(
    ("what", "mode", "said"),
    [
        ("a.py", 0o664, "a.py:1:1: a: its group may write to it, and it runs as Hookline; chmod go-w a.py"),
        ("a.py", 0o646, "a.py:1:1: a: everybody may write to it, and it runs as Hookline; chmod go-w a.py"),
        ("sub", 0o770, "sub/c.py:1:1: c: its group may write to it, and it runs as Hookline; chmod go-w sub"),
        (".", 0o775, "is not used: its group may write to it, and it runs as Hookline; chmod go-w plugins"),
    ],
)
def test_what_others_may_write_is_refused(tmp_path: Path, what: str, mode: int, said: str) -> None:
    folder = tmp_path / "plugins"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.py", "b.py", "sub/c.py"):
        (folder / name).write_text("")
    (folder / what).chmod(mode)
    read = read_plugin_folder(folder)
    assert [str(problem).endswith(said) for problem in read.problems] == [True], read.problems
    assert ("b.py" in read.texts) == (what != ".")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_another_user_owns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    os.chown(tmp_path / "a.py", 12345, -1)
    (problem,) = read_plugin_folder(tmp_path).problems
    assert str(problem).endswith(
        "a.py:1:1: a: it belongs to another user than Hookline and root, and runs as Hookline; chown root a.py"
    )


def test_one_can_be_left_out() -> None:
    problem = Problem(place=None, path="a", message="it is bad")
    folder = PluginFolder(path=Path("x"), texts={"a.py": b"1", "b.py": b"2"}).without("a.py", problem)
    assert (folder.plugins, folder.problems) == (("b.py",), (problem,))
