"""What the server's errors mean to whoever runs the daemon, and to the code."""

from __future__ import annotations

import ssl

import asyncpg
import pytest

from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.postgres.errors import (
    is_another_host_worth_asking,
    is_own_fault,
    is_worth_again,
    pooled,
    store_error,
)

PLACE = PostgresDatabase(
    url="postgresql://hook:p%40ss%2Fword@db.internal/hooks", shown="postgresql://hook@db.internal/hooks"
)


def of(code: str, message: str = "what the server says") -> asyncpg.PostgresError:
    """Return an error as asyncpg reads it from the server."""
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": code, "M": message, "D": "Key (a)=(secret body)"})
    return error


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("08006", "away", "connection was lost"),
        ("25006", "away", "takes no writes"),
        ("25P03", "away", "stood still"),
        ("26000", "unfit", "pool_mode = session"),
        ("28000", "unfit", "pg_hba.conf"),
        ("28P01", "unfit", "correct user and password"),
        ("3D000", "unfit", "createdb"),
        ("40001", "other", "cannot do it"),
        ("40P01", "other", "cannot do it"),
        ("42501", "unfit", "GRANT"),
        ("42P01", "unfit", "a table of ours is missing"),
        ("42601", "other", "cannot do it"),
        ("53000", "away", "see its log"),
        ("53100", "disk_full", "make room"),
        ("53200", "other", "out of memory"),
        ("53300", "away", "max_connections"),
        ("55P03", "locked", "pg_stat_activity"),
        ("57014", "other", "took too long"),
        ("57P01", "away", "stopped or started"),
        ("57P02", "away", "stopped or started"),
        ("57P03", "away", "stopped or started"),
        ("57P04", "unfit", "was dropped"),
        ("58030", "away", "its own files"),
        ("XX000", "other", "cannot do it"),
        ("XX001", "other", "damaged"),
        ("ZZZZZ", "other", "cannot do it"),
    ],
)
def test_what_the_server_answers_has_a_kind_and_a_next_step(code: str, kind: str, words: str) -> None:
    failure = store_error(of(code), PLACE)
    assert failure.kind == kind
    assert words in str(failure)
    assert str(failure).startswith("postgresql://hook@db.internal/hooks: ")
    assert str(failure).endswith(f"({code}: what the server says)")
    assert "secret body" not in str(failure)


@pytest.mark.parametrize("code", ["22021", "23505", "54000"])
def test_what_is_wrong_with_a_value_is_not_repeated(code: str) -> None:
    error = of(code, 'invalid input syntax: "secret body"')
    assert is_own_fault(error)
    failure = store_error(error, PLACE)
    assert failure.kind == "other"
    assert "secret body" not in str(failure)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TimeoutError(), "away", "does not answer"),
        (ConnectionRefusedError(111, "refused"), "away", "network between ([Errno 111] refused)"),
        (OSError(-2, "Name or service not known"), "away", "cannot be reached"),
        (asyncpg.InterfaceError("cannot perform operation: connection is closed"), "away", "connection was lost"),
        (asyncpg.InterfaceError("the server expects 2 arguments"), "other", "the server expects 2 arguments"),
        (asyncpg.exceptions.ProtocolError("odd"), "away", "connection was lost (odd)"),
        (asyncpg.TargetServerAttributeNotMatched("None of the hosts"), "away", "takes no writes"),
        (asyncpg.ClientConfigurationError("`sslmode`"), "unfit", "correct `store:`"),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), "unfit", "certificates"),
    ],
)
def test_so_has_what_happens_on_the_way_there(error: Exception, kind: str, words: str) -> None:
    failure = store_error(error, PLACE)
    assert failure.kind == kind
    assert words in str(failure)


def test_a_value_that_cannot_be_sent_is_the_change_s_own_fault() -> None:
    error = asyncpg.exceptions._base.DataError("invalid input for query argument $1: 'secret body'")
    assert is_own_fault(error)
    failure = store_error(error, PLACE)
    assert failure.kind == "other"
    assert "secret body" not in str(failure)
    assert not is_own_fault(of("57P01"))
    assert not is_own_fault(asyncpg.InterfaceError("connection is closed"))


@pytest.mark.parametrize("leak", ["p%40ss%2Fword", "p@ss/word", PLACE.url])
def test_the_password_is_never_said(leak: str) -> None:
    for error in (of("28P01", f"no {leak}"), asyncpg.ClientConfigurationError(f"no {leak}"), OSError(f"no {leak}")):
        failure = str(store_error(error, PLACE))
        assert leak not in failure
        assert "no ***" in failure


def test_what_may_be_run_again_before_its_commit() -> None:
    lost = asyncpg.InterfaceError("connection is closed")
    plan = asyncpg.InvalidCachedStatementError("cached statement plan is invalid")
    odd = asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
    for error in (
        of("40001"),
        of("40P01"),
        of("57P01"),
        of("08003"),
        of("25P03"),
        ConnectionResetError(),
        lost,
        plan,
        odd,
    ):
        assert is_worth_again(error)
    for error in (of("23505"), of("55P03"), of("57014"), of("25P02"), TimeoutError(), of("53100")):
        assert not is_worth_again(error)


def test_which_failures_say_nothing_of_the_other_hosts() -> None:
    for error in (TimeoutError(), ConnectionRefusedError(), of("57P03"), of("53300"), of("08006"), of("57P01")):
        assert is_another_host_worth_asking(error)
    for error in (of("28P01"), of("3D000"), ssl.SSLCertVerificationError(1, "self-signed")):
        assert not is_another_host_worth_asking(error)


def test_a_pool_of_transactions_is_named() -> None:
    assert pooled(PLACE).kind == "unfit"
    assert "pgbouncer in transaction mode" in str(pooled(PLACE))
