"""Rebuilds a rule set of the past from its manifest and the texts that were kept."""

from __future__ import annotations

import json
from collections.abc import Callable

from hookline.rules.interpolation import Lookup
from hookline.rules.load import load_rules
from hookline.rules.ruleset import RuleSet
from hookline.rules.world import NoLookup, World


def load_manifest(manifest: str, get_text: Callable[[str], str], *, lookup: Lookup | None = None) -> RuleSet:
    """Rebuild the rule set; see `RuleSet.from_manifest`."""
    kept = json.loads(manifest)
    texts = {name: get_text(digest) for name, digest in kept["files"].items()}
    world = World(
        sources={},
        destinations={},
        actions=kept["actions"],
        vars=kept["vars"],
        lookup=lookup or NoLookup(),
        plugins=kept["plugins"],
        version=kept["hookline"],
        check_references=False,
    )
    return load_rules(texts, world)
