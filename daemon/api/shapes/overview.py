"""How everything stands, in one answer, as the API writes it."""

from __future__ import annotations

from typing import Literal, TypedDict

from hookline.daemon.api.shapes.statistics import Statistics


class Concern(TypedDict):
    """One thing that somebody has to see to."""

    tone: Literal["bad", "warn"]
    text: str
    detail: str
    #: Path of the dashboard's page that shows it.
    page: str


class LastReloadShape(TypedDict):
    """The last reload, or the start."""

    #: `live`, `refused`, `failed` or `fault`.
    outcome: str
    at: str


class Overview(TypedDict):
    """How everything stands."""

    #: Whether there is nothing to see to.
    well: bool
    #: That in a sentence.
    says: str
    #: Gravest first: the first 20.
    concerns: list[Concern]
    #: How many more there are.
    more_concerns: int
    #: Whether no source ever sent an event.
    empty: bool
    #: None before the first.
    reload: LastReloadShape | None
    #: Of the last 60 minutes.
    statistics: Statistics
