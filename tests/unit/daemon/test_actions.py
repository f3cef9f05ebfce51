"""Loading actions: the plug-ins folder with everything that can be wrong in it, each with its message."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from hookline.daemon.actions.plugin_folder import PluginFolder, read_plugin_folder
from hookline.daemon.actions.registry import BUILT_IN, Actions, action_names, load_actions

GOOD = '''"""Say hello.

More.
"""
from pydantic import BaseModel

class Options(BaseModel):
    name: str

async def deliver(delivery, options, context):
    return f"hello {options.name}"
'''
OPTIONS = "from pydantic import BaseModel\nclass Options(BaseModel):\n    name: str = ''\n"


def load(folder: Path, **files: str) -> Actions:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return load_actions(read_plugin_folder(folder), reserved={"retry", "once"})


def test_a_dropped_file_is_an_action(tmp_path: Path) -> None:
    actions = load(tmp_path, hello=GOOD)
    facts = actions.by_name["hello"].facts
    assert actions.problems == ()
    assert (facts.summary, facts.origin) == ("Say hello.", str(tmp_path / "hello.py"))
    assert facts.schema["required"] == ["name"]
    assert facts.digest == hashlib.sha256(GOOD.encode()).hexdigest()[:32]
    assert actions.by_name["hello"].is_async
    assert sys.modules["hookline_plugins.hello"].__file__ == str(tmp_path / "hello.py")


def test_built_ins_have_summaries_and_schemas() -> None:
    actions = load_actions(PluginFolder())
    assert set(actions.by_name) == set(BUILT_IN) == {"apprise", "command", "email", "forward", "log", "slack"}
    for action in actions.by_name.values():
        assert action.facts.summary.endswith(".")
        assert action.facts.origin == "built-in"
        assert action.facts.schema["properties"]
    assert actions.by_name["forward"].facts.schema["required"] == ["url"]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "__pycache__").mkdir()
    assert load(tmp_path, _shared="raise SystemExit", hello=GOOD).problems == ()
    assert action_names(tmp_path) == {*BUILT_IN, "hello"}


def test_plugins_share_files_with_an_underscore(tmp_path: Path) -> None:
    using = GOOD.replace("from pydantic", "from hookline_plugins._greeting import WORD\nfrom pydantic")
    assert load(tmp_path, _greeting="WORD = 'hi'", using=using).problems == ()


def test_annotations_as_text_are_understood(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom typing import Optional\n"
        + OPTIONS
        + "    more: Optional[int] = None\n"
    )
    assert load(tmp_path, later=text + "def deliver(d, o, c): ...\n").problems == ()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a", "x = 1\ndef (:\n", "a.py:2:1: a: syntax error: invalid syntax"),
        (
            "a",
            "import os\nimport nowhere_to_be_found.x\n",
            "a.py:2:1: a: it needs nowhere_to_be_found, which is not installed; install",
        ),
        (
            "a",
            "import os\n\nraise RuntimeError('no\\nluck')\n",
            "a.py:3:1: a: RuntimeError while it was loaded: no luck",
        ),
        ("a", "import sys\nsys.exit(3)\n", "a.py:2:1: a: SystemExit while it was loaded: 3"),
        ("a", "def f():\n    return 1/0\nf()\n", "a.py:2:1: a: ZeroDivisionError while it was loaded"),
        (
            "a",
            "from hookline.plugins import Nothing\n",
            "a.py:1:1: a: ImportError while it was loaded: cannot import name 'Nothing'",
        ),
        ("a", "x = '\0'", "a.py:1:1: a: "),
        ("a", "async def deliver(d, o, c): ...\n", "a.py:1:1: a: it has no Options; add: class Options(BaseModel)"),
        ("a", "class Options: ...\nasync def deliver(d, o, c): ...\n", "a.py:1:1: a: Options is not a pydantic model"),
        ("a", OPTIONS, "a.py:1:1: a: it has no deliver; add: async def deliver"),
        ("a", OPTIONS + "deliver = 5\n", "a.py:1:1: a: deliver is not a function"),
        (
            "a",
            OPTIONS + "def deliver(delivery):\n    ...\n",
            "a.py:4:1: a: deliver cannot be called with three arguments",
        ),
        (
            "a",
            OPTIONS + "    fn: type = int\ndef deliver(d, o, c): ...\n",
            "a.py:2:1: a: Options cannot be described as JSON",
        ),
        ("forward", GOOD, 'forward.py:1:1: forward: there is an action "forward" already: built-in; rename'),
        ("retry", GOOD, 'retry.py:1:1: retry: "retry" is the name of a modifier; rename the file'),
        ("Big-Name", GOOD, 'Big-Name.py:1:1: Big-Name: "Big-Name" cannot be an action\'s name'),
    ],
)
def test_a_broken_plugin_is_a_problem_with_its_line(tmp_path: Path, name: str, text: str, expected: str) -> None:
    actions = load(tmp_path, **{name: text, "zz_good": GOOD})
    assert len(actions.problems) == 1
    assert expected in str(actions.problems[0])
    # The others are there.
    assert set(actions.by_name) == {*BUILT_IN, "zz_good"}


def test_files_that_anybody_may_change_are_refused(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(GOOD)
    (tmp_path / "hello.py").chmod(0o666)
    assert "everybody may write to it" in str(load_actions(read_plugin_folder(tmp_path)).problems[0])


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    assert "it is not a regular file" in str(load_actions(read_plugin_folder(tmp_path)).problems[0])


def test_a_missing_folder_is_a_problem(tmp_path: Path) -> None:
    actions = load_actions(read_plugin_folder(tmp_path / "absent"))
    assert "cannot read the plug-ins folder" in str(actions.problems[0])
    assert set(actions.by_name) == set(BUILT_IN)


def test_installed_packages_offer_actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hello_package.py").write_text(GOOD)
    about = tmp_path / "hello_package-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hello-package\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text("[hookline.actions]\nhello-there = hello_package\nbad = not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    actions = load_actions(PluginFolder())
    assert actions.by_name["hello-there"].facts.origin == "package hello-package 1.2"
    assert "\n".join(map(str, actions.problems)) == (
        "plugins: the action bad of package hello-package 1.2: it needs not_there_at_all, which is not installed; "
        f"install what provides it into this environment: {sys.executable} -m pip install not_there_at_all"
    )
    assert {"hello-there", "bad"} <= action_names(None)
    sys.modules.pop("hello_package", None)
