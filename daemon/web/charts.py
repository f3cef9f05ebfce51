"""Charts as shapes in SVG: what a template draws, each with its text for those who do not see it.

Only numbers, fixed words and escaped labels reach the page: shapes are data, and parts/charts.html writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_WIDTH: Final = 960.0
_HEIGHT: Final = 160.0
#: Beyond this, neighbors are summed: narrower bars are not seen.
MAX_BARS: Final = 240
#: Fewer stand at the right, as wide as if there were so many.
MIN_BARS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One part of a stacked bar, in the chart's own units."""

    series: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One stacked bar."""

    #: What it stands for: a time.
    label: str
    #: What a pointer resting on it is told.
    title: str
    x: float
    width: float
    segments: tuple[Segment, ...]
    #: By series, in their order.
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Stacked bars, first to last."""

    width: float
    height: float
    series: tuple[str, ...]
    bars: tuple[Bar, ...]
    #: What the top of the chart stands for: a round number, at least the highest bar.
    top: int
    #: Sum of each series, in their order.
    totals: tuple[int, ...]


def bars(rows: Sequence[Mapping[str, object]], series: Sequence[str], *, label: str = "at") -> Chart:
    """Return stacked bars of rows whose keys are `label` and the names in `series`, the lowest part first.

    More than `MAX_BARS` rows are summed with their neighbors; a bar then has the label of its first row.
    """
    each = max(1, -(-len(rows) // MAX_BARS))
    groups = [rows[start : start + each] for start in range(0, len(rows), each)]
    counted = [tuple(sum(_count(row, name) for row in group) for name in series) for group in groups]
    top = round_up(max(map(sum, counted), default=0))
    step = _WIDTH / max(len(groups), MIN_BARS)
    start = _WIDTH - step * len(groups)
    made = tuple(
        _bar(str(group[0][label]), values, tuple(series), _Room(left=start + index * step, step=step, top=top))
        for index, (group, values) in enumerate(zip(groups, counted, strict=True))
    )
    totals = tuple(sum(values[index] for values in counted) for index in range(len(series)))
    return Chart(width=_WIDTH, height=_HEIGHT, series=tuple(series), bars=made, top=top, totals=totals)


def sparkline(values: Sequence[float], *, width: float = 96, height: float = 20) -> str:
    """Return the `points` of a polyline through the values, the highest at the top; of fewer than two, none."""
    if len(values) < 2:
        return ""
    top = max(*values, 1)
    step = width / (len(values) - 1)
    return " ".join(f"{i * step:.1f},{height - 1 - (height - 2) * max(v, 0) / top:.1f}" for i, v in enumerate(values))


def round_up(value: int) -> int:
    """Return the next number of the form 1, 2 or 5 times a power of ten; 1 for nothing."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return factor * power
        power *= 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Where a bar stands."""

    left: float
    step: float
    top: int


def _bar(label: str, values: tuple[int, ...], series: tuple[str, ...], room: _Room) -> Bar:
    gap = min(2.0, room.step / 4)
    segments: list[Segment] = []
    floor = _HEIGHT
    for name, value in zip(series, values, strict=True):
        if value > 0:
            # A single one among thousands is still to be seen.
            height = max(_HEIGHT * value / room.top, 1.5)
            floor -= height
            segments.append(Segment(series=name, x=room.left, y=max(floor, 0.0), width=room.step - gap, height=height))
    said = ", ".join(f"{value:,} {name}" for name, value in zip(series, values, strict=True) if value)
    return Bar(
        label=label, title=said or "nothing", x=room.left, width=room.step, segments=tuple(segments), values=values
    )


def _count(row: Mapping[str, object], name: str) -> int:
    value = row[name]
    return value if isinstance(value, int) else 0
