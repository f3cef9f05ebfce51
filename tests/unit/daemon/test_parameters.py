"""Parameters are read as their dataclass says, and whatever is not one is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.api.endpoint import Area, Call, Endpoint
from hookline.daemon.api.parameters import parameters, read_parameters
from hookline.daemon.api.problem import ProblemError

THINGS = Area("things", "Things.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked."""

    number: int
    wanted: Annotated[str, "Must be there."]
    name: Annotated[str | None, "What it is called."] = None
    limit: Annotated[int, "How many."] = 50
    is_live: bool = False
    since: datetime | None = None
    state: Annotated[Literal["dead", "alive"] | None, "How it is."] = None


@THINGS.get("/things/{number}")
async def find_things(call: Call[Asked]) -> dict[str, Any]:
    """Find things."""
    return {"asked": call.asked}


ENDPOINT: Endpoint = THINGS.endpoints[0]


def read(query: str, number: str = "7") -> Any:
    return read_parameters(ENDPOINT, path={"number": number}, query=query)


def test_all_kinds_are_read() -> None:
    query = "wanted=a%20b+c&name=%E2%98%83&limit=-3&is_live=true&since=2026-05-18T12:00:00Z&state=dead"
    assert read(query) == Asked(
        number=7,
        wanted="a b c",
        name="\N{SNOWMAN}",
        limit=-3,
        is_live=True,
        since=datetime(2026, 5, 18, 12, tzinfo=UTC),
        state="dead",
    )
    assert read("wanted=") == Asked(number=7, wanted="")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "`wanted` is missing"),
        ("wanted=1&limt=1", "unknown parameter 'limt'; did you mean \"limit\"?"),
        ("wanted=1&xyz=1", "unknown parameter 'xyz'; there are: wanted, name, limit, is_live, since, state"),
        ("wanted=1&number=1", "unknown parameter 'number'"),
        ("wanted=1&wanted=1", "`wanted` stands twice"),
        ("wanted=1&limit=1.5", "`limit` is a whole number, not '1.5'"),
        ("wanted=1&limit=1_0", "`limit` is a whole number, not '1_0'"),
        ("wanted=1&is_live=yes", "`is_live` is one of true, false, not 'yes'"),
        ("wanted=1&is_live=True", "`is_live` is one of true, false, not 'True'"),
        ("wanted=1&state=Dead", "`state` is one of dead, alive, not 'Dead'"),
        ("wanted=1&since=now", "`since` is a time such as 2026-05-18T12:00:00Z, not 'now'"),
        ("wanted=%00", "`wanted` holds a NUL"),
        ("wanted=%FF", "the query is not UTF-8"),
        ("&".join(["wanted=1"] * 65), "more than 64 parameters"),
    ],
)
def test_what_is_wrong_with_a_query_is_named(query: str, said: str) -> None:
    with pytest.raises(ProblemError) as raised:
        read(query)
    assert raised.value.status == 400
    assert said in raised.value.detail


@pytest.mark.parametrize("number", ["x", "", "1.0", "\0", "\x7f", "9" * 600, "\ud800"])
def test_a_name_in_the_path_that_nothing_has_is_not_found(number: str) -> None:
    with pytest.raises(ProblemError) as raised:
        read("wanted=1", number=number)
    assert raised.value.status == 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Which thing."""

    name: str


@THINGS.get("/named/{name}")
async def find_named(call: Call[Named]) -> dict[str, Any]:
    """Find the one of a name."""
    return {"asked": call.asked}


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("x y", True), ("é", True), ("x\0", False), ("x\n", False), ("\ud800", False), ("x" * 501, False)],
)
def test_a_name_in_the_path_is_one_that_a_thing_could_have(name: str, is_one: bool) -> None:
    try:
        found = read_parameters(THINGS.endpoints[1], path={"name": name}, query="") == Named(name=name)
    except ProblemError as error:
        found = error.status != 404
    assert found is is_one


@given(query=st.text() | st.binary().map(quote), number=st.text())
def test_reading_is_total(query: str, number: str) -> None:
    status = 200
    try:
        assert isinstance(read(query, number), Asked)
    except ProblemError as error:
        status = error.status
    assert status in {200, 400, 404}


def test_a_path_that_names_no_field_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="no field 'other'"):
        parameters(find_things, "/things/{other}")
