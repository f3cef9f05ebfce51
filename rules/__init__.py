"""The rules engine: reads rules, matches events, explains why. Pure: no I/O, no asyncio, no clock, no logging."""

from hookline.rules.event import Event, EventId, Json
from hookline.rules.explained_event import Explanation
from hookline.rules.load import load_rules
from hookline.rules.problem import Place, Problem, RulesError
from hookline.rules.ruleset import Match, Routing, RuleSet
from hookline.rules.steps import Modifiers, RetryPolicy, Step
from hookline.rules.world import World

__all__ = [
    "Event",
    "EventId",
    "Explanation",
    "Json",
    "Match",
    "Modifiers",
    "Place",
    "Problem",
    "RetryPolicy",
    "Routing",
    "RuleSet",
    "RulesError",
    "Step",
    "World",
    "load_rules",
]
