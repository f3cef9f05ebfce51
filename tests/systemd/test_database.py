"""The service with a PostgreSQL beside it: under confinement, before and after its database is there, and by whom it is let in."""

from __future__ import annotations

import pytest

from tests.systemd.conftest import Systemd
from tests.systemd.installing import CONFIG, PRELUDE, files, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("has_postgres")]

STORE = "store: sqlite:hookline.db"
#: A unit for Debian's server, whose role `hookline` has a password, and over the socket needs to be the user `hookline`.
DATABASE = """
export PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH
folder=/var/lib/test-database
install -d -o postgres -g postgres $folder /run/postgresql
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=$folder "$@"; }
as_postgres initdb -U postgres -A trust -E UTF8 --locale=C --no-sync -D $folder/data >/dev/null
cat >$folder/data/pg_hba.conf <<'HBA'
local all postgres trust
local all all peer
host all all 127.0.0.1/32 scram-sha-256
HBA
cat >/etc/systemd/system/database.service <<UNIT
[Service]
User=postgres
Type=notify
ExecStart=$(command -v postgres) -D $folder/data -c listen_addresses=127.0.0.1 -c unix_socket_directories=/run/postgresql
KillSignal=SIGINT
UNIT
systemctl daemon-reload
systemctl start database
sql() { as_postgres psql -X -q -A -t -h /run/postgresql -U postgres "$@"; }
sql -c "CREATE ROLE hookline LOGIN PASSWORD 'p3Wq/8sLx@0vTz:77'" -c 'CREATE DATABASE hooks OWNER hookline'
"""


def script(text: str) -> str:
    """Return a script that has the database before the service."""
    return DATABASE + PRELUDE + text


def test_with_a_password_it_outlives_its_database_and_says_what_is_wrong(systemd: Systemd) -> None:
    made = files(
        **{
            "hookline.yaml": CONFIG.replace(STORE, "store: postgresql://hookline:${DB_PASSWORD}@127.0.0.1/hooks"),
            "credentials/DB_PASSWORD": "p3Wq/8sLx@0vTz:77\n",
        }
    )
    result = systemd.run(
        script("""
figure first "$(post first)"
await grep -q first /tmp/sink/arrived
systemctl stop database
figure away "$(post second)"
await sh -c 'systemctl show -p StatusText --value hookline | grep -q "store: away"'
figure line "\\"$(systemctl show -p StatusText --value hookline)\\""
systemctl start database
await sh -c '[ "$('"$(declare -f post); post second"')" = 200 ]'
await grep -q second /tmp/sink/arrived
figure restarts "$(restarts)"
# As one types: root, with the service's own configuration.
figure events "$(hookline events --json | grep -c '"id": "evt_')"
figure nodes "$(hookline nodes --json | grep -c '"name"')"
hookline doctor >/root/doctor || true
grep -E 'store|durability|connections|nodes' /root/doctor
# A start before the database is there waits for it.
systemctl stop hookline.socket hookline database
systemctl start --no-block hookline
await sh -c 'journalctl -q -u hookline | grep -q store.not_there_yet'
systemctl start database
await sh -c '[ "$(systemctl is-active hookline)" = active ]'
figure again "$(post third)"
# What a person has to mend ends it for good.
sql -c "ALTER ROLE hookline PASSWORD 'another'"
systemctl restart hookline && exit 1
figure status "$(systemctl show -p ExecMainStatus --value hookline)"
figure state "\\"$(systemctl is-active hookline)\\""
kill $sink
"""),
        files=made,
        seconds=300,
    ).check()
    assert [said(result.out, name) for name in ("first", "away", "again")] == [200, 503, 200]
    assert said(result.out, "restarts") == 0
    assert said(result.out, "events") == 2
    assert said(result.out, "nodes") == 1
    assert (said(result.out, "status"), said(result.out, "state")) == (78, "failed")
    assert "does not let us in: correct user and password" in result.journal
    assert "p3Wq" not in result.out + result.journal
    print(result.out)  # noqa: T201


def test_over_the_socket_its_user_is_who_it_says(systemd: Systemd) -> None:
    made = files(**{"hookline.yaml": CONFIG.replace(STORE, "store: postgresql://hookline@/hooks?host=/run/postgresql")})
    result = systemd.run(
        script("""
figure first "$(post first)"
await grep -q first /tmp/sink/arrived
figure owner "\\"$(sql -d hooks -c "SELECT tableowner FROM pg_tables WHERE tablename = 'events'")\\""
hookline events >/root/events 2>&1 || true
cat /root/events
kill $sink
"""),
        files=made,
        seconds=300,
    ).check()
    assert said(result.out, "first") == 200
    assert said(result.out, "owner") == "hookline"
    print(result.out)  # noqa: T201
