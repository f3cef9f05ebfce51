"""A disk that fails: at each call by itself (FT-26), at a flush (A11), and when the power goes (FT-25)."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.disk_faults import Ended, build_shim, check_after, held, run_child

pytestmark = pytest.mark.slow

#: `make faults` sets it: every call fails in its turn, not a few.
IS_WHOLE = "HOOKLINE_FAULTS" in os.environ
EVENTS = 100


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def calls(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often each call is made in a run that nothing happens to."""
    folder = tmp_path_factory.mktemp("counted")
    ended = run_child(folder / "hookline.db", shim, EVENTS, HOOKLINE_COUNTS=str(folder / "counts"))
    assert (ended.status, len(ended.stored)) == (0, EVENTS), ended.stderr
    return Counter((folder / "counts").read_text().split())


def chosen(most: int, count: int) -> list[int]:
    if IS_WHOLE:
        return list(range(1, most + 1))
    # The first ones make the file, the last ones close it.
    return sorted({1, most, *random.Random(count).sample(range(1, most + 1), min(count, most))})


def fail_once(folder: Path, shim: Path, call: str, error: str, n: int) -> Ended:
    folder.mkdir()
    store, fault = folder / "hookline.db", folder / "fault"
    fault.write_text(f"{call} {error} {n}")
    ended = run_child(store, shim, EVENTS, HOOKLINE_FAULT=str(fault))
    assert ended.status in {0, 1}, f"{call} {error} {n}: {ended.stderr}"
    fault.unlink()
    check_after(store, ended)
    return ended


@pytest.mark.timeout(120 if not IS_WHOLE else 7200)
@pytest.mark.parametrize(
    ("call", "error", "count"),
    [
        ("pwrite", "EIO", 5), ("pwrite", "ENOSPC", 5), ("pwrite", "EROFS", 3), ("pwrite", "SHORT", 3),
        ("pwrite", "EINTR", 2), ("sync", "EIO", 8), ("sync", "EINTR", 2), ("ftruncate", "EIO", 2), ("open", "EIO", 3),
        ("open", "ENOSPC", 2),
    ],
)  # fmt: skip
def test_whichever_call_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, shim: Path, calls: Counter[str], call: str, error: str, count: int
) -> None:
    failed = 0
    for n in chosen(calls[call], count):
        ended = fail_once(tmp_path / str(n), shim, call, error, n)
        # A start that fails says so and ends; what fails later is answered as not stored, or put right by SQLite.
        assert ended.was_open or ended.refused, f"{call} {error} {n}: {ended.stderr}"
        if (call, error) == ("sync", "EIO") and n <= calls[call] - 4:
            # Also of what SQLite would flush without a word, to bring the -wal file into the file. When it closes that
            # file it does so, and leaves the other one.
            assert (ended.status, ended.refused[-1]) == (1, "io"), n
        failed += ended.status == 1 or bool(ended.refused)
        shutil.rmtree(tmp_path / str(n))
    if error in {"EIO", "ENOSPC"} and call in {"pwrite", "sync"}:
        assert failed, "nothing failed: the shim does not reach the store"


def test_after_a_flush_that_failed_nothing_more_is_written(tmp_path: Path, shim: Path, calls: Counter[str]) -> None:
    ended = fail_once(tmp_path / "one", shim, "sync", "EIO", calls["sync"] // 2)
    # One flush fails, and the disk is well again: whoever goes on has lost pages without knowing which.
    assert ended.refused[-1] == "io"
    assert ended.status == 1
    assert 0 < len(ended.stored) < EVENTS


def test_a_full_disk_is_no_reason_to_end(tmp_path: Path, shim: Path, calls: Counter[str]) -> None:
    ended = fail_once(tmp_path / "one", shim, "pwrite", "ENOSPC", calls["pwrite"] // 2)
    assert (ended.status, set(ended.refused) - {"disk_full"}) == (0, set())
    assert len(ended.stored) >= EVENTS - 5


def test_a_mount_that_turns_read_only_is_no_reason_to_end(tmp_path: Path, shim: Path, calls: Counter[str]) -> None:
    ended = fail_once(tmp_path / "one", shim, "pwrite", "EROFS", calls["pwrite"] // 2)
    assert (ended.status, set(ended.refused) - {"read_only"}) == (0, set())
    assert len(ended.stored) >= EVENTS - 5


def lose_power(store: Path, shadow: Path, chance: random.Random) -> None:
    """Leave of each file what was flushed, and of what was written since a part, in pages, as a disk may."""
    for ending in ("", "-wal"):
        file, flushed = store.with_name(store.name + ending), shadow / f"{store.name}{ending}"
        if not flushed.exists():
            continue
        old, new = flushed.read_bytes(), file.read_bytes() if file.exists() else b""
        pages = []
        for start in range(0, max(len(old), len(new)), 512):
            before, after = old[start : start + 512], new[start : start + 512]
            pages.append(after if before != after and chance.random() < 0.5 else before.ljust(len(after), b"\0"))
        file.write_bytes(b"".join(pages)[: chance.choice([len(old), max(len(old), len(new))])])
    # Of shared memory nothing is left.
    store.with_name(store.name + "-shm").unlink(missing_ok=True)


def cut_off(folder: Path, shim: Path, chance: random.Random, *, synchronous: str) -> tuple[Path, Ended]:
    shadow = folder / "shadow"
    shadow.mkdir(parents=True)
    store = folder / "hookline.db"
    ended = run_child(
        store, shim, EVENTS, synchronous=synchronous, kill_after=chance.randint(2, EVENTS // 5),
        HOOKLINE_SHADOW=str(shadow),
    )  # fmt: skip
    lose_power(store, shadow, chance)
    return store, ended


@pytest.mark.timeout(120 if not IS_WHOLE else 3600)
@pytest.mark.parametrize("seed", range(6 if not IS_WHOLE else 300))
def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path, shim: Path, seed: int) -> None:
    store, ended = cut_off(tmp_path / "cut", shim, random.Random(seed), synchronous="FULL")
    assert ended.stored
    check_after(store, ended)


def test_a_store_that_does_not_flush_each_commit_loses_events_in_that_test(tmp_path: Path, shim: Path) -> None:
    lost = 0
    for seed in range(4):
        store, ended = cut_off(tmp_path / str(seed), shim, random.Random(seed), synchronous="NORMAL")
        lost += len(ended.stored - held(store).keys())
    assert lost, "the power cut takes nothing away: the test above would pass whatever is promised"
