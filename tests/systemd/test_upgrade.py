"""An upgrade with a backlog, from before there was a unit; and a service that must not start says why and stays down."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.systemd.conftest import Systemd
from tests.systemd.installation import ROOT, TESTS, build_wheel, build_wheel_of
from tests.systemd.installing import CONFIG, PRELUDE, files, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

#: The newest with schema 4: it knows no systemd, and its users wrote their units themselves.
BEFORE = "14a557d818b7a8e8877ab5c265cfff1d85b2f5db"
COUNT = 2000
OLD_UNIT = """\
[Unit]
After=network.target
[Service]
ExecStart=/opt/hookline/bin/hookline run -c /etc/hookline/hookline.yaml
DynamicUser=yes
StateDirectory=hookline
Environment=ERP_SECRET=whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ==
Restart=on-failure
"""
ORDERED = "rules:\n  - {name: orders, from: shop, on: order, do: {erp: {}, order_by: $.client}}\n"


@pytest.fixture
def wheels(tmp_path: Path) -> dict[str, bytes]:
    """Return the wheel of before and of now, by file name inside."""
    source = tmp_path / "before"
    source.mkdir()
    archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, check=False, capture_output=True)
    if archive.returncode:
        pytest.skip(f"the history does not reach back to {BEFORE[:7]}")
    subprocess.run(["tar", "-x"], cwd=source, input=archive.stdout, check=True)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    made = {"old": build_wheel_of(source, tmp_path / "old"), "new": build_wheel(ROOT, tmp_path / "new")}
    return {f"/root/wheels/{name}/{wheel.name}": wheel.read_bytes() for name, wheel in made.items()}


def test_upgrade_with_a_backlog_and_starts_that_are_refused(systemd: Systemd, wheels: dict[str, bytes]) -> None:
    """The order of each sender is kept, the store is copied before it is changed, nothing is lost."""
    prelude, _, _ = PRELUDE.partition("hookline service install")
    pip = (
        f"{TESTS}/bin/python -m pip --python /opt/hookline/bin/python install -q --no-index --no-deps --force-reinstall"
    )
    script = f"""{prelude}
install() {{ {pip} --root-user-action ignore --disable-pip-version-check /root/wheels/$1/*.whl; }}
install old
cp /root/old.service /etc/systemd/system/hookline.service
touch /tmp/sink/down
systemctl daemon-reload; systemctl start hookline.service
await curl -fsS http://127.0.0.1:8080/healthz
$python /root/inside/fill.py {COUNT}
figure schema "$($python -c 'import sqlite3; print(sqlite3.connect("/var/lib/hookline/hookline.db").execute("PRAGMA user_version").fetchone()[0])')"

install new
! hookline service install --now >/dev/null || {{ echo "wrote over the unit of another"; exit 1; }}
began=$(date +%s%3N)
# No socket can be given to a service that runs.
systemctl stop hookline.service
hookline service install --force --now >/root/installed
figure upgraded "$(( $(date +%s%3N) - began ))"
figure waiting "$(hookline destinations --json | tr -d '\\n')"
figure copies "$(ls /var/lib/hookline | grep -c 'hookline.db.*schema')" || ls -la /var/lib/hookline/
rm /tmp/sink/down
began=$(date +%s%3N)
figure backlog "$($python /root/inside/oracle.py backlog)"
figure drained "$(( $(date +%s%3N) - began ))"
$python -c '
import collections, json
first = dict.fromkeys(line.split()[0] for line in open("/tmp/sink/arrived"))
order = collections.defaultdict(list)
for event in first:
    if event.startswith("backlog-"):
        sender, position = event.split("-")[1:]
        order[sender].append(int(position))
print("figure disordered", json.dumps([sender for sender, found in order.items() if found != sorted(found)]))'

refused() {{
  ! systemctl restart hookline.service || {{ echo "started: $1"; exit 1; }}
  figure $1 "\\"$(systemctl show -p ExecMainStatus --value hookline.service) $(systemctl is-failed hookline.service)\\""
  before=$(restarts)
  sleep 4
  figure $1-looped "$(( $(restarts) - before ))"
  systemctl status --no-pager --full hookline.service >/root/status || true
  sed "s/^/$1: /" /root/status
}}
systemctl stop hookline.service
cp -a /var/lib/hookline/. /root/good
$python -c 'import sqlite3; c = sqlite3.connect("/var/lib/hookline/hookline.db"); c.execute("PRAGMA user_version = 99"); c.close()'
refused newer
cp -a /root/good/. /var/lib/hookline
$python -c 'f = open("/var/lib/hookline/hookline.db", "r+b"); f.seek(0); f.write(bytes(8192))'
rm -f /var/lib/hookline/hookline.db-wal /var/lib/hookline/hookline.db-shm
refused damaged
cp -a /root/good/. /var/lib/hookline
sed -i 's/^version: 1/version: 1\\nlisen: 127.0.0.1:8080/' /etc/hookline/hookline.yaml
refused misspelt
sed -i '/^lisen/d' /etc/hookline/hookline.yaml
systemctl start hookline.socket hookline.service
figure mended "$(post mended)"
kill $sink
"""
    config = CONFIG.replace(
        "retry: {schedule: [", "breaker: none\n    retry: {schedule: [3s, 3s, 3s, 3s, 3s, 3s, 3s, 3s, 3s, 3s, "
    )
    inside = (
        files()
        | wheels
        | {
            "/etc/hookline/hookline.yaml": config,
            "/etc/hookline/rules/rules.yaml": ORDERED,
            "/root/old.service": OLD_UNIT,
        }
    )
    out = systemd.run(script, files=inside, seconds=300).check().out
    print(out)  # noqa: T201 - the figures
    verdict = said(out, "backlog")
    assert verdict["accepted"] == COUNT
    for wrong in ("lost", "again with another webhook-id", "again and not marked", "not finished", "dead"):
        assert verdict[wrong] == 0, verdict
    assert said(out, "schema") == 4
    assert said(out, "copies") == 1
    assert said(out, "disordered") == []
    for name, words in {
        "newer": ["newer Hookline", "99"], "damaged": ["hookline.db"], "misspelt": ["lisen", "listen"],
    }.items():  # fmt: skip
        assert said(out, name) == "78 failed"
        assert said(out, f"{name}-looped") == 0
        status = "\n".join(line for line in out.splitlines() if line.startswith(f"{name}: "))
        for word in words:
            assert word in status, (name, word, status)
    assert said(out, "mended") == 200
