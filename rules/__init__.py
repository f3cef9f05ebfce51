"""The rules engine: reads rules, matches events, explains why. Pure: no I/O, no asyncio, no clock, no logging."""

from hookline.rules.event import Event, EventId, Json
from hookline.rules.explained_event import Explanation
from hookline.rules.load import load_rules
from hookline.rules.policies import Bounds, Breaker, Changed, Digest, Modifiers, Once, RetryPolicy
from hookline.rules.problem import Place, Problem, RulesError
from hookline.rules.ruleset import Match, Routing, RuleSet
from hookline.rules.steps import Step
from hookline.rules.units import Rate
from hookline.rules.world import World

__all__ = [
    "Bounds",
    "Breaker",
    "Changed",
    "Digest",
    "Event",
    "EventId",
    "Explanation",
    "Json",
    "Match",
    "Modifiers",
    "Once",
    "Place",
    "Problem",
    "Rate",
    "RetryPolicy",
    "Routing",
    "RuleSet",
    "RulesError",
    "Step",
    "World",
    "load_rules",
]
