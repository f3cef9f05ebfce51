"""The service restarted and killed under load, in a systemd that is real: nothing refused, nothing lost."""

from __future__ import annotations

import pytest

from tests.systemd.conftest import Systemd
from tests.systemd.installing import PRELUDE, files, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_five_restarts_and_a_kill_under_load(systemd: Systemd) -> None:
    script = f"""{PRELUDE}
$python /root/inside/load.py restarts & load=$!
await test -s /tmp/load/restarts.accepted
took=
for _ in 1 2 3 4 5; do
  sleep 1
  began=$(date +%s%3N)
  systemctl restart hookline.service
  took="$took, $(( $(date +%s%3N) - began ))"
done
sleep 1
touch /tmp/load/over; wait $load; rm /tmp/load/over
figure took "[${{took#, }}]"
figure restarts "$($python /root/inside/oracle.py restarts)"

$python /root/inside/load.py killed insist & load=$!
await test -s /tmp/load/killed.accepted
sleep 1
pid=$(main_pid); workers=$(pgrep -P $pid)
figure workers $(echo $workers | wc -w)
began=$(date +%s%3N)
kill -KILL $pid
await is_back $pid
figure back "$(( $(date +%s%3N) - began ))"
left=0
for worker in $workers; do ! test -d /proc/$worker || left=$((left + 1)); done
figure left $left
sleep 1
touch /tmp/load/over; wait $load
figure killed "$($python /root/inside/oracle.py killed)"
kill $sink
"""
    out = systemd.run(script, files=files(), seconds=200).check().out
    print(out)  # noqa: T201 - the figures
    for name in ("restarts", "killed"):
        verdict = said(out, name)
        assert verdict["accepted"] > 100
        for wrong in ("lost", "again with another webhook-id", "again and not marked", "not finished", "dead"):
            assert verdict[wrong] == 0, (name, verdict)
    assert said(out, "restarts")["not accepted"] == 0, out
    assert said(out, "workers") >= 1
    assert said(out, "left") == 0
