"""Random payloads, events and conditions for property tests; loaded by path, for tests are not a package."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from hookline.rules import Event, EventId, Json

NAMES = st.sampled_from(["a", "b", "c", "a b", "ä", "$.a", ""])
TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "A", "ab", "1", "1.0", "1200", "true", "null", "2026-05-18T12:00:00Z", "10.0.0.1", "::1"]
    ),
    st.text(max_size=8),
    st.text(st.characters(min_codepoint=0xD7F0, max_codepoint=0xE010), max_size=3),
)
NUMBERS = st.one_of(
    st.integers(-3, 3), st.integers(), st.just(2**53 + 1), st.just(10**400), st.floats(), st.sampled_from([1.0, 0.5])
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
PAYLOADS: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=20,
)
MOMENTS = st.datetimes(timezones=st.just(UTC))


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Any event at all."""
    return Event(
        id=EventId("evt_0"),
        source=draw(st.sampled_from(["agiled", "shop"])),
        type=draw(TEXTS),
        sender_id=draw(st.none() | TEXTS),
        key="key",
        tenant=draw(st.none() | TEXTS),
        subject=draw(st.none() | TEXTS),
        occurred_at=draw(st.none() | MOMENTS),
        received_at=draw(MOMENTS | st.just(datetime(2026, 5, 18, tzinfo=timezone(timedelta(hours=-3))))),
        headers=draw(st.dictionaries(st.sampled_from(["a", "x-b"]), TEXTS, max_size=2)),
        query=draw(st.dictionaries(st.sampled_from(["a", "B"]), TEXTS, max_size=2)),
        client_ip=draw(st.sampled_from(["", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "nonsense"])),
        payload=draw(PAYLOADS),
        envelope=draw(st.none() | PAYLOADS),
    )


PATHS = st.sampled_from(
    [
        "$", "$.a", "$.b", "$.a.b", "$['a b']", "$.ä", "$.a[*]", "$[*]", "$[0]", "$[-1].a", "$..a", "$..*", "$.a[1:]",
        "$[?@.a == 1]", "$.a[?@.b]", "$..[?@.a != 'x' && @.b > 0]", "$[?@.a == $.b]", "$[0, 'a']",
    ]
)  # fmt: skip
# One path with `..` may not stand under another.
_SHALLOW_PATHS = PATHS.filter(lambda path: ".." not in path)
FIELDS = st.sampled_from(
    ["type", "source", "tenant", "subject", "sender_id", "client_ip", "header.a", "header.X-B", "query.B"]
)
TIME_FIELDS = st.sampled_from(["occurred_at", "received_at"])

# What may stand in a rule: YAML has no lone surrogates, and an integer of 400 digits is not asked for.
_RULE_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(["a", "1", "true"])
_RULE_NUMBERS = st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.just(2**53 + 1)
_CONSTANTS = st.one_of(
    _RULE_TEXTS.filter(lambda text: not text.startswith("$")), _RULE_NUMBERS, st.booleans(), st.just("$$.a")
)
_REFERENCES = st.sampled_from(["$.a", "$.b", "$['a b']", "$.a[*]", "$..b"])
_OPERANDS = st.one_of(_CONSTANTS, _REFERENCES)
_ANY_OPERANDS = st.one_of(
    _OPERANDS, st.none(), st.lists(_CONSTANTS, max_size=2), st.dictionaries(st.just("k"), _CONSTANTS, max_size=1)
)
_LITERAL_TEXTS = _RULE_TEXTS.filter(lambda text: not text.startswith("$"))
_COUNTS = (
    st.integers(0, 3) | st.fixed_dictionaries({"gt": st.integers(0, 2)}) | st.fixed_dictionaries({"ne": st.just(1)})
)
_WINDOWS = st.sampled_from(["mon-fri 07:00-22:00 Europe/Berlin", "sat 22:00-06:00 UTC", "00:30-00:20 Asia/Kolkata"])
_TIMES = st.sampled_from(["-10m", "+2h", "2026-05-18T12:00:00Z", "1779105600", "$.a"])
_PATTERNS = st.sampled_from(["a", "^a+$", "(?i)A", ".", r"\d+", "^$"])
_GLOBS = st.sampled_from(["*", "a*", "*a", "a?", "?", "", "a*b*c"])


def _one_or_list(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return inner | st.lists(inner, min_size=1, max_size=3)


_TYPES = st.sampled_from(["text", "number", "integer", "boolean", "null", "array", "object", "string"])
_ORDERED = _RULE_NUMBERS | _LITERAL_TEXTS | _REFERENCES

#: Operators with operands that the parser takes of any path.
_OF_PATHS: dict[str, st.SearchStrategy[Any]] = {
    "eq": _ANY_OPERANDS,
    "ne": _ANY_OPERANDS,
    "in": st.lists(_ANY_OPERANDS, min_size=1, max_size=3) | _REFERENCES,
    "not_in": st.lists(_ANY_OPERANDS, min_size=1, max_size=3) | _REFERENCES,
    "gt": _ORDERED,
    "gte": _ORDERED,
    "lt": _ORDERED,
    "lte": _ORDERED,
    "contains": _one_or_list(_OPERANDS),
    "starts_with": _one_or_list(_LITERAL_TEXTS | _REFERENCES),
    "ends_with": _one_or_list(_LITERAL_TEXTS),
    "matches": _one_or_list(_PATTERNS),
    "glob": _one_or_list(_GLOBS),
    "is": _one_or_list(_TYPES),
    "cidr": _one_or_list(st.sampled_from(["10.0.0.0/8", "::1", "2001:db8::/32"])),
    "before": _TIMES,
    "after": _TIMES,
    "during": _one_or_list(_WINDOWS),
    "exists": st.booleans(),
    "count": _COUNTS,
}
_OF_NUMBERS = dict.fromkeys(("eq", "ne", "gt", "gte", "lt", "lte"), _RULE_NUMBERS | _REFERENCES)
_OF_TIMES = {name: st.just("2026-05-18T12:00:00Z") | _REFERENCES for name in ("eq", "ne", "gt", "lte")}
_OF_TEXTS = dict.fromkeys(("eq", "ne", "gt", "contains", "starts_with"), _LITERAL_TEXTS | _REFERENCES)


def _some(operators: dict[str, st.SearchStrategy[Any]], conversion: str | None = None) -> st.SearchStrategy[Any]:
    chosen = st.sets(st.sampled_from(sorted(operators)), min_size=1, max_size=3)
    tests = chosen.flatmap(lambda names: st.fixed_dictionaries({name: operators[name] for name in sorted(names)}))
    return tests if conversion is None else tests.map(lambda test: {"as": conversion, **test})


_TESTS = st.one_of(
    _some(_OF_PATHS),
    _some(_OF_NUMBERS, "number"),
    _some(_OF_TIMES, "time"),
    _some(_OF_TEXTS, "text"),
    _some(_OF_TEXTS, "lower"),
    _OPERANDS,
    st.lists(_OPERANDS, min_size=1, max_size=3),
)
_FIELD_TESTS = (
    _some(_OF_TEXTS) | _LITERAL_TEXTS | _some({"matches": _PATTERNS, "glob": _GLOBS, "exists": st.booleans()})
)


def _members(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return inner | st.lists(inner | st.just("named"), min_size=1, max_size=3)


_LEAVES = st.one_of(
    st.dictionaries(PATHS | PATHS.map(lambda path: f"envelope.{path}"), _TESTS, min_size=1, max_size=2),
    st.dictionaries(FIELDS, _FIELD_TESTS, min_size=1, max_size=2),
    st.dictionaries(TIME_FIELDS, _some({"before": _TIMES, "during": _WINDOWS}), min_size=1, max_size=1),
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.fixed_dictionaries({"all": _members(inner)}),
        st.fixed_dictionaries({"any": _members(inner)}),
        st.fixed_dictionaries({"not": st.lists(inner, min_size=1, max_size=2)}),
        st.dictionaries(_SHALLOW_PATHS, st.fixed_dictionaries({"where": inner}), min_size=1, max_size=1),
        st.dictionaries(
            _SHALLOW_PATHS, st.fixed_dictionaries({"every": inner | _some(_OF_NUMBERS)}), min_size=1, max_size=1
        ),
        st.fixed_dictionaries({"$..a": st.fixed_dictionaries({"where": _some(_OF_NUMBERS)})}),
    )


#: What may stand under `when:`, as plain data; `named` is a condition that the scope must have.
WHENS: st.SearchStrategy[dict[str, Any]] = st.recursive(_LEAVES, _nested, max_leaves=5)
