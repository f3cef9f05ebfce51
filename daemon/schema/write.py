"""The schemas as files beside the configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.config.settings import Settings
from hookline.daemon.schema.configuration import configuration_schema
from hookline.daemon.schema.known import Known, known_in
from hookline.daemon.schema.rule_tests import rule_tests_schema
from hookline.daemon.schema.rules import rules_schema
from hookline.daemon.schema.shapes import Schema
from hookline.daemon.secrets import Secrets
from hookline.rules import Problem

#: What there are schemas of, each with the name of its file.
FILES: Final[Mapping[str, str]] = {
    "rules": "hookline-rules.schema.json",
    "tests": "hookline-tests.schema.json",
    "config": "hookline.schema.json",
}
_MAKERS: Final[Mapping[str, Callable[[Known], Schema]]] = {
    "rules": rules_schema,
    "tests": rule_tests_schema,
    "config": configuration_schema,
}


async def make_schemas(settings: Settings, environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Return the text of each schema, by the keys of `FILES`, and what is wrong with plug-ins: their options are open.

    Plug-ins are loaded for it, in this process.
    """
    runner = LocalRunner(settings, Secrets(environ, folder=settings.path.parent), is_offline=True)
    try:
        inspection = await runner.inspect()
    finally:
        await runner.close()
    known = known_in(settings, inspection)
    texts = {name: f"{json.dumps(make(known), indent=1, ensure_ascii=False)}\n" for name, make in _MAKERS.items()}
    return texts, inspection.problems


def modeline(schema: Path, folder: Path) -> str:
    """Return the first line of a YAML file in `folder` by which an editor finds its schema."""
    path = Path(os.path.relpath(schema, folder)).as_posix()
    return f"# yaml-language-server: $schema={path if path.startswith('..') else f'./{path}'}"


def write_file(path: Path, text: str) -> None:
    """Write the file whole or not at all: an editor may read it at any moment. Raises `OSError`."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
