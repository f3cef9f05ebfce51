"""A booted systemd for tests: `systemd.run(script)`."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.systemd.installation import PYTHON, ROOT, TESTS, build_wheel, install, interpreter_folder

SANDBOX = Path(__file__).with_name("sandbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a script ended in the sandbox."""

    #: 124: not in time; 125: the system did not come up.
    status: int
    #: What it printed, on stdout and stderr.
    out: str
    #: The journal of the boot, `short-precise`.
    journal: str

    def check(self) -> Result:
        """Return itself; fail with all there is to read if the script failed."""
        if self.status:
            pytest.fail(f"status {self.status}\n{self.out}\n--- journal\n{self.journal[-12_000:]}", pytrace=False)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Systemd:
    """Boots a systemd for each script; what one writes no other sees."""

    #: Folders of files that take the place of the machine's: Hookline at /opt/hookline.
    layers: tuple[Path, ...]
    #: Of the machine -> inside.
    binds: Mapping[Path, Path]
    folder: Path

    def run(
        self,
        script: str,
        *,
        files: Mapping[str, str | bytes] | None = None,
        layers: Sequence[Path] = (),
        seconds: int = 120,
    ) -> Result:
        """Boot, run `script` by bash (`set -eu`, as root) and return how it ended.

        `files`: absolute path inside -> content, mode 0644, in /etc/hookline/credentials 0600; not in /tmp, /run, /dev.
        `layers`: folders whose files take the place of all others but `files`.
        """
        box = self.folder / f"run{len(list(self.folder.iterdir()))}"
        own = box / "files"
        own.mkdir(parents=True)
        for name, content in (files or {}).items():
            path = own / name.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            path.chmod(0o600 if path.parent.name == "credentials" else 0o644)
        for folder in [own, *own.rglob("*/")]:
            folder.chmod(0o700 if folder.name == "credentials" else 0o755)
        (box / "script").write_text(f"set -eu\ncd /root\n{script}")
        words: list[str | Path] = [SANDBOX, "--seconds", str(seconds), "--journal", box / "journal"]
        for layer in (*self.layers, *layers, own):
            words += ["--layer", layer]
        for outside, inside in self.binds.items():
            words += ["--bind", f"{outside}:{inside}"]
        # Ends with whoever runs the tests, also if that is killed.
        ended = subprocess.run(
            ["setpriv", "--pdeathsig", "TERM", *words, box / "script"],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds + 60,
        )
        journal = box / "journal"
        return Result(
            status=ended.returncode,
            out=ended.stdout.decode("utf-8", "replace"),
            journal=journal.read_text("utf-8", "replace") if journal.exists() else "",
        )


@cache
def obstacle() -> str | None:
    """Return why no systemd can be booted here; None if one was."""
    if os.geteuid() != 0:
        return "booting a systemd takes root"
    script = Path("/dev/null").resolve()
    for program in ("unshare", "setpriv", "ip", "systemctl", "journalctl"):
        if subprocess.run(["which", program], check=False, capture_output=True).returncode:
            return f"booting a systemd takes {program}: see .ci/packages"
    tried = subprocess.run([SANDBOX, "--seconds", "60", script], check=False, capture_output=True, text=True)
    return None if tried.returncode == 0 else f"no systemd boots here: {tried.stderr.strip()[-500:]}"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a layer with this checkout at /opt/hookline, made once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    layer = shared / "installed"
    with (shared / "installed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not layer.exists():
            half = shared / "installing"
            install(build_wheel(ROOT, tmp_path_factory.mktemp("wheel")), half)
            half.rename(layer)
    return layer


@pytest.fixture
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Systemd:
    """Return what boots a systemd with Hookline installed; skip, or fail where it is needed, if it cannot be."""
    reason = obstacle()
    if reason is not None:
        if os.environ.get("HOOKLINE_NEEDS_SYSTEMD"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    installed: Path = request.getfixturevalue("installed")
    outside = interpreter_folder()
    folder = tmp_path / "systemd"
    folder.mkdir()
    # The tests' own environment too: a checkout may lie in /tmp, which is empty inside.
    binds = {Path(sys.prefix): TESTS} | ({outside: PYTHON} if outside else {})
    return Systemd(layers=(installed,), binds=binds, folder=folder)
