"""Secrets that senders bring: who may bring one, and what a crash, a stranger or a broken file can do."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hookline.daemon.sources import learned as module
from hookline.daemon.sources.learned import MAX_SECRETS, FileLearnedSecrets, learned_secrets_folder
from hookline.daemon.sources.port import RequestRejected
from hookline.daemon.store.port import StoreError

pytestmark = pytest.mark.anyio

SECRET = "b537207f20cbfa02357cf448134da559"
OTHER = "0123456789abcdef0123456789abcdef"


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return learned_secrets_folder(tmp_path)


def loaded(folder: Path) -> FileLearnedSecrets:
    secrets = FileLearnedSecrets(folder)
    secrets.load()
    return secrets


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_the_first_secret_is_kept_for_good_and_for_its_owner_alone(folder: Path) -> None:
    secrets = loaded(folder)
    assert (secrets.is_waiting("asana"), secrets.known("asana"), names(folder)) == (True, (), [])
    earlier = os.umask(0)
    try:
        await secrets.learn("asana", SECRET)
    finally:
        os.umask(earlier)
    assert (secrets.is_waiting("asana"), secrets.known("asana")) == (False, (SECRET,))
    assert loaded(folder).known("asana") == (SECRET,)
    assert names(folder) == ["asana"]
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "asana")]
    assert modes == [0o700, 0o600]
    assert (secrets.is_waiting("other"), secrets.known("other")) == (True, ())


async def test_a_secret_is_on_the_disk_before_learn_returns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def moved(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", moved)
    await loaded(folder).learn("asana", SECRET)
    # The last one is the folder that the new folder stands in.
    assert order == ["file", "rename", "folder", "folder"]


async def test_a_second_secret_needs_an_operator_and_comes_in_time(folder: Path) -> None:
    clock = Clock()
    secrets = FileLearnedSecrets(folder, monotonic=clock)
    await secrets.learn("asana", SECRET)
    with pytest.raises(RequestRejected) as caught:
        await secrets.learn("asana", OTHER)
    assert (caught.value.reason, caught.value.status) == ("handshake", 403)
    await secrets.wait("asana", timedelta(minutes=10))
    clock.seconds += 600
    assert not secrets.is_waiting("asana")
    await secrets.wait("asana", timedelta(minutes=10))
    clock.seconds += 599
    await secrets.learn("asana", OTHER)
    assert secrets.known("asana") == (OTHER, SECRET)
    assert not secrets.is_waiting("asana")


async def test_the_oldest_secret_goes_when_there_are_too_many(folder: Path) -> None:
    secrets = loaded(folder)
    for number in range(MAX_SECRETS + 2):
        await secrets.wait("asana")
        await secrets.learn("asana", f"secret-number-{number}")
    assert len(secrets.known("asana")) == MAX_SECRETS
    assert secrets.known("asana")[0] == f"secret-number-{MAX_SECRETS + 1}"
    assert loaded(folder).known("asana") == secrets.known("asana")


async def test_of_two_at_one_time_one_is_taken(folder: Path) -> None:
    secrets = loaded(folder)
    ends = await asyncio.gather(secrets.learn("asana", SECRET), secrets.learn("asana", OTHER), return_exceptions=True)
    assert [getattr(end, "status", None) for end in ends] == [None, 403]
    assert secrets.known("asana") == (SECRET,)


@pytest.mark.parametrize(
    "secret", ["", "short", "x" * 256, "with a blank in it", "line\nbreak-in-it", "é" * 10, "\0" * 9]
)
async def test_what_is_no_secret_is_not_kept(folder: Path, secret: str) -> None:
    secrets = loaded(folder)
    with pytest.raises(RequestRejected) as caught:
        await secrets.learn("asana", secret)
    assert (caught.value.reason, caught.value.status) == ("handshake", 400)
    assert secrets.is_waiting("asana")
    assert names(folder) == []


def in_the_way(folder: Path) -> Path:
    path = folder / "learned-secrets"
    path.write_text("a file, not a folder")
    return path


async def test_a_disk_that_cannot_keep_it_is_a_503_and_the_source_still_waits(tmp_path: Path) -> None:
    secrets = FileLearnedSecrets(in_the_way(tmp_path))
    with capture_logs() as lines, pytest.raises(RequestRejected) as caught:
        await secrets.learn("asana", SECRET)
    assert (caught.value.reason, caught.value.status) == ("handshake", 503)
    assert (secrets.is_waiting("asana"), secrets.known("asana")) == (True, ())
    assert [line["event"] for line in lines] == ["source.not_learned"]
    assert SECRET not in str(lines)


async def test_a_sender_that_hangs_up_within_the_write_leaves_file_and_memory_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    write = module._write_file

    def slow(folder: Path, name: str, secrets: tuple[str, ...]) -> None:
        begun.set()
        assert go_on.wait(10)
        write(folder, name, secrets)

    monkeypatch.setattr(module, "_write_file", slow)
    secrets = loaded(folder)
    learning = asyncio.create_task(secrets.learn("asana", SECRET))
    await asyncio.to_thread(begun.wait, 10)
    assert not secrets.is_waiting("asana")
    learning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await learning
    go_on.set()
    await secrets.close()
    assert secrets.known("asana") == loaded(folder).known("asana") == (SECRET,)


async def test_what_is_forgotten_is_gone_and_waited_for_again(folder: Path) -> None:
    secrets = loaded(folder)
    assert await secrets.forget("asana") == 0
    await secrets.learn("asana", SECRET)
    assert await secrets.forget("asana") == 1
    assert (secrets.is_waiting("asana"), secrets.known("asana"), names(folder)) == (True, (), [])


@pytest.mark.parametrize("content", [b"", b"short\n", SECRET.encode() + b"\n\n", b"\xff" * 20, b"x" * 5_000])
def test_a_broken_file_stops_the_start_and_says_where(folder: Path, content: bytes) -> None:
    # Taken as "none known", it would open the source to anybody's secret.
    folder.mkdir(mode=0o700)
    (folder / "asana").write_bytes(content)
    (folder / "asana").chmod(0o600)
    with pytest.raises(StoreError) as caught:
        FileLearnedSecrets(folder).load()
    assert str(folder / "asana") in str(caught.value)
    assert "remove it and make the webhook anew" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_half_written_files_are_not_read(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "asana.new").write_text("ha")
    assert loaded(folder).known("asana") == ()


async def test_a_file_that_others_can_read_is_warned_of(folder: Path) -> None:
    await loaded(folder).learn("asana", SECRET)
    (folder / "asana").chmod(0o644)
    with capture_logs() as lines:
        loaded(folder)
    assert [(line["event"], line["path"], line["mode"]) for line in lines] == [
        ("learned_secrets.readable", str(folder / "asana"), "644")
    ]
