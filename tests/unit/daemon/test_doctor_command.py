"""How `hookline doctor` prints what it found, and that nothing that hangs or fails keeps it from doing so."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hookline.daemon.commands.doctor import lines_of, print_findings
from hookline.daemon.doctor.bounded import Bounded, Failed
from hookline.daemon.doctor.finding import ok, warn, wrong
from hookline.daemon.store.port import StoreError


def test_a_short_line_has_its_step_behind_it() -> None:
    (line,) = lines_of(wrong("secrets", "SHOP is empty", "put it there"), column=8, width=80)
    assert line == "wrong secrets   SHOP is empty   → put it there"


def test_long_texts_and_steps_are_wrapped_under_their_column() -> None:
    finding = warn(
        "disk", "one two three four five six seven eight nine ten", "mend /a/very/long/path-that-is-not-cut now"
    )
    lines = lines_of(finding, column=8, width=46)
    assert lines == [
        "warn  disk      one two three four five six",
        "                seven eight nine ten",
        "                → mend",
        "                  /a/very/long/path-that-is-not-cut",
        "                  now",
    ]


def test_what_a_sender_wrote_moves_no_cursor() -> None:
    (line,) = lines_of(ok("sources", "\x1b[2Jx\nwrong store"), column=8, width=200)
    assert "\x1b" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("levels", "last"),
    [
        ("", "All is well."),
        ("w", "Nothing to mend, 1 warning."),
        ("x", "1 to mend."),
        ("xxww", "2 to mend, 2 warnings."),
    ],
)
def test_the_last_line_counts(levels: str, last: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"w": warn("a", "b", "c"), "x": wrong("a", "b", "c")}
    print_findings([ok("a", "b"), *(made[level] for level in levels)])
    assert capsys.readouterr().err.strip() == last


@pytest.fixture
def bounded() -> Iterator[Bounded]:
    made = Bounded()
    yield made
    made.close()


def results(bounded: Bounded, call: Callable[[], Any], seconds: float = 60) -> Any:
    return bounded.results({"one": bounded.begin(call), "two": bounded.begin(lambda: 2)}, seconds=seconds)


def test_what_hangs_is_left_behind_and_the_rest_is_there(bounded: Bounded) -> None:
    gate = threading.Event()
    try:
        found = results(bounded, gate.wait, 0.2)
        assert isinstance(found["one"], Failed)
        assert "no answer" in found["one"].why
        assert found["two"] == 2
        assert bounded.has_hung
    finally:
        gate.set()


def raising(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "why", "is_forbidden"),
    [
        (KeyError("x"), "the check itself failed: KeyError: 'x'", False),
        (SystemExit(3), "the check itself failed: SystemExit: 3", False),
        (StoreError("damaged"), "damaged", False),
        (PermissionError(13, "no", "/x/y"), "/x/y may not be read by this user", True),
    ],
)
def test_a_check_that_fails_says_so(bounded: Bounded, error: BaseException, why: str, is_forbidden: bool) -> None:
    assert results(bounded, raising(error)) == {"one": Failed(why=why, is_forbidden=is_forbidden), "two": 2}


def test_the_process_ends_though_something_hangs() -> None:
    script = """
import threading
from hookline.daemon.commands.doctor import _end
from hookline.daemon.doctor.examine import Examination
threading.Thread(target=threading.Event().wait).start()
print("said", end="")
_end(Examination(findings=(), has_configuration=False, has_hung=True))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (78, "said"), ended.stderr
