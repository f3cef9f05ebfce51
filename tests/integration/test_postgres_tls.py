"""A real server that speaks TLS: whom we trust, what we show, and what is said of certificates that are wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from hookline.daemon.config.database import parse_database
from hookline.daemon.store.places import PostgresDatabase
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.postgres.examination import examined
from hookline.daemon.store.postgres.server import Server
from tests.authority import Authority
from tests.integration.under_load import is_all_there, under_load, utc_now
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

#: Only through TLS; one role by its certificate alone.
ACCESS = """
local all all trust
hostssl all careful 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 trust
"""
NOBODY = 65534
IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "hooks")


def certify(server: PostgresServer, issued: str) -> None:
    """Give the server a certificate and its key, in one file."""
    kept = server.data / "server.pem"
    kept.write_bytes(Path(issued).read_bytes())
    kept.chmod(0o600)
    owner = server.data.stat()
    os.chown(kept, owner.st_uid, owner.st_gid)


@pytest.fixture(scope="module")
def secured(has_postgres: None, authority: Authority) -> Iterator[PostgresServer]:
    """Return a server that takes nobody without TLS."""
    server = PostgresServer(ssl="on", ssl_cert_file="server.pem", ssl_key_file="server.pem", ssl_ca_file="ca.pem")
    try:
        certify(server, authority.issue("server"))
        (server.data / "ca.pem").write_bytes(Path(authority.ca_file).read_bytes())
        (server.data / "ca.pem").chmod(0o644)
        (server.data / "pg_hba.conf").write_text(ACCESS)
        server.start()
        server.sql("CREATE ROLE careful LOGIN; CREATE SCHEMA x")
        yield server
    finally:
        server.remove()


def through(server: PostgresServer, *, user: str = "hookline", **parameters: str) -> PostgresDatabase:
    """Return its database, with what follows `?` in `store:`."""
    return parse_database(f"{server.place('x', user=user).url}?{urlencode(parameters | {'schema': 'x'}, safe='/')}")


async def is_encrypted(place: PostgresDatabase) -> bool:
    """Open a store there, and say whether the server knows the session for one through TLS."""
    server = Server(place)
    try:
        await server.open()
        said: bool = await server.write(lambda connection: connection.fetchval(IS_ENCRYPTED))
        return said
    finally:
        await server.close()


async def refusal(place: PostgresDatabase) -> str:
    """Return what is said to a person who has to mend something."""
    with pytest.raises(StoreError) as failed:
        await is_encrypted(place)
    assert failed.value.kind == "unfit", failed.value
    return str(failed.value)


async def test_a_server_that_is_known_is_written_to_through_tls(secured: PostgresServer, authority: Authority) -> None:
    assert await is_encrypted(through(secured, sslmode="verify-full", sslrootcert=authority.ca_file))
    assert await is_encrypted(through(secured, sslmode="verify-ca", sslrootcert=authority.ca_file))
    # Unless it is forbidden, TLS is what is tried first.
    assert await is_encrypted(through(secured, sslmode="require"))
    assert await is_encrypted(secured.place("x"))


async def test_the_doctor_knows_whether_it_is_encrypted(secured: PostgresServer, postgres: PostgresServer) -> None:
    assert (await examined(secured.place("x"), clock=utc_now)).is_encrypted
    assert not (await examined(postgres.place("x"), clock=utc_now)).is_encrypted


async def test_a_server_that_wants_tls_takes_nobody_without(secured: PostgresServer) -> None:
    assert "does not let us in" in await refusal(through(secured, sslmode="disable"))


async def test_a_server_of_another_authority_is_refused(secured: PostgresServer, tmp_path: Path) -> None:
    others = Authority(tmp_path, "others")
    said = await refusal(through(secured, sslmode="verify-full", sslrootcert=others.ca_file))
    assert "correct `store:`, or the certificates that it names" in said
    assert "certificate verify failed" in said


async def test_a_server_with_another_name_is_refused_where_names_count(
    secured: PostgresServer, authority: Authority
) -> None:
    certify(secured, authority.issue("elsewhere", host="127.0.0.9"))
    secured.sql("SELECT pg_reload_conf()")
    try:
        said = await refusal(through(secured, sslmode="verify-full", sslrootcert=authority.ca_file))
        assert "127.0.0.1" in said
        assert "correct `store:`, or the certificates that it names" in said
        assert await is_encrypted(through(secured, sslmode="verify-ca", sslrootcert=authority.ca_file))
    finally:
        certify(secured, authority.issue("server"))
        secured.sql("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("sslrootcert", None, r"sslrootcert /\S+/given.pem cannot be read \(No such file or directory\): correct"),
        ("sslrootcert", "none", r"sslrootcert /\S+/given.pem cannot be used \(.*\): correct"),
        ("sslcrl", None, r"sslcrl /\S+/given.pem cannot be read"),
        ("sslcert", None, r"sslcert /\S+/given.pem cannot be read"),
        ("sslcert", "none", r"sslcert /\S+/given.pem cannot be used \(.*\): correct"),
        ("sslkey", None, r"sslkey /\S+/given.pem cannot be read"),
        ("sslkey", "none", r"sslcert /\S+/careful.pem cannot be used \(.*not with this key\)|no start line"),
    ],
)
async def test_a_certificate_that_is_missing_or_none_is_named(
    secured: PostgresServer, authority: Authority, tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    path = tmp_path / "given.pem"
    if text is not None:
        path.write_text(text)
    files = {"sslrootcert": authority.ca_file, "sslcert": authority.issue("careful"), name: str(path)}
    assert re.search(said, await refusal(through(secured, sslmode="verify-full", **files)))


async def test_files_that_nobody_looks_at_do_not_make_of_a_server_that_is_away_a_mistake(tmp_path: Path) -> None:
    missing = f"sslrootcert={tmp_path}/none.pem"
    for rest in (
        f"/postgres?host={tmp_path}&sslmode=disable&{missing}",
        f"127.0.0.1:1/postgres?sslmode=disable&{missing}",
        f"127.0.0.1:1/postgres?{missing}",
    ):
        with pytest.raises(StoreError, match="cannot be reached") as failed:
            await is_encrypted(parse_database(f"postgresql://hookline@{rest}"))
        assert failed.value.kind == "away"


async def test_a_home_that_we_may_not_enter_is_named(
    secured: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0)
    # So that all modules are there: the interpreter may lie where only root looks.
    assert await is_encrypted(secured.place("x"))
    monkeypatch.setenv("HOME", str(home))
    before = os.geteuid()
    if before == 0:
        # Root may enter any.
        os.seteuid(NOBODY)
    socket = parse_database(f"postgresql://hookline@/postgres?host={tmp_path}/run")
    try:
        said = await refusal(secured.place("x"))
        with pytest.raises(StoreError, match="cannot be reached") as away:
            await is_encrypted(socket)
    finally:
        os.seteuid(before)
    # Over a socket nothing is looked for there: a server that is yet to start is waited for.
    assert away.value.kind == "away"
    assert f"(HOME is {home}, which we may not enter): set HOME to a folder of the daemon's own" in said


async def test_a_role_may_be_known_by_its_certificate(secured: PostgresServer, authority: Authority) -> None:
    ours = authority.issue("careful")
    checked = {"sslmode": "verify-full", "sslrootcert": authority.ca_file}
    assert await is_encrypted(through(secured, user="careful", sslcert=ours, sslkey=ours, **checked))
    assert "does not let us in" in await refusal(through(secured, user="careful", **checked))


async def test_a_certificate_that_runs_out_is_waited_for_by_a_node_that_runs(
    secured: PostgresServer, authority: Authority
) -> None:
    secured.sql("DROP SCHEMA IF EXISTS hookline CASCADE")
    place = replace(through(secured, sslmode="verify-full", sslrootcert=authority.ca_file), schema="hookline")
    async with under_load(place) as load:
        await load.acknowledges(20)
        certify(secured, authority.issue("old", good_for=timedelta(days=-1)))
        secured.sql("SELECT pg_reload_conf()")
        secured.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hookline'")
        await load.comes(lambda: "certificate has expired" in str(load.watch.trouble))
        certify(secured, authority.issue("server"))
        secured.sql("SELECT pg_reload_conf()")
        await load.acknowledges(20)
    is_all_there(secured, "hookline", load)
