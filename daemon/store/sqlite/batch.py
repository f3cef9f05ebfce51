"""What the parts of one writing transaction share."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass

from hookline.daemon.store.moment import Moment
from hookline.daemon.store.sqlite.names import Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A transaction, as whoever makes a part of it sees it; committing is the writer's."""

    connection: sqlite3.Connection
    names: Names
    moment: Moment
    #: What is added to the stored counters at its end.
    counters: Counter[str]
