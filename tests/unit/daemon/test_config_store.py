"""`store:`: a file or a database, and no password of it anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookline.daemon.config.database import filled_in, has_password, parse_database, secrets_in
from hookline.daemon.config.load import ConfigError, load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.config.show import show_settings
from hookline.daemon.config.written_secrets import written_secrets
from hookline.daemon.store.places import PostgresDatabase, SqliteFile, UnsetStore

SECRET = "pa:ss/w@rd?&#%41 é"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Settings]:
    (tmp_path / "rules").mkdir()

    def load(
        store: str, environ: Mapping[str, str] | None = None, *, more: str = "", offline: bool = False
    ) -> Settings:
        path = tmp_path / "hookline.yaml"
        path.write_text(f'version: 1\nstore: "{store}"\n{more}')
        return load_settings(path, environ=environ or {}, actions=(), offline=offline)

    return load


def mistakes(read: Callable[..., Settings], *words: object, **more: object) -> str:
    with pytest.raises(ConfigError) as failed:
        read(*words, **more)
    return "\n".join(str(problem) for problem in failed.value.problems)


@pytest.mark.parametrize(
    ("written", "url", "schema", "shown"),
    [
        ("postgresql://h@db/hooks", "postgresql://h@db/hooks", "hookline", "postgresql://h@db/hooks"),
        ("postgres://db:6432/hooks", "postgresql://db:6432/hooks", "hookline", "postgresql://db:6432/hooks"),
        (
            "postgresql://h:p%40w@a:1,[::1]:2,c/hooks?schema=other&sslmode=verify-full",
            "postgresql://h:p%40w@a:1,[::1]:2,c/hooks?sslmode=verify-full",
            "other",
            "postgresql://h@a:1,[::1]:2,c/hooks?sslmode=verify-full&schema=other",
        ),
        (
            "postgresql:///hooks?host=/run/postgresql&schema=hookline",
            "postgresql:///hooks?host=/run/postgresql",
            "hookline",
            "postgresql:///hooks?host=/run/postgresql",
        ),
        ("postgresql:///?service=hooks", "postgresql:///?service=hooks", "hookline", "postgresql:///?service=hooks"),
        (
            "postgresql://h@db/d?sslkey=/k&sslpassword=open%20it",
            "postgresql://h@db/d?sslkey=/k&sslpassword=open%20it",
            "hookline",
            "postgresql://h@db/d?sslkey=/k&sslpassword=***",
        ),
    ],
)
def test_a_database_is_read_and_shown_without_its_secrets(written: str, url: str, schema: str, shown: str) -> None:
    place = parse_database(written)
    assert (place.url, place.schema, str(place)) == (url, schema, shown)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("postgresql:hooks", '"postgresql:…" is no PostgreSQL URL: write postgresql://'),
        ("postgress://h:verysecret@db/hooks", '"postgress:…" is no PostgreSQL URL: write postgresql://'),
        ("postgresql+asyncpg://h:verysecret@db/hooks", '"postgresql+asyncpg:…" is no PostgreSQL URL'),
        ("pgsql://h:verysecret@db/hooks", '"pgsql:…" is no PostgreSQL URL'),
        ("postgresql://h@db", "names no database: write it behind the host"),
        ("postgresql://h@db/", "names no database"),
        ("postgresql:///hooks", "names no host"),
        ("postgresql://h@db/a/b", "more than one / behind the host"),
        ("postgresql://h:verysecret@db/a b", "no blanks and no #"),
        ("postgresql://h:very#secret@db/hooks", "no blanks and no #"),
        ("postgresql://h:very@secret@db/hooks", "signs in a password are written as %2F"),
        ("postgresql://h:very/secret@db/hooks", "signs in a password are written as %2F"),
        ("postgresql://h:12/secret@db", "signs in a password are written as %2F"),
        ("postgresql://h:very?secret@db/hooks", "signs in a password are written as %2F"),
        ("postgresql://h@db:port/hooks", "no HOST or HOST:PORT before its database"),
        ("postgresql://h@db:70000/hooks", "no HOST or HOST:PORT before its database"),
        ("postgresql://h@a,,b/hooks", "a comma too many"),
        (
            "postgresql://h@db/hooks?sslmod=require",
            'unknown parameter "sslmod" in the PostgreSQL URL: did you mean "sslmode"?',
        ),
        ("postgresql://h@db/hooks?sslmode=yes", '"yes" is no sslmode: write disable, allow'),
        ("postgresql://h@db/hooks?sslmode=require&sslmode=allow", '"sslmode" stands twice'),
        ("postgresql://h@db/hooks?sslmode=", '"sslmode" has no value'),
        ("postgresql://h@db/hooks?password=verysecret", "write it before the host, as in hookline:${DB_PASSWORD}"),
        ("postgresql://h@db/hooks?target_session_attrs=any", "takes the one that takes writes"),
        ("postgresql://h@db/hooks?schema=Hook-line", '"Hook-line" cannot be our schema'),
        ("postgresql://h@db/hooks?schema=pg_hooks", '"pg_hooks" cannot be our schema'),
    ],
)
def test_a_mistake_is_told_with_its_place_and_without_a_secret(
    read: Callable[..., Settings], written: str, said: str
) -> None:
    found = mistakes(read, written)
    assert "hookline.yaml:2:8: store: " in found
    assert said in found
    assert "secret" not in found


@pytest.mark.parametrize("written", ["mysql://h:verysecret@db/hooks", "https://h:verysecret@db/hooks"])
def test_another_database_is_none_of_ours(read: Callable[..., Settings], written: str) -> None:
    found = mistakes(read, written)
    assert "names no store: write sqlite: and a path, as in sqlite:hookline.db, or postgresql://USER@HOST" in found
    assert "verysecret" not in found


def test_a_referenced_password_may_hold_any_sign_and_is_never_shown(read: Callable[..., Settings]) -> None:
    found = read("postgresql://${DB_USER}:${DB_PASSWORD}@${DB_HOST}/hooks", {
        "DB_USER": "h@example", "DB_PASSWORD": SECRET, "DB_HOST": "db:6432",
    })  # fmt: skip
    assert isinstance(found.store, PostgresDatabase)
    user, _, password = found.store.url.removeprefix("postgresql://").partition("@db:6432/hooks")[0].partition(":")
    assert (unquote(user), unquote(password)) == ("h@example", SECRET)
    assert not found.warnings
    shown = show_settings(found)
    assert "free_space" not in shown
    assert "store: postgresql://h%40example@db:6432/hooks" in shown.replace('"', "")
    for text in (repr(found), str(found.store), shown):
        assert SECRET not in text
        assert quote(SECRET, safe="") not in text
    assert {SECRET, quote(SECRET, safe="")} <= set(written_secrets(found))


def test_the_whole_may_be_a_reference_and_its_mistakes_are_told_without_it(read: Callable[..., Settings]) -> None:
    found = read("${DATABASE_URL}", {"DATABASE_URL": "postgresql://h:p%40w@db/hooks"})
    assert isinstance(found.store, PostgresDatabase)
    assert (found.store.url, found.warnings) == ("postgresql://h:p%40w@db/hooks", ())
    said = mistakes(read, "${DATABASE_URL}", {"DATABASE_URL": "postgresql://h:very/secret@db/hooks"})
    assert "no HOST or HOST:PORT before its database" in said
    assert "secret@" not in said
    assert "is not set" in mistakes(read, "${DATABASE_URL}")


def test_what_is_not_set_here_may_be_set_where_the_daemon_runs(read: Callable[..., Settings]) -> None:
    found = read("postgresql://h:${DB_PASSWORD}@db/hooks", offline=True)
    assert str(found.store) == "postgresql://h@db/hooks"
    assert ["${DB_PASSWORD} is not set" in str(one) for one in found.warnings] == [True]
    assert "${DB_PASSWORD} is not set" in mistakes(read, "postgresql://h:${DB_PASSWORD}@db/hooks")


@pytest.mark.parametrize("written", ["${DATABASE_URL}", "sqlite:${DATA}/hookline.db", "${SCHEME}${DATABASE_URL}"])
def test_where_the_store_is_may_not_be_known_here(read: Callable[..., Settings], written: str) -> None:
    # Not a file of the usual name: that would be a store that nobody has.
    found = read(written, {"SCHEME": "postgresql:// with a pa$$word"}, more="backup: {every: 1d}\n", offline=True)
    assert (found.store, str(found.store)) == (UnsetStore(written), written)
    assert ["is not set" in str(one) for one in found.warnings] == [True]


def test_a_password_in_the_file_is_warned_of(read: Callable[..., Settings]) -> None:
    (warning,) = read("postgresql://h:verysecret@db/hooks").warnings
    assert "the database's password stands in the configuration; write ${DB_PASSWORD} there" in str(warning)
    assert "verysecret" not in str(warning)
    assert not has_password("postgresql://h@db/hooks")


def test_what_only_a_file_has_is_a_mistake_beside_a_database(read: Callable[..., Settings]) -> None:
    said = mistakes(read, "postgresql://h@db/hooks", more="backup: {every: 1d}\n")
    assert "backup: Hookline makes no backups of a PostgreSQL database; remove the key" in said
    (warning,) = read("postgresql://h@db/hooks", more="limits: {free_space: 1GiB}\n").warnings
    assert "limits.free_space: free_space says nothing about a PostgreSQL database" in str(warning)
    assert read("sqlite:x.db", more="backup: {every: 1d}\nlimits: {free_space: 1GiB}\n").warnings == ()


def test_without_its_driver_a_database_cannot_be_used(
    read: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "asyncpg, which is not installed; pip install 'hookline[postgres]'" in mistakes(read, "postgresql://h@db/d")
    # Commands ask the daemon, which has it.
    (warning,) = read("postgresql://h@db/d", offline=True).warnings
    assert "asyncpg" in str(warning)


def test_state_lies_beside_a_file_and_else_where_systemd_says(read: Callable[..., Settings], tmp_path: Path) -> None:
    assert read("sqlite:/srv/a.db").state == Path("/srv")
    assert read("sqlite:a.db", {"STATE_DIRECTORY": "/s"}).store == SqliteFile(Path("/s/a.db"))
    assert read("postgresql://h@db/d").state == tmp_path
    assert read("postgresql://h@db/d", {"STATE_DIRECTORY": "/s:/t"}).state == Path("/s")


@given(
    password=st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text),
    hosts=st.sampled_from(["db", "a:1,b:2", "[::1]:5432"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_password_survives_and_no_message_shows_it(password: str, hosts: str) -> None:
    text = filled_in(
        f"postgresql://h:${{P}}@{hosts}/d?passfile=/x", lambda _: password.encode("utf-8", "replace").decode()
    )
    place = parse_database(text)
    assert password.encode("utf-8", "replace").decode() in secrets_in(place)
    assert str(place) == f"postgresql://h@{hosts}/d?passfile=/x"
