"""Rules, explanations and comparisons, as the API writes them."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from hookline.daemon.rehearsal.rule_diff import ActionChange, Count, RuleDifference, RulesDiff
from hookline.rules import Problem


class RuleShape(TypedDict):
    """One rule of those that are live, and what it matched."""

    #: "" for a fallback.
    rule: str
    file: str
    line: int
    owner: str
    description: str
    #: `from` and `on`: patterns; empty for any.
    sources: list[str]
    types: list[str]
    destinations: list[str]
    enabled: bool
    #: Of each of `destinations`.
    dry_run: list[bool]
    aside: bool
    stop: bool
    fallback: bool
    #: Events that it matched since `since`; all fallbacks are counted together.
    matched: int
    last_matched_at: str | None
    last_event: str | None


class RulesShape(TypedDict):
    """The rules that are live, in the order in which they are tried."""

    version: str
    #: What `matched` is counted from.
    since: str
    rules: list[RuleShape]
    #: `after` of the next page; None if there is none.
    next: str | None
    #: How many there are, whatever was asked for.
    total: int
    #: Whether the rule files on disk are others; None if they cannot be read.
    differs_on_disk: bool | None
    #: Why what runs is not what is on disk, by the last reload.
    refused: list[str]


class RuleDetail(RuleShape):
    """One rule with its text."""

    version: str
    since: str
    #: Its lines as they stand in the file, from `first_line` on; at most 400.
    first_line: int
    text: str
    #: The newest of the latest 500 events that it is about and did not match; None if there is none.
    last_missed: str | None


class RuleSetSummary(TypedDict):
    """A rule set that went live."""

    version: str
    live_since: str
    #: How many rules it had, fallbacks among them.
    rules: int
    #: Whether it is live now.
    live: bool


class RuleSetsShape(TypedDict):
    """Rule sets that went live, the latest first."""

    versions: list[RuleSetSummary]


class RuleSetVersion(TypedDict):
    """A rule set as it ran: its files by name."""

    version: str
    hookline: str
    files: dict[str, str]
    #: Hash of each action's text.
    plugins: dict[str, str]


class ExplainedShape(TypedDict):
    """One condition's answer. `children` are such again."""

    text: str
    holds: bool
    path: str
    #: What each operator expects: `{"gte": "1000"}`.
    expected: dict[str, Any]
    seen: str
    why: str
    file: str | None
    line: int | None
    children: list[Any]


class SendingShape(TypedDict):
    """What one step of a rule that matched sends, or sent."""

    destination: str
    action: str
    #: Secrets masked, long values cut.
    options: dict[str, Any]
    problem: str | None
    dry_run: bool
    unset: list[str]
    #: How each of its deliveries went; ends with its id.
    deliveries: list[str]


class ExplainedRuleShape(TypedDict):
    """One rule's answer to one event."""

    rule: str
    #: `yes`, `no`, `not tried` or `disabled`.
    verdict: str
    aside: bool
    fallback: bool
    names: list[ExplainedShape]
    when: list[ExplainedShape]
    steps: list[str]
    sends: list[SendingShape]
    note: str
    file: str
    line: int


class ExplainedEvent(TypedDict):
    """The event that was explained."""

    id: str
    type: str
    source: str
    subject: str | None
    tenant: str | None
    received_at: str


class ExplanationShape(TypedDict):
    """Every rule's answer to one event, in the order in which they are tried; of many rules, those that say most."""

    event: ExplainedEvent
    version: str
    #: Version of the rules that are live.
    live: str
    rules: list[ExplainedRuleShape]
    #: How many rules there are, and how many of them matched; fallbacks apart.
    asked: int
    matched: int
    #: Whether a fallback acts.
    fallback: bool
    #: What is not among `rules`, such as `993 rules for other events`; `all=true` gives them.
    left_out: list[str]
    #: Deliveries of it that none of these rules asked for.
    others: list[str]


class ProblemShape(TypedDict):
    """What is wrong with rules, and where."""

    #: `error`, `warning` or `note`.
    severity: str
    #: "" and 0 if it stands nowhere.
    file: str
    line: int
    column: int
    #: How many characters of the line it is about.
    length: int
    path: str
    message: str
    hint: str | None


class TryAsked(TypedDict):
    """Rules that are typed, and an event: a stored one, or a payload that a source would have received."""

    #: The text of one file of rules, at most 64 KiB. Left out: the rules that are live.
    rules: NotRequired[str]
    #: Which of the live files it stands in for; else it is one more.
    file: NotRequired[str]
    #: Id of a stored event.
    event: NotRequired[str]
    source: NotRequired[str]
    #: In place of what the source reads.
    type: NotRequired[str]
    headers: NotRequired[dict[str, str]]
    payload: NotRequired[Any]
    #: The request's body as text, in place of `payload`.
    body: NotRequired[str]
    all: NotRequired[bool]


class TryShape(TypedDict):
    """What rules that were only typed say of an event; nothing was executed or kept."""

    #: What is wrong with the rules; if one is an error, there is no explanation.
    problems: list[ProblemShape]
    #: One for each of the first events of the payload.
    explanations: list[ExplanationShape]
    #: How many events the payload holds.
    events: int


class CountShape(TypedDict):
    """How many events, and the newest of them."""

    events: int
    example: str | None


class DifferenceShape(TypedDict):
    """One option that is not what it was; None: it is not there."""

    path: str
    then: str | None
    now: str | None


class ChangeShape(CountShape):
    """What became of one step of a rule that matched then and matches now."""

    destination: str
    kind: Literal["added", "removed", "changed"]
    #: Of the example; `more` of them are left out.
    differences: list[DifferenceShape]
    more: int


class RuleDifferenceShape(TypedDict):
    """What is different about one rule."""

    rule: str
    #: None if it is gone.
    file: str | None
    line: int | None
    newly_matching: CountShape
    no_longer_matching: CountShape
    changes: list[ChangeShape]


class UncomparedShape(CountShape):
    """Events of a rule set that cannot be asked any more."""

    version: str
    reason: str


class DiffShape(TypedDict):
    """What the rules on disk would do differently to stored events."""

    differs: bool
    #: How many were compared.
    events: int
    #: Whether older ones were left out.
    left_out: bool
    #: The version on disk.
    now: str
    #: Events compared, by the version that they were compared with.
    versions: dict[str, int]
    #: Old name to new one.
    renamed: dict[str, str]
    rules: list[RuleDifferenceShape]
    unrouted: CountShape
    uncompared: list[UncomparedShape]


def problem_shape(problem: Problem) -> ProblemShape:
    """Write a problem."""
    place = problem.place
    return {
        "severity": problem.severity,
        "file": place.file if place else "",
        "line": place.line if place else 0,
        "column": place.column if place else 0,
        "length": place.length if place else 0,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }


def diff_shape(found: RulesDiff) -> DiffShape:
    """Write a comparison, for the API and `hookline diff --json`."""
    return {
        "differs": found.differs,
        "events": found.events,
        "left_out": found.has_more,
        "now": found.now,
        "versions": found.versions,
        "renamed": found.renamed,
        "rules": [_rule(rule) for rule in found.rules.values()],
        "unrouted": _count(found.unrouted),
        "uncompared": [
            {"version": one.version, "reason": one.reason, **_count(one.count)} for one in found.uncompared.values()
        ],
    }


def _rule(rule: RuleDifference) -> RuleDifferenceShape:
    return {
        "rule": rule.rule,
        "file": rule.place.file if rule.place else None,
        "line": rule.place.line if rule.place else None,
        "newly_matching": _count(rule.newly),
        "no_longer_matching": _count(rule.no_longer),
        "changes": [_change(change) for change in rule.changes.values()],
    }


def _change(change: ActionChange) -> ChangeShape:
    return {
        "destination": change.destination,
        "kind": change.kind,
        **_count(change.count),
        "differences": [{"path": one.path, "then": one.then, "now": one.now} for one in change.differences],
        "more": change.more,
    }


def _count(count: Count) -> CountShape:
    return {"events": count.events, "example": count.example}
