"""Every row that can still be read of a damaged store, whatever became of the pages that lead there."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from hookline.daemon.backup.raw_pages import RawPages
from hookline.daemon.backup.raw_rows import INDEX_INNER, INDEX_LEAF, TABLE_INNER, TABLE_LEAF, RawPage, Value, read_page
from hookline.daemon.backup.shapes import Shape, known_shapes, schema_shape, whose
from hookline.daemon.ids import encode, made_at

#: What is read of one page, by table.
Take = Callable[[Shape, Sequence[tuple[Value, ...]]], None]

_PREFIXES: Final = {"requests": "evt", "events": "evt", "deliveries": "dlv"}
_FIRST_PAGE: Final = 1
_HIGHEST: Final = (1 << 63) - 1
# Made anew from what is saved.
_NOT_TAKEN: Final = frozenset(("counters",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Rows of a table that were on a page that is damaged or gone; some of them may have been saved."""

    table: str
    #: Their numbers are higher than this.
    after: int
    #: And not higher than that; None: it is not known.
    up_to: int | None

    def to_json(self) -> dict[str, Any]:
        """Return it for programs; with ids and times, where numbers stand for those."""
        prefix = _PREFIXES.get(self.table)
        ends = {"after": self.after, "up_to": self.up_to}
        if prefix is None:
            return {"table": self.table, **ends}
        ids = {name: None if number is None else encode(prefix, number) for name, number in ends.items()}
        times = {
            f"{name}_time": None if number is None else made_at(number).isoformat() for name, number in ends.items()
        }
        return {"table": self.table, **ids, **times}


class Stretches:
    """Numbers that may be lost."""

    def __init__(self, stretches: Iterable[Stretch], *, slack: int = 0) -> None:
        """`slack` is how far beside a stretch numbers may lie, too."""
        self._starts = sorted(
            (one.after - slack, _HIGHEST if one.up_to is None else one.up_to + slack) for one in stretches
        )
        # The highest end of each and those before it.
        self._ends = list(accumulate((end for _, end in self._starts), max))

    def __contains__(self, number: int) -> bool:
        before = bisect_left(self._starts, (number, 0))
        return before > 0 and number <= self._ends[before - 1]


@dataclass(slots=True, kw_only=True)
class Salvage:
    """What was read, and what could not be."""

    pages: int
    page_size: int
    has_header: bool
    #: Frames of the -wal file.
    damaged_frames: int
    damaged_pages: set[int] = field(default_factory=set)
    #: Rows that were found and could not be read, by table; "" if it is not known whose they were.
    lost: Counter[str] = field(default_factory=Counter)
    stretches: list[Stretch] = field(default_factory=list)
    #: Rows that nothing led to any more, by table; some may be of before.
    astray: Counter[str] = field(default_factory=Counter)
    #: What the store counted itself, as far as that could be read.
    kept: dict[str, int] = field(default_factory=dict)

    @property
    def is_damaged(self) -> bool:
        """Whether anything is wrong."""
        return not self.has_header or bool(self.damaged_frames or self.damaged_pages or self.lost)


@dataclass(frozen=True, slots=True)
class _Place:
    """A page to look at, and which row numbers it should hold."""

    number: int
    after: int = 0
    up_to: int | None = None


class _Reader:
    """Reads the trees first, then the pages that no tree led to."""

    def __init__(self, pages: RawPages, take: Take, progress: Callable[[float], None]) -> None:
        self._pages = pages
        self._take = take
        self._progress = progress
        self._shapes = {shape.name: shape for shape in known_shapes()}
        self._seen: set[int] = set()
        self._overflow: set[int] = set()
        self.found = Salvage(
            pages=pages.count,
            page_size=pages.page_size,
            has_header=pages.has_header,
            damaged_frames=pages.damaged_frames,
        )

    def read(self) -> Salvage:
        """Read everything."""
        for name, (is_index, root) in self._roots().items():
            shape = self._shapes.get(name)
            if is_index or shape is None:
                self._mark(root)
            else:
                self._walk(shape, root)
        if self.found.is_damaged:
            self._gather()
        return self.found

    def _roots(self) -> Mapping[str, tuple[bool, int]]:
        """Return where tables and indexes begin: whether it is an index, and the page."""
        roots: dict[str, tuple[bool, int]] = {}

        def note(_shape: Shape, rows: Sequence[tuple[Value, ...]]) -> None:
            for kind, name, _, root, _ in rows:
                if kind in {"table", "index"} and isinstance(root, int) and root > 1 and isinstance(name, str):
                    roots.setdefault(name, (kind == "index", root))

        schema = schema_shape()
        self._walk(schema, _FIRST_PAGE, take=note)
        missing = [name for name in self._shapes if name not in roots]
        if self.found.is_damaged and missing:
            for number in range(2, self._pages.count + 1):
                page = self._page(number)
                if page is not None and page.kind == TABLE_LEAF and number not in self._seen:
                    rows = [row for raw in page.rows if (row := schema.row(raw)) is not None]
                    if len(rows) == len(page.rows) and rows and rows[0][0] in {"table", "index"}:
                        self._seen.add(number)
                        note(schema, rows)
        return roots

    def _page(self, number: int) -> RawPage | None:
        return read_page(self._pages, number)

    def _mark(self, root: int) -> None:
        """Note the pages of an index, which holds no data of its own."""
        waiting = [root]
        while waiting:
            number = waiting.pop()
            data = self._pages.page(number) if number not in self._seen else None
            if data is None or data[0] not in {INDEX_INNER, INDEX_LEAF}:
                continue
            self._seen.add(number)
            if data[0] == INDEX_INNER and (page := self._page(number)) is not None:
                waiting += [child for child, _ in page.children]

    def _walk(self, shape: Shape, root: int, *, take: Take | None = None) -> None:
        """Read a table from its first page on."""
        inner, leaf = (TABLE_INNER, TABLE_LEAF) if shape.has_numbers else (INDEX_INNER, INDEX_LEAF)
        waiting = [_Place(root)]
        while waiting:
            place = waiting.pop()
            if place.number in self._seen:
                continue
            page = self._page(place.number)
            if page is None or page.kind not in {inner, leaf}:
                self._miss(shape, place)
                continue
            rows = self._rows(shape, page, place)
            if page.rows and not rows:
                # Not one of its own: what points here is wrong. Left to be found by what it is.
                self._miss(shape, place)
                continue
            self._seen.add(place.number)
            self._overflow |= page.overflow
            lost = page.lost + len(page.rows) - len(rows)
            if lost:
                self._miss(shape, place)
                self.found.lost[shape.name] += lost if page.kind == leaf or not shape.has_numbers else 0
            (take or self._deliver)(shape, rows)
            waiting += _below(page, place)
            self._progress(len(self._seen) / max(1, self._pages.count))

    def _rows(self, shape: Shape, page: RawPage, place: _Place) -> list[tuple[Value, ...]]:
        found = []
        for raw in page.rows:
            is_here = not shape.has_numbers or place.after < raw.number <= (place.up_to or raw.number)
            row = shape.row(raw) if is_here else None
            if row is not None:
                found.append(row)
        return found

    def _miss(self, shape: Shape, place: _Place) -> None:
        self.found.damaged_pages.add(place.number)
        if shape.has_numbers:
            self.found.stretches.append(Stretch(table=shape.name, after=place.after, up_to=place.up_to))

    def _deliver(self, shape: Shape, rows: Sequence[tuple[Value, ...]]) -> None:
        if shape.name == "counters":
            self.found.kept.update({str(name): count for name, count in rows if isinstance(count, int)})
        if rows and shape.name not in _NOT_TAKEN:
            self._take(shape, rows)

    def _gather(self) -> None:
        """Take the rows of pages that nothing leads to any more, because what did is damaged."""
        known = self._seen | self._overflow | self._pages.bookkeeping()
        for number in range(2, self._pages.count + 1):
            if number in known or number in self._overflow:
                continue
            page = self._page(number)
            if page is None or page.kind == TABLE_INNER or not page.rows:
                continue
            shape = whose(
                page.rows,
                [one for one in self._shapes.values() if one.has_numbers == (page.kind == TABLE_LEAF)],
            )
            if shape is None or shape.is_index or shape.name in _NOT_TAKEN:
                self.found.lost[""] += len(page.rows) if shape is None else 0
                continue
            rows = [row for raw in page.rows if (row := shape.row(raw)) is not None]
            self._overflow |= page.overflow
            self.found.astray[shape.name] += len(rows)
            self.found.lost[shape.name] += page.lost + len(page.rows) - len(rows)
            self._deliver(shape, rows)


def _below(page: RawPage, place: _Place) -> list[_Place]:
    """Return the pages below; of a table, with the row numbers that they should hold."""
    places, after = [], place.after
    for child, up_to in page.children:
        places.append(_Place(child, after, place.up_to if up_to is None else up_to))
        after = max(after, up_to or after)
    # The first one is looked at first.
    return places[::-1]


def read_all(pages: RawPages, take: Take, *, progress: Callable[[float], None] = lambda _share: None) -> Salvage:
    """Hand every row that can be read to `take`, page by page: those that the trees lead to before the others."""
    return _Reader(pages, take, progress).read()
