"""Reads test files: `*.test.yaml` beside the rules, with the places of all that is wrong in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.event import Json
from hookline.rules.modifiers import MODIFIER_NAMES
from hookline.rules.name_filter import HOOKLINE
from hookline.rules.reader import read_document
from hookline.rules.rule_test import Body, EventFile, ExpectedStep, Payload, RuleTest, SampleName, TestNames
from hookline.rules.suggestion import did_you_mean, suggest
from hookline.rules.units import parse_time

TEST_FILE_KEYS: Final = ("defaults", "tests")
#: What `defaults` may hold as well as a test.
FACT_KEYS: Final = (
    "from", "event", "sample", "type", "tenant", "sender_id", "client_ip", "headers", "query", "at"
)  # fmt: skip
TEST_KEYS: Final = ("name", *FACT_KEYS, "with", "expect", "rules")
# What other systems call it.
_OTHER_WORDS: Final = {
    "source": "from", "on": "type", "event_type": "type", "payload": "event", "body": "event", "file": "event",
    "fixture": "event", "merge": "with", "set": "with", "override": "with", "expected": "expect", "do": "expect",
    "then": "expect", "actions": "expect", "matches": "rules", "rule": "rules", "time": "at", "now": "at",
    "received_at": "at", "header": "headers", "title": "name", "default": "defaults", "test": "tests",
}  # fmt: skip

T = TypeVar("T")


def read_tests(text: str, file: str, names: TestNames, findings: Findings) -> tuple[RuleTest, ...]:
    """Return the tests of a file; every mistake goes to `findings`, and a test with one is left out."""
    document = read_document(text, file, findings)
    if document is None or (isinstance(document, Scalar) and document.value is None):
        return ()
    if not isinstance(document, Entries):
        findings.error(document, "a file of tests must be a mapping", "put tests: above the list of tests")
        return ()
    _check_keys(document, TEST_FILE_KEYS, findings)
    reading = _Reading(names, findings)
    defaults = document.entries.get("defaults")
    if isinstance(defaults, Entries):
        _check_keys(defaults, FACT_KEYS, findings)
        reading.defaults = defaults
        # Reported here alone, not once more for each test.
        before = len(findings.problems)
        reading.facts(defaults)
        reading.has_bad_defaults = len(findings.problems) > before
    elif defaults is not None:
        findings.error(defaults, "defaults must be a mapping", f"keys: {', '.join(FACT_KEYS)}")
    tests = document.entries.get("tests")
    if tests is None or (isinstance(tests, Scalar) and tests.value is None):
        return ()
    if not isinstance(tests, Items):
        findings.error(tests, "tests must be a list", "begin each test with a dash: - name: …")
        return ()
    found = [reading.test(node, index) for index, node in enumerate(tests.items)]
    return tuple(test for test in found if test is not None)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a test or `defaults` says of its event."""

    source: str | None
    body: Body | None
    texts: Mapping[str, str | None]
    headers: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...]
    at: datetime | None


class _Reading:
    """One reading of one file."""

    def __init__(self, names: TestNames, findings: Findings) -> None:
        self._names = names
        self._findings = findings
        self._seen: dict[str, Node] = {}
        self.defaults: Entries | None = None
        self.has_bad_defaults = False

    def test(self, node: Node, index: int) -> RuleTest | None:
        findings = self._findings
        if not isinstance(node, Entries):
            findings.error(node, "a test must be a mapping", "write name:, from:, event: and expect: under one dash")
            return None
        before = len(findings.problems)
        _check_keys(node, TEST_KEYS, findings)
        # What is missing may stand under a key that was not known.
        is_known = len(findings.problems) == before and not self.has_bad_defaults
        name = self._name(node)
        facts = self.facts(self._with_defaults(node))
        changes = _mapping(node.entries.get("with"), findings)
        expect = self._read(node, "expect", self._steps)
        rules = self._read(node, "rules", self._rules)
        if is_known:
            self._check_complete(node, facts)
        if len(findings.problems) > before or facts.source is None or facts.body is None:
            return None
        return RuleTest(
            name=name,
            source=facts.source,
            body=facts.body,
            **facts.texts,
            headers=facts.headers,
            query=facts.query,
            at=facts.at,
            changes=changes,
            expect=expect,
            rules=rules,
            place=node.entries["name"].place,
            index=index,
        )

    def _check_complete(self, node: Entries, facts: _Facts) -> None:
        findings = self._findings
        if facts.source is None and "from" not in node.entries:
            findings.error(node, "the test names no source", "write from: SOURCE; or under defaults, for all tests")
        if facts.body is None and not {"event", "sample"} & set(node.entries):
            findings.error(node, "the test has no event", "write event: FILE, the payload in place, or sample: TYPE")
        if not {"expect", "rules"} & set(node.entries):
            hint = "write expect: with what is to be sent ([] for nothing), or rules: with the rules that match"
            findings.error(node, "the test expects nothing in particular", hint)

    def facts(self, node: Entries) -> _Facts:
        entries, findings = node.entries, self._findings
        source = _text(entries.get("from"), findings)
        if source is not None and source != HOOKLINE and source not in self._names.sources:
            hint = suggest(source, self._names.sources, what="sources") or "add it to sources: in hookline.yaml"
            findings.error(entries["from"], f'no source "{source[:80]}"', hint)
        if "event" in entries and "sample" in entries:
            findings.error_at_key(node, "sample", "a test has an event or a sample, not both", "remove one of them")
        texts = ("type", "tenant", "sender_id", "client_ip")
        return _Facts(
            source=source,
            body=self._body(node),
            texts={key: _text(entries.get(key), findings) for key in texts},
            headers=_pairs(entries.get("headers"), findings),
            query=_pairs(entries.get("query"), findings),
            at=_moment(entries.get("at"), findings),
        )

    def _with_defaults(self, node: Entries) -> Entries:
        """Return the test with what the defaults say of it where it says nothing."""
        if self.defaults is None:
            return node
        own = dict(node.entries)
        # An event of its own takes the place of a sample that all others have.
        hidden = {"event", "sample"} if {"event", "sample"} & set(own) else set()
        more = {key: value for key, value in self.defaults.entries.items() if key not in own and key not in hidden}
        more = {} if self.has_bad_defaults else {key: value for key, value in more.items() if key in FACT_KEYS}
        return Entries({**more, **own}, {**self.defaults.keys, **node.keys}, node.place, node.path)

    def _name(self, node: Entries) -> str:
        said = node.entries.get("name")
        name = (_text(said, self._findings) or "").strip()
        if said is None:
            self._findings.error(node, "the test has no name", "write name: and, in a few words, what must hold")
        elif not name:
            self._findings.error(said, "the name is empty", "say in a few words what must hold")
        elif name in self._seen:
            line = self._seen[name].place.line
            self._findings.error(said, f'a second test is called "{name[:80]}"', f"the first is on line {line}")
        else:
            self._seen[name] = said
        return name

    def _body(self, node: Entries) -> Body | None:
        event, sample = node.entries.get("event"), node.entries.get("sample")
        if sample is not None:
            name = _text(sample, self._findings)
            return None if name is None else SampleName(name=name, place=sample.place)
        match event:
            case None:
                return None
            case Scalar(value=str(path)) if path.strip() and "\0" not in path:
                return EventFile(path=path, place=event.place)
            case Entries() | Items():
                return Payload(value=event.plain(), place=event.place)
            case _:
                self._findings.error(event, "not an event", "write the name of a file, or the payload in place")
                return None

    def _read(self, node: Entries, key: str, read: Callable[[Node], tuple[T, ...]]) -> tuple[T, ...] | None:
        return read(node.entries[key]) if key in node.entries else None

    def _rules(self, node: Node) -> tuple[str, ...]:
        found: list[str] = []
        for item in _items(node, "rules must be a list of names", "write [] if no rule is to match", self._findings):
            name = _text(item, self._findings)
            if name is not None and name not in self._names.rules:
                hint = suggest(name, self._names.rules, what="rules")
                self._findings.error(item, f'no rule "{name[:80]}"', hint or "names are those of rules, not of files")
            elif name in found:
                self._findings.error(item, f'"{name}" stands twice', "remove one of them")
            found += [name] if name is not None else []
        return tuple(found)

    def _steps(self, node: Node) -> tuple[ExpectedStep, ...]:
        items = _items(node, "expect must be a list", "write [] if nothing is to be sent", self._findings)
        return tuple(step for step in map(self._step, items) if step is not None)

    def _step(self, node: Node) -> ExpectedStep | None:
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
            return self._known(node, node.value, {})
        if not isinstance(node, Entries):
            self._findings.error(node, "not a step", "write the name of a destination, or {name: {what to compare}}")
            return None
        # What stands beside it in `do` may stay when it is copied.
        names = [key for key in node.entries if key not in MODIFIER_NAMES]
        if len(names) != 1:
            hint = "write each destination as an item of its own"
            self._findings.error(node, f"one step names {len(names)} destinations", hint)
            return None
        value = node.entries[names[0]]
        return self._known(node, names[0], _mapping(value, self._findings))

    def _known(self, node: Node, name: str, options: Mapping[str, Json]) -> ExpectedStep | None:
        if name in self._names.steps:
            return ExpectedStep(name=name, options=options, place=node.place)
        hint = did_you_mean(name, self._names.steps) or f"there are: {', '.join(sorted(self._names.steps)[:20])}"
        self._findings.error(node, f'no destination or action "{name[:80]}"', hint)
        return None


def _check_keys(node: Entries, known: Iterable[str], findings: Findings) -> None:
    known = tuple(known)
    for key in node.entries:
        if key in known:
            continue
        meant = _OTHER_WORDS.get(key, "")
        near = f'did you mean "{meant}"?' if meant in known else did_you_mean(key, known)
        findings.error_at_key(node, key, f'unknown key "{key[:80]}"', near or f"keys: {', '.join(known)}")


def _items(node: Node, message: str, hint: str, findings: Findings) -> tuple[Node, ...]:
    if isinstance(node, Items):
        return node.items
    if isinstance(node, Scalar) and node.value is None:
        findings.error(node, f"{message}, and nothing is written", hint)
        return ()
    # One name, or one step, as `do` takes it.
    return (node,)


def _mapping(node: Node | None, findings: Findings) -> Mapping[str, Json]:
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return {}
    if not isinstance(node, Entries):
        findings.error(node, "must be a mapping", "write {key: value}")
        return {}
    plain: Any = node.plain()
    found: Mapping[str, Json] = plain
    return found


def _text(node: Node | None, findings: Findings) -> str | None:
    if node is None:
        return None
    if isinstance(node, Scalar) and node.value is not None and node.text:
        # A number, as written: `tenant: 0042` is called so.
        return node.value if isinstance(node.value, str) else node.text
    findings.error(node, "must be a text")
    return None


def _pairs(node: Node | None, findings: Findings) -> tuple[tuple[str, str], ...]:
    if node is None:
        return ()
    if not isinstance(node, Entries):
        findings.error(node, "must be a mapping of texts", "write {NAME: value}")
        return ()
    found: list[tuple[str, str]] = []
    for name, value in node.entries.items():
        for one in value.items if isinstance(value, Items) else (value,):
            text = _text(one, findings)
            found += [(name, text)] if text is not None else []
    return tuple(found)


def _moment(node: Node | None, findings: Findings) -> datetime | None:
    if node is None:
        return None
    moment = parse_time(node.value) if isinstance(node, Scalar) else None
    if moment is None:
        findings.error(node, "not a point in time", "write such as 2026-05-18T12:00:00Z")
    return moment
