"""Reads one test: a place, and the value, list or operators that stand behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from hookline.rules.condition import Check, Condition, Constant, Test, looks_deep
from hookline.rules.document import Entries, Findings, Items, Node, Scalar
from hookline.rules.parse_operand import OPERATORS, OperandReader
from hookline.rules.path_cursor import shown
from hookline.rules.problem import Place
from hookline.rules.subject import Look, look_at
from hookline.rules.suggestion import did_you_mean
from hookline.rules.values import CONVERSIONS, Conversion

#: Operators that `operators` does not make checks of.
_OTHERS = ("exists", "count", "where", "every", "as")
_NAMES = (*OPERATORS, *_OTHERS)
_COUNTED = ("eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte")

#: What else people call the operators.
_SYNONYMS = {
    **dict.fromkeys(("=", "==", "===", "equals", "equal", "is_equal"), "eq"),
    **dict.fromkeys(("!=", "<>", "neq", "not_eq", "not_equal"), "ne"),
    **dict.fromkeys((">", "greater_than", "min"), "gt"),
    **dict.fromkeys((">=", "ge", "at_least"), "gte"),
    **dict.fromkeys(("<", "less_than", "max"), "lt"),
    **dict.fromkeys(("<=", "le", "at_most"), "lte"),
    **dict.fromkeys(("regex", "regexp", "re", "match", "=~", "pattern"), "matches"),
    **dict.fromkeys(("one_of", "any_of", "any", "oneOf"), "in"),
    **dict.fromkeys(("nin", "none_of"), "not_in"),
    **dict.fromkeys(("includes", "has", "substring"), "contains"),
    **dict.fromkeys(("startswith", "prefix", "begins_with", "starts"), "starts_with"),
    **dict.fromkeys(("endswith", "suffix", "ends"), "ends_with"),
    **dict.fromkeys(("type", "is_type"), "is"),
    **dict.fromkeys(("length", "len", "size"), "count"),
    **dict.fromkeys(("present", "defined"), "exists"),
    **dict.fromkeys(("ip", "network", "subnet"), "cidr"),
    **dict.fromkeys(("like", "wildcard"), "glob"),
    **dict.fromkeys(("each", "all", "all_of"), "every"),
    **dict.fromkeys(("within", "between"), "during"),
}

#: Which operators make sense of values that are read as numbers, and so on; the rest never hold of them.
_MAKES_SENSE: dict[Conversion, frozenset[str]] = {
    "number": frozenset({"eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "is"}),
    "text": frozenset(OPERATORS) - {"before", "after", "during"},
    "lower": frozenset(OPERATORS) - {"before", "after", "during"},
    "time": frozenset({"eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "before", "after", "during"}),
}

_AS_HINTS = {"where": "put as: inside where:", "every": "put as: inside every:"}


class TestReader:
    """Reads what stands behind one key of a condition."""

    __test__ = False  # its name is not pytest's business

    def __init__(self, findings: Findings, look: Look, read_when: Callable[[Node], Condition], place: Place) -> None:
        """`read_when` reads the conditions under `where` and `every`; `place` is the key's."""
        self._findings = findings
        self._look = look
        self._read_when = read_when
        self._place = place

    def read(self, node: Node) -> Test:
        """Read a bare value (`eq`), a list (`in`) or a mapping of operators. Mistakes go to the findings."""
        match node:
            case Scalar(value=None):
                null = "" if self._look.is_text else "{eq: null} for a JSON null, "
                hint = f"write {null}{{exists: false}} for nothing at all"
                self._findings.error(node, f"{self._look.text} is compared with nothing", hint)
                return self._test(None, present=())
            case Scalar():
                return self._test(None, present=self._checks("eq", node, None))
            case Items():
                return self._test(None, present=self._checks("in", node, None))
            case Entries():
                return self._read_operators(node)

    def _read_operators(self, node: Entries) -> Test:
        conversion = self._conversion(node)
        known = {key: value for key, value in node.entries.items() if self._is_operator(node, key, conversion)}
        if not set(known) - {"as"} and len(known) == len(node.entries):
            what = "as: alone asks nothing" if known else "there is no operator"
            self._findings.error(node, what, f"operators are {' '.join(sorted(_NAMES))}")
        checks = {key: self._checks(key, value, conversion) for key, value in known.items() if key in OPERATORS}
        conditions = {key: self._inner(node, key) for key in ("where", "every") if key in known}
        exists = self._exists(known["exists"]) if "exists" in known else None
        count = self._count(known["count"]) if "count" in known else ()
        return self._test(
            conversion,
            exists=exists,
            count=count,
            absent=tuple(check for key in ("ne", "not_in") for check in checks.get(key, ())),
            present=tuple(check for key, made in checks.items() if key not in ("ne", "not_in") for check in made),
            where=conditions.get("where"),
            every=conditions.get("every"),
        )

    def _test(  # noqa: PLR0913 - the parts of a test, by name
        self,
        conversion: Conversion | None,
        *,
        present: tuple[Check, ...],
        exists: bool | None = None,
        count: tuple[Check, ...] = (),
        absent: tuple[Check, ...] = (),
        where: Condition | None = None,
        every: Condition | None = None,
    ) -> Test:
        parts = [check.text for check in (*present, *absent)]
        parts += [] if exists is None else ["exists" if exists else "does not exist"]
        parts += [f"count {check.text}" for check in count]
        parts += [name for name, inner in (("where", where), ("every", every)) if inner is not None]
        reading = f" as {conversion}" if conversion else ""
        return Test(
            look=self._look,
            conversion=conversion,
            convert=CONVERSIONS[conversion] if conversion else None,
            exists=exists,
            count=count,
            absent=absent,
            present=present,
            where=where,
            every=every,
            text=f"{self._look.text}{reading} {' and '.join(parts)}",
            place=self._place,
        )

    def _is_operator(self, node: Entries, key: str, conversion: Conversion | None) -> bool:
        if key not in _NAMES:
            self._findings.error_at_key(node, key, f'unknown operator "{shown(key)}"', _operator_hint(key))
            return False
        if conversion and key not in ("as", "exists", "count") and key not in _MAKES_SENSE[conversion]:
            message = f"{key} makes no sense of values read as {conversion}"
            self._findings.error_at_key(
                node, key, message, _AS_HINTS.get(key, "take as: away, or ask in two tests joined by all:")
            )
            return False
        return True

    def _conversion(self, node: Entries) -> Conversion | None:
        written = node.entries.get("as")
        if written is None:
            return None
        for name in get_args(Conversion):
            if isinstance(written, Scalar) and written.value == name:
                return _conversion_named(name)
        known = get_args(Conversion)
        word = written.text if isinstance(written, Scalar) else ""
        hint = did_you_mean(word, known) or f"write {', '.join(known[:-1])} or {known[-1]}"
        self._findings.error(
            written, f'values cannot be read as "{shown(word)}"' if word else "as: names no type", hint
        )
        return None

    def _checks(self, operator: str, node: Node, conversion: Conversion | None) -> tuple[Check, ...]:
        check = OperandReader(self._findings, self._look, operator, conversion).check(node)
        return () if check is None else (check,)

    def _exists(self, node: Node) -> bool | None:
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self._findings.error(node, "exists: takes true or false")
        return None

    def _count(self, node: Node) -> tuple[Check, ...]:
        entries = node.entries if isinstance(node, Entries) else {"eq": node}
        if not entries:
            self._findings.error(node, "count: is empty", "write count: 3 or count: {gt: 2}")
        checks: list[Check] = []
        for key, value in entries.items():
            if key not in _COUNTED:
                assert isinstance(node, Entries)  # noqa: S101 - the other entries are ours
                hint = _operator_hint(key, _COUNTED)
                self._findings.error_at_key(node, key, f'"{shown(key)}" does not compare counts', hint)
                continue
            made = OperandReader(self._findings, _COUNT, key, None).check(value)
            if made is not None and not all(_is_whole(made, operand) for operand in made.operands):
                self._findings.error(value, "a count is a whole number", "write count: 3 or count: {gt: 2}")
            elif made is not None:
                checks.append(made if key not in ("ne", "not_in") else _denied(made))
        return tuple(checks)

    def _inner(self, node: Entries, key: str) -> Condition | None:
        inner = node.entries[key]
        if not isinstance(inner, Entries):
            hint = f"write {key}: {{$.name: value}}, or {key}: {{gt: 1}} for the value itself"
            self._findings.error(inner, f"{key}: takes a condition", hint)
            return None
        if inner.entries and all(name in _NAMES for name in inner.entries):
            # Operators alone are asked of the value itself: `every: {gt: 1}` is short for `every: {$: {gt: 1}}`.
            return TestReader(self._findings, look_at("$"), self._read_when, node.keys[key]).read(inner)
        condition = self._read_when(inner)
        if self._look.is_deep and looks_deep(condition):
            # Each value would be looked through once for every level above it, and a sender chooses the levels.
            hint = f"name the steps of one of them: {self._look.text}, or the path under {key}:"
            self._findings.error(inner, f"{key}: holds a path with .. under another with ..", hint)
        return condition


#: What a count is compared as: a number, with which text has no place.
_COUNT = Look("count", None, is_text=False, read=lambda _: [])


def _is_whole(_: Check, operand: object) -> bool:
    return isinstance(operand, Constant) and isinstance(operand.value, int) and not isinstance(operand.value, bool)


def _denied(check: Check) -> Check:
    accepts = check.accepts
    return Check(check.operator, check.operands, check.text, lambda value, subject: not accepts(value, subject))


def _conversion_named(name: str) -> Conversion:
    return next(conversion for conversion in CONVERSIONS if conversion == name)


def _operator_hint(key: str, known: tuple[str, ...] = _NAMES) -> str:
    meant = _SYNONYMS.get(key) or _SYNONYMS.get(key.lower().replace("-", "_"))
    if meant in known:
        return f'did you mean "{meant}"?'
    if key.startswith("$"):
        return f"write where: {{{shown(key)}: ...}}"
    if key == "not":
        return "write ne: or not_in:, or put not: in front of the whole test"
    return did_you_mean(key, known) or f"operators are {' '.join(sorted(known))}"
