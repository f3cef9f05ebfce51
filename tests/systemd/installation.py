"""Hookline as users have it: a venv at /opt/hookline, made from the wheel, that a service user can read."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
#: Where the interpreter lies inside, if its own place is a home, into which no service may look.
PYTHON = Path("/opt/python")
#: Where the environment that runs the tests stands inside.
TESTS = Path("/opt/tests")
PROGRAM = Path("/opt/hookline")


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of a checkout (its tracked and new files) into `folder`, without a network."""
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(listed, cwd=source, check=True, capture_output=True, text=True).stdout.splitlines()
    copy = folder / "source"
    for name in names:
        # Built from a copy: setuptools would leave a build/lib behind, and ship from it.
        if (source / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, copy / name)
    return build_wheel_of(copy, folder)


def build_wheel_of(source: Path, folder: Path) -> Path:
    """Build the wheel of a plain folder, which is written to, into `folder`."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", "-w", folder, source], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, layer: Path) -> None:
    """Lay out `wheel`, all that it needs, and where its interpreter is, as files below `layer`."""
    program = layer / PROGRAM.relative_to("/")
    make: list[str | Path] = [sys.executable, "-m", "venv", "--without-pip", program]
    subprocess.run(make, check=True, capture_output=True)
    (site,) = program.glob("lib/python3*/site-packages")
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        program / "bin/python",
        "install",
        "--quiet",
        "--no-index",
    ]
    subprocess.run([*pip, "--no-deps", "--disable-pip-version-check", wheel], check=True, capture_output=True)
    for name in _needed("hookline[speed,apprise,postgres]"):
        _copy_distribution(name, site)
    _settle(program)
    subprocess.run(["chmod", "-R", "go+rX", layer], check=True)
    if interpreter_folder() is not None:
        # The interpreter looks for its library where it was built, which is out of a service's sight, then in these; the
        # machine may have one of that name, made otherwise.
        for library in Path(sys.base_prefix, "lib").glob("libpython3.*.so.*"):
            for folder in ("usr/lib", f"usr/lib/{sysconfig.get_config_var('MULTIARCH')}"):
                link = layer / folder / library.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(PYTHON / "lib" / library.name)


def interpreter_folder() -> Path | None:
    """Return the interpreter's folder, if it has to be shown at another place; None where a service can read it."""
    prefix = Path(sys.base_prefix).resolve()
    return prefix if prefix.is_relative_to("/root") or prefix.is_relative_to("/home") else None


def _settle(program: Path) -> None:
    """Write into the venv the places that it will have."""
    moved = interpreter_folder()
    home = (PYTHON if moved else Path(sys.base_prefix).resolve()) / "bin"
    name = f"python3.{sys.version_info.minor}"
    for link in (program / "bin").glob("python*"):
        link.unlink()
    (program / "bin" / "python").symlink_to(home / name)
    (program / "bin" / "python3").symlink_to("python")
    version = ".".join(map(str, sys.version_info[:3]))
    (program / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\nversion = {version}\n")
    for script in (program / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and script.read_bytes()[:2] == b"#!":
            _, _, rest = script.read_text().partition("\n")
            script.write_text(f"#!{PROGRAM}/bin/python\n{rest}")


def _needed(requirement: str) -> set[str]:
    """Return the names of all distributions that a requirement needs, but its own."""
    todo, seen = [Requirement(requirement)], set[tuple[str, frozenset[str]]]()
    while todo:
        wanted = todo.pop()
        key = (re.sub(r"[-_.]+", "-", wanted.name).lower(), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in importlib.metadata.requires(wanted.name) or ():
            inner = Requirement(text)
            extras = wanted.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(inner)
    return {name for name, _ in seen} - {"hookline"}


def _copy_distribution(name: str, site: Path) -> None:
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        # Scripts lie outside of it.
        if ".." not in file.parts and source.is_file():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            # With its time, else what is compiled counts as stale.
            shutil.copy2(source, site / file)
