"""What rule tests may refer to under a configuration and its rules."""

from __future__ import annotations

from hookline.daemon.actions.registry import action_names
from hookline.daemon.config.settings import Settings
from hookline.rules import RuleSet
from hookline.rules.rule_test import TestNames


def names_of(settings: Settings, rules: RuleSet) -> TestNames:
    """Return the sources, destinations, actions and rules there are."""
    return TestNames(
        sources=frozenset(settings.sources),
        steps=frozenset(settings.destinations) | action_names(settings.plugins),
        rules=frozenset(rule.name for rule in rules.rules),
    )
