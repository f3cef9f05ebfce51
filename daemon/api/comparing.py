"""What the rules on disk would do differently from those that routed stored events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import anyio
import anyio.from_thread
import anyio.to_thread

from hookline.daemon.api.endpoint import Area, Call
from hookline.daemon.api.explaining import turn
from hookline.daemon.api.paging import limit_of
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.rules import DiffShape, diff_shape
from hookline.daemon.delivery.runner import Inspection, LiveRunner, Rendered
from hookline.daemon.rehearsal.rule_diff import RulesComparison, compare_stored
from hookline.daemon.reload.generation import Generation
from hookline.daemon.reload.live_rules import world_of
from hookline.daemon.rule_files import read_rule_texts
from hookline.daemon.store.stored import EventFilter
from hookline.rules import Event, RulesError, RuleSet, Step, load_rules
from hookline.rules.suggestion import suggest

COMPARING = Area("comparing", "What the rules on disk would do differently.")

MOST_COMPARED: Final = 5_000
#: What was not compared by then is left out.
_SECONDS: Final = 10.0
_MOST_PROBLEMS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffAsked:
    """Which events to compare."""

    source: Annotated[str | None, "Only events of this source."] = None
    type: Annotated[str | None, "Only events of this type."] = None
    since: Annotated[datetime | None, "Not older."] = None
    until: Annotated[datetime | None, "Not newer."] = None
    rule: Annotated[str | None, "Only this rule, by its old or new name."] = None
    limit: Annotated[int, "The newest of them, 1 to 5,000."] = 500


@COMPARING.get("/diff", also={404: "no such rule", 409: "the rules on disk are bad"})
async def diff_rules(call: Call[DiffAsked]) -> DiffShape:
    """Say what the rules on disk would do differently to stored events. Nothing is changed or sent.

    Each event is asked of the rules that routed it and of those on disk, for ten seconds at most.
    """
    daemon, asked = call.daemon, call.asked
    limit = limit_of(asked.limit, most=MOST_COMPARED)
    generation = daemon.live.current
    where = EventFilter(source=asked.source, type=asked.type, since=asked.since, until=asked.until)
    async with turn(daemon):
        ends_at = anyio.current_time() + _SECONDS
        rules = await anyio.to_thread.run_sync(rules_on_disk, generation)
        comparison = RulesComparison(rules, _RenderedApart(generation.runner), only=asked.rule)
        found = await compare_stored(
            daemon.reader,
            comparison,
            where=where,
            limit=limit,
            past=daemon.rehearsals.past,
            is_over=lambda: anyio.current_time() > ends_at,
        )
    if asked.rule is not None and asked.rule not in found.names:
        hint = suggest(asked.rule, found.names, what="rules")
        raise ProblemError(404, "Not found", f"no rule {asked.rule[:200]!r} then or now; {hint or 'name another'}")
    return diff_shape(found)


def rules_on_disk(generation: Generation) -> RuleSet:
    """Read the rule files as they are on disk. Raises `ProblemError` with what is wrong with them. Takes a thread."""
    settings = generation.settings
    inspection = Inspection(actions=generation.runner.catalog.actions, problems=())
    world = world_of(settings, generation.secrets, inspection, is_offline=True)
    try:
        return load_rules(read_rule_texts(settings.rules, relative_to=settings.path.parent), world)
    except RulesError as error:
        errors = [str(problem) for problem in error.problems if problem.severity == "error"]
        more = f"\n… and {len(errors) - _MOST_PROBLEMS} more" if len(errors) > _MOST_PROBLEMS else ""
        detail = "\n".join(errors[:_MOST_PROBLEMS]) + more
        raise ProblemError(409, "The rules on disk are bad", detail) from error


class _RenderedApart:
    """Renders steps where plug-ins run, for a comparison in a thread of the event loop's."""

    def __init__(self, runner: LiveRunner) -> None:
        self._runner = runner

    def render_now(self, event: Event, step: Step) -> Rendered:
        (rendered,) = anyio.from_thread.run(self._runner.preview, event, [step])
        return rendered
