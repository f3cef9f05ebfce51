"""Write into test files what the rules do now, in the place of what the tests expected."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hookline.daemon.regular_file import read_regular
from hookline.daemon.rule_files import MAX_FILE_BYTES
from hookline.daemon.rule_tests.result import FileResult, Result
from hookline.rules import Json
from hookline.rules.document import Findings
from hookline.rules.reader import read_document
from hookline.rules.rule_test_compare import laid_like
from hookline.rules.rule_test_text import Edit, Step, with_edits


def update_file(file: FileResult) -> FileResult:
    """Write what the rules do into the failed tests of a file, and return its results as they are then.

    A test whose deliveries would fail is left as it is. Raises `ValueError`, with a message for people, if the file
    has changed since it was read, or cannot be written.
    """
    edits = {result.test.index: _edit(result) for result in file.results if _can_be_updated(result)}
    if not edits:
        return file
    text = file.data.decode("utf-8")
    new = with_edits(text, edits)
    if _plain(new, file.name) != _edited(_plain(text, file.name), edits):
        raise ValueError(f"{file.name} cannot be rewritten: edit it by hand")
    _write(file, new.encode("utf-8"))
    results = tuple(
        replace(result, status="updated") if result.test.index in edits else result for result in file.results
    )
    return replace(file, results=results, data=new.encode("utf-8"))


def _can_be_updated(result: Result) -> bool:
    return result.status == "failed" and not any(one.problem for one in result.done)


def _edit(result: Result) -> Edit:
    compared = result.steps
    steps: list[Step] | None = None
    if compared is not None and not compared.is_same:
        # Those that were met stay as they are written, and what is near keeps the keys that were written.
        new = {id(expected): expected.options for expected, _ in compared.met}
        new |= {id(near.expected): laid_like(near.expected.options, near.done.options) for near in compared.near}
        steps = [(step.name, new[id(step)]) for step in result.test.expect or () if id(step) in new]
        steps += [(one.name, laid_like(one.written, one.options)) for one in compared.surplus]
    return Edit(expect=steps, rules=list(result.matched) if result.rules_differ else None)


def _plain(text: str, name: str) -> Any:
    node = read_document(text, name, Findings())
    return None if node is None else node.plain()


def _edited(document: Any, edits: Mapping[int, Edit]) -> Any:
    for index, edit in edits.items():
        test = document["tests"][index]
        if edit.expect is not None:
            test["expect"] = [_written(*step) for step in edit.expect]
        if edit.rules is not None:
            test["rules"] = list(edit.rules)
    return document


def _written(name: str, options: Mapping[str, Json]) -> Json:
    return {name: dict(options)} if options else name


def _write(file: FileResult, data: bytes) -> None:
    """Write a file whole or not at all, if nobody has written it since. Raises `ValueError`."""
    target = Path(os.path.realpath(file.path))
    if read_regular(target, limit=MAX_FILE_BYTES) != file.data:
        raise ValueError(f"{file.name} has changed since it was read: nothing was written; run it again")
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                os.fchmod(descriptor, target.stat().st_mode & 0o7777)
            temporary.replace(target)
        except OSError:
            temporary.unlink()
            raise
    except OSError as error:
        raise ValueError(f"{file.name} cannot be written: {error.strerror}") from error
