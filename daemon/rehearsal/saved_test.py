"""A fixture as an entry of a test file: written, and put into the file beside what stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from hookline.daemon.delivery.runner import Rendered
from hookline.daemon.rehearsal.event_fixture import Fixture
from hookline.daemon.rehearsal.fixture_request import CannotSaveError
from hookline.daemon.rehearsal.sample_events import Given
from hookline.daemon.secrets import MASK
from hookline.rules import Event, Json
from hookline.rules.rule_test_compare import laid_like
from hookline.rules.rule_test_text import flow_text, name_text, step_lines
from hookline.rules.subject import time_text

#: Where a test stands that was made of an event, and its fixture, from the folder of the rules.
TESTS_FILE: Final = "saved.test.yaml"
_SAMPLES: Final = "samples"
_NOT_IN_FILE_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")
_HEAD: Final = (
    "# Made by `hookline events save` from stored events; change it as you like. `hookline test` runs it.\ntests:\n"
)


def fixture_file(event: Event) -> str:
    """Return where an event's body is kept, from the folder of the rules."""
    name = _NOT_IN_FILE_NAMES.sub("-", f"{event.source}-{event.type[:60]}-{event.id[-6:]}")
    return f"{_SAMPLES}/{name}.json"


def name_of_test(event: Event) -> str:
    """Make up the name of an event's test."""
    return f"{event.type} from {event.source}, {event.id[-6:]}"


def lines_of_test(name: str, source: str, event_file: str, fixture: Fixture) -> list[str]:
    """Write the entry, without its dash and indentation."""
    given = fixture.given
    said: dict[str, Json] = {
        "type": given.type,
        "tenant": given.tenant,
        "sender_id": given.sender_id,
        "client_ip": None if given.client_ip == Given().client_ip else given.client_ip,
        "headers": dict(given.headers) or None,
        "query": dict(given.query) or None,
    }
    return [
        f"name: {name_text(name)}",
        f"from: {name_text(source)}",
        f"event: {name_text(event_file)}",
        f"at: {time_text(given.received_at)}",
        *(f"{key}: {flow_text(value)}" for key, value in said.items() if value is not None),
        f"rules: [{', '.join(map(name_text, fixture.rules))}]",
        *_expect_lines(fixture.steps),
    ]


def _expect_lines(steps: Sequence[Rendered] | None) -> Iterator[str]:
    """Write what is sent; nothing of it if that is not known, or one would fail, as no expectation meets that."""
    if steps is None or any(step.problem is not None for step in steps):
        return
    if not steps:
        yield "expect: []"
        return
    yield "expect:"
    for step in steps:
        for number, line in enumerate(step_lines(step.destination, expected_options(step))):
            yield f"{'    ' if number else '  - '}{line}" if line else ""


def expected_options(step: Rendered) -> dict[str, Json]:
    """Return the options that the rule writes, rendered, but for those with a secret in them."""
    return _without_secrets(laid_like(step.step.options, step.options))


def _without_secrets(options: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in options.items():
        if isinstance(value, dict) and value:
            inner = _without_secrets(value)
            if inner:
                found[key] = inner
        elif MASK not in str(value) and _is_writable(value):
            found[key] = value
    return found


def _is_writable(value: Json) -> bool:
    """Whether YAML can hold it: half of a surrogate pair is no character there."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return "\\ud" not in repr(value)


def with_test(text: str, name: str, lines: Sequence[str], *, replaces: bool) -> str:
    """Return a test file's text with one more test at its end; all else stays as it is.

    `replaces`: a test of this name gives way. Raises `CannotSaveError` if there is one and it may not, and for a file
    that is written in another way than with a dash for each test.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    has_key, tests = _tests(text)
    indent = tests[0].start_mark.column - 2 if tests else 2
    at = next((number for number, node in enumerate(tests) if _name(node) == name), None)
    if at is not None:
        if not replaces:
            raise CannotSaveError(f'There is a test "{name}" already: --name gives another, --force replaces it.')
        text = _without(text, tests, at)
    if text and not text.endswith("\n"):
        text += newline
    if not has_key:
        text += _HEAD.replace("\n", newline) if not text else f"tests:{newline}"
    lead = " " * indent
    item = [f"{lead}{'  ' if number else '- '}{line}" if line else "" for number, line in enumerate(lines)]
    return text + newline.join([*item, ""])


def _tests(text: str) -> tuple[bool, list[Any]]:
    """Return whether the text has `tests:`, and its entries as libyaml composes them."""
    try:
        document: Any = yaml.compose(text.removeprefix("\ufeff"), Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise CannotSaveError(f"The test file cannot be read{where}: mend it, or save elsewhere with --to.") from error
    if document is None:
        return False, []
    if isinstance(document, yaml.MappingNode) and not document.flow_style:
        names = [key.value for key, _ in document.value]
        if "tests" not in names:
            return False, []
        value = document.value[-1][1]
        if names[-1] == "tests" and isinstance(value, yaml.ScalarNode) and not value.value:
            return True, []
        if names[-1] == "tests" and isinstance(value, yaml.SequenceNode) and not value.flow_style:
            return True, value.value
    raise CannotSaveError("The test file must end with tests:, with a dash for each: change it, or save with --to.")


def _name(node: Any) -> str | None:
    entries = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value.value for key, value in entries if key.value == "name"), None)


def _without(text: str, tests: Sequence[Any], at: int) -> str:
    """Cut a test out, and leave the comments that stand before the next one."""
    lines = text.splitlines(keepends=True)
    first = tests[at].start_mark.line
    last = tests[at + 1].start_mark.line if at + 1 < len(tests) else len(lines)
    while last > first + 1 and (not lines[last - 1].strip() or lines[last - 1].lstrip().startswith("#")):
        last -= 1
    return "".join([*lines[:first], *lines[last:]])
