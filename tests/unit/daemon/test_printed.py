from __future__ import annotations

import asyncio
import io
import sys

import anyio.to_thread
import pytest

from hookline.daemon.workers.printed import Printed, printing

pytestmark = pytest.mark.anyio


async def test_what_is_printed_belongs_to_whoever_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    beneath = io.StringIO()
    monkeypatch.setattr(sys, "stdout", Printed(beneath))
    said: dict[str, list[str]] = {"one": [], "two": []}
    both = asyncio.Barrier(2)

    async def attempt(name: str) -> None:
        with printing(said[name].append):
            print(name, end=" ")  # noqa: T201
            await both.wait()
            print("begins\n\nand goes on")  # noqa: T201
            await anyio.to_thread.run_sync(print, f"{name} in a thread")
            await asyncio.create_task(asyncio.to_thread(print, f"{name} in a task"))
            sys.stdout.writelines(["without ", "an end"])

    await asyncio.gather(attempt("one"), attempt("two"))
    print("nobody's")  # noqa: T201
    for name, lines in said.items():
        assert lines == [f"{name} begins", "and goes on", f"{name} in a thread", f"{name} in a task", "without an end"]
    assert beneath.getvalue() == "nobody's\n"


def test_a_line_that_never_ends_is_cut() -> None:
    said: list[str] = []
    with printing(said.append):
        stream = Printed(io.StringIO())
        for _ in range(5):
            stream.write("x" * 4_000)
        stream.write("y" * 50_000 + "\nz")
    assert [len(line) for line in said] == [10_000, 10_000, 1]


def test_all_else_is_the_stream_s_own() -> None:
    assert Printed(sys.__stdout__).fileno() == 1  # type: ignore[arg-type]
