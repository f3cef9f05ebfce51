from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "hookline"


@pytest.mark.slow
def test_the_demo_shows_everything_as_expected(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "demo", "--once"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    rows = [line for line in lines if line.endswith("ok")]
    assert len(rows) == 10
    assert not [line for line in lines if "WRONG" in line]
    assert "All 10 as expected: 10 events accepted, 1 duplicate, 1 forgery refused; 11 deliveries." in lines
    (again,) = [row for row in rows if "again" in row]
    assert "duplicate of evt_" in again
    (forged,) = [row for row in rows if "forged" in row]
    assert " 401 " in forged
    # It cleans up after itself.
    assert list(tmp_path.iterdir()) == []
