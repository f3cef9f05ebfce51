"""The rules engine: reads rules, matches events, explains why. Pure: no I/O, no asyncio, no clock, no logging."""

from hookline.rules.event import Event, EventId, Json
from hookline.rules.problem import Place, Problem, RulesError
from hookline.rules.steps import Modifiers, RetryPolicy, Step

__all__ = [
    "Event",
    "EventId",
    "Json",
    "Modifiers",
    "Place",
    "Problem",
    "RetryPolicy",
    "RulesError",
    "Step",
]
