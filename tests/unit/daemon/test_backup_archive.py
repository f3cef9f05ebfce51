"""The file of a backup: whatever is wrong with it is found before any of it is used."""

from __future__ import annotations

import io
import json
import random
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import pytest

from hookline.daemon.backup.archive import ArchiveError, Manifest, digest_of, read_archive, read_manifest, write_archive

AT = datetime(2026, 5, 18, 12, 0, tzinfo=UTC)


def manifest_of(files: dict[str, Path]) -> Manifest:
    return Manifest(
        version="0.1.0", schema=5, made_at=AT, host="box", store="/var/lib/hookline/hookline.db",
        counts={"events": 3, "pending": 1}, newest=AT, parts={name: digest_of(path) for name, path in files.items()},
    )  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "parts"
    folder.mkdir()
    made = {"hookline.db": folder / "db", "learned-secrets/asana": folder / "asana"}
    made["hookline.db"].write_bytes(random.Random(1).randbytes(900_000))
    made["learned-secrets/asana"].write_text("one-secret\n")
    return made


@pytest.fixture
def archive(tmp_path: Path, files: dict[str, Path]) -> Path:
    path = tmp_path / "b.tar.gz"
    write_archive(path, manifest_of(files), files)
    return path


def nowhere(_name: str, _manifest: Manifest) -> IO[bytes] | None:
    return None


def test_it_reads_back_as_it_was_written(archive: Path, files: dict[str, Path], tmp_path: Path) -> None:
    taken = tmp_path / "taken"

    def take(name: str, _manifest: Manifest) -> IO[bytes]:
        path = taken / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")

    assert read_archive(archive, take=take) == manifest_of(files) == read_manifest(archive)
    for name, path in files.items():
        assert (taken / name).read_bytes() == path.read_bytes()


def test_nobody_else_may_read_it_and_tar_can_open_it(archive: Path) -> None:
    assert archive.stat().st_mode & 0o777 == 0o600
    listed = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True, check=True).stdout.split()
    assert listed == ["manifest.json", "hookline.db", "learned-secrets/asana"]


def test_a_file_that_is_there_is_not_written_over(archive: Path, files: dict[str, Path]) -> None:
    with pytest.raises(FileExistsError):
        write_archive(archive, manifest_of(files), files)


@pytest.mark.parametrize("seed", range(25))
def test_a_damaged_one_is_refused(archive: Path, seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(archive.read_bytes())
    if seed % 3 == 0:
        del data[chance.randrange(len(data)) :]
    else:
        # Behind the name and time in gzip's own head, which mean nothing.
        data[chance.randrange(20, len(data) - 20)] ^= 1 << chance.randrange(8)
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"use another|do not use it|no backup"):
        read_archive(archive, take=nowhere)


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_what_is_no_backup_is_said_to_be_none(tmp_path: Path) -> None:
    for data in (b"", b"SQLite format 3\0" + bytes(500), b"\x1f\x8b" + bytes(40)):
        path = tmp_path / "x"
        path.write_bytes(data)
        with pytest.raises(ArchiveError):
            read_manifest(path)
    with pytest.raises(ArchiveError, match="does not begin with a manifest"):
        read_manifest(packed(tmp_path / "y.tar.gz", {"notes.txt": b"hello"}))
    with pytest.raises(ArchiveError, match="cannot be opened"):
        read_manifest(tmp_path / "absent")


def test_parts_that_are_missing_or_too_many_are_found(tmp_path: Path, files: dict[str, Path]) -> None:
    said = json.dumps(manifest_of(files).to_json()).encode()
    db = files["hookline.db"].read_bytes()
    with pytest.raises(ArchiveError, match="learned-secrets/asana is missing"):
        read_archive(packed(tmp_path / "less", {"manifest.json": said, "hookline.db": db}), take=nowhere)
    more = {"manifest.json": said, "hookline.db": db, "learned-secrets/evil": b"x"}
    with pytest.raises(ArchiveError, match="holds 'learned-secrets/evil'"):
        read_archive(packed(tmp_path / "more", more), take=nowhere)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a//b", "a/./b", "a\0b", ""])
def test_no_part_leaves_the_folder(tmp_path: Path, files: dict[str, Path], name: str) -> None:
    said = manifest_of(files).to_json()
    said["parts"][name] = said["parts"].pop("hookline.db")
    with pytest.raises(ArchiveError, match="is called"):
        read_manifest(packed(tmp_path / "b", {"manifest.json": json.dumps(said).encode()}))


def test_a_newer_form_names_the_version_to_use(tmp_path: Path, files: dict[str, Path]) -> None:
    said = manifest_of(files).to_json() | {"format": 2, "hookline": "3.0"}
    with pytest.raises(ArchiveError, match=r"newer Hookline \(3\.0\)"):
        read_manifest(packed(tmp_path / "b", {"manifest.json": json.dumps(said).encode()}))
