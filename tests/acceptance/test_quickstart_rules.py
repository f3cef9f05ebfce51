"""The tests of the bundled example pass, with the installed command and without any secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "hookline"
QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"


@pytest.mark.slow
def test_the_example_s_rules_are_tested(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [COMMAND, "test", "--coverage", "-c", QUICKSTART / "hookline.yaml"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed. 7 of 7 rules met by a test." in done.stdout
    assert "never met" not in done.stdout
