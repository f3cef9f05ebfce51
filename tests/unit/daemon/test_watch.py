"""What differs is found by content, told or not, once it is at rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog

from hookline.daemon.config.load import load_settings
from hookline.daemon.regular_file import read_regular
from hookline.daemon.reload import watch
from hookline.daemon.reload.watch import EVERY, Fingerprints, Watch, files_of

LATER = 4_000_000_000 * 10**9


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text("rules: []")
    return path


def rewritten_in_place(path: Path) -> None:
    path.write_text("rules: [ ]")


def replaced(path: Path) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text("rules: [{}]")
    fresh.replace(path)


def same_size_and_times(path: Path) -> None:
    """Replace by a file that differs in its inode and content alone."""
    status = path.stat()
    fresh = path.with_suffix(".new")
    fresh.write_text("rules: {}")
    os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
    fresh.replace(path)


@pytest.mark.parametrize(
    "change",
    [rewritten_in_place, replaced, same_size_and_times, Path.unlink, lambda path: path.chmod(0o600)],
    ids=["in place", "replaced", "same size and times", "gone", "rights"],
)
def test_a_change_shows(file: Path, change: Callable[[Path], Any]) -> None:
    prints = Fingerprints(clock_ns=lambda: LATER)
    before = prints.take([file])
    assert prints.take([file]) == before
    change(file)
    assert prints.take([file]) != before


def test_what_holds_the_same_is_the_same(file: Path) -> None:
    prints = Fingerprints(clock_ns=lambda: LATER)
    before = prints.take([file])
    os.utime(file)
    assert prints.take([file, file]) == before
    copy = file.with_suffix(".new")
    copy.write_bytes(file.read_bytes())
    copy.replace(file)
    assert prints.take([file]) == before


def test_only_what_changed_is_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def reading(path: Path, *, limit: int) -> bytes:
        read.append(path.name)
        return read_regular(path, limit=limit)

    monkeypatch.setattr(watch, "read_regular", reading)
    other = file.with_name("b.yaml")
    other.write_text("rules: []")
    prints = Fingerprints(clock_ns=lambda: LATER)
    prints.take([file, other])
    prints.take([file, other])
    assert sorted(read) == ["a.yaml", "b.yaml"]
    rewritten_in_place(other)
    prints.take([file, other])
    assert read[2:] == ["b.yaml"]


def test_a_file_that_was_just_written_is_read_again(file: Path) -> None:
    # Written twice within one tick of the file system's clock, and as long: nothing but the content tells.
    prints = Fingerprints(clock_ns=lambda: file.stat().st_mtime_ns + 1)
    status = file.stat()
    before = prints.take([file])

    class Frozen(type(file)):  # type: ignore[misc] # the facts of a file whose clock stands still
        def stat(self, **_: Any) -> os.stat_result:
            return status

    frozen = Frozen(file)
    assert prints.take([frozen]) == before
    file.write_text("rules: {}")
    assert prints.take([frozen]) != before


@pytest.mark.parametrize("odd", ["a folder", "a fifo", "nothing", "a\0name"])
def test_what_cannot_be_read_has_a_fingerprint_too(tmp_path: Path, odd: str) -> None:
    path = tmp_path / odd
    if odd == "a folder":
        path.mkdir()
    elif odd == "a fifo":
        os.mkfifo(path)
    prints = Fingerprints()
    assert prints.take([path]) == prints.take([path])
    assert prints.take([path])[path]


def test_a_configuration_is_made_of_itself_its_rules_and_its_plugins(tmp_path: Path) -> None:
    for name in (
        "rules/a.yaml", "rules/a.test.yaml", "rules/.b.yaml", "rules/notes.txt", "plugins/x.py", "plugins/_y.py",
        "plugins/__pycache__/x.py", "plugins/lib/z.py", "plugins/shop.source.yaml", "plugins/.hidden/x.py",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    config = tmp_path / "hookline.yaml"
    config.write_text("version: 1\nrules: [rules, absent.yaml]\n")
    (tmp_path / "plugins" / "shop.source.yaml").unlink()
    settings = load_settings(config, environ={}, actions=())
    (tmp_path / "plugins" / "shop.source.yaml").touch()
    found = {str(path.relative_to(tmp_path)) for path in files_of(settings)}
    assert found == {
        "hookline.yaml", "rules", "rules/a.yaml", "absent.yaml",
        "plugins", "plugins/x.py", "plugins/_y.py", "plugins/lib/z.py", "plugins/shop.source.yaml",
    }  # fmt: skip


class Disk:
    """Contents that change as told, and a clock that passes by sleeping."""

    def __init__(self, *contents: str) -> None:
        self.contents = list(contents)
        self.slept = 0.0

    async def fingerprint(self) -> str:
        return self.contents.pop(0) if len(self.contents) > 1 else self.contents[0]

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def watch(self, files: list[Path]) -> Watch:
        return Watch(files=lambda: files, fingerprint=self.fingerprint, log=structlog.get_logger(), sleep=self.sleep)


def iter_once() -> Iterator[set[Any]]:
    yield set()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is told, and every wait is over at once."""
    monkeypatch.setattr(watch, "watch", lambda *_, **__: iter_once())


@pytest.mark.anyio
@pytest.mark.usefixtures("silent")
async def test_a_change_counts_once_it_rests(tmp_path: Path) -> None:
    disk = Disk("b", "b", "b", "c", "d", "d", "d", "d", "e")
    await disk.watch([tmp_path]).changed(lambda: "a")
    assert disk.contents == ["e"]
    assert disk.slept == pytest.approx(0.6)


@pytest.mark.anyio
@pytest.mark.usefixtures("silent")
async def test_who_never_rests_is_not_waited_for(tmp_path: Path) -> None:
    disk = Disk(*map(str, range(1000)))
    await disk.watch([tmp_path]).changed(lambda: "a")
    assert disk.slept == pytest.approx(2.0)


@pytest.mark.anyio
@pytest.mark.usefixtures("silent")
async def test_what_is_changed_back_is_no_change(tmp_path: Path) -> None:
    disk = Disk("a", "b", "b", "a", "a", "a", "a", "a", "c")
    await disk.watch([tmp_path]).changed(lambda: "a")
    assert disk.contents == ["c"]


@pytest.mark.anyio
async def test_where_the_system_tells_nothing_it_is_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def deaf(*_: Any, **__: Any) -> Any:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr(watch, "watch", deaf)
    disk = Disk("a", "a", "a", "b")
    await disk.watch([tmp_path]).changed(lambda: "a")
    assert disk.slept == pytest.approx(0.3 + 3 * EVERY.total_seconds() + 0.3, abs=0.01)
    assert capsys.readouterr().out.count("watch.deaf") == 1


@pytest.mark.anyio
async def test_a_wait_that_is_cancelled_leaves_no_thread(tmp_path: Path) -> None:
    disk = Disk("a")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(disk.watch([tmp_path]).changed, lambda: "a")
            await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize("change", [rewritten_in_place, replaced], ids=["in place", "replaced"])
@pytest.mark.parametrize("named", ["file", "folder", "link", "link in a folder"])
async def test_the_system_tells_of_a_change_at_once(
    file: Path, tmp_path: Path, change: Callable[[Path], Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Were it found by looking alone, this would not end.
    monkeypatch.setattr(watch, "EVERY", timedelta(hours=1))
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "link.yaml"
    link.symlink_to(file)
    files = {"file": [file], "folder": [tmp_path, file], "link": [link], "link in a folder": [link.parent, link]}[named]
    prints = Fingerprints()
    known = prints.take(files)

    async def look() -> dict[Path, str]:
        return prints.take(files)

    ears = Watch(files=lambda: files, fingerprint=look, log=structlog.get_logger())
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ears.changed, lambda: known)
            # Past its first short wait: it listens for an hour now.
            await anyio.sleep(0.8)
            change(file)
