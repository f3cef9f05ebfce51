"""The watchdog ends a service that hangs, and a stop ends with all that hangs around it."""

from __future__ import annotations

import pytest

from tests.systemd.conftest import Systemd
from tests.systemd.installing import CONFIG, PRELUDE, RULES, files, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


HANGS = '''
"""Holds the daemon's loop once: actions run in the daemon where there are no workers."""

import os
import time
from pathlib import Path

from pydantic import BaseModel


class Options(BaseModel):
    """None."""


async def deliver(delivery, options, context):
    mark = Path(os.environ["STATE_DIRECTORY"], "hung")
    if not mark.exists():
        mark.touch()
        time.sleep(600)
'''


def test_watchdog_and_a_stop_with_all_that_hangs(systemd: Systemd) -> None:
    in_the_loop = CONFIG.replace("rules: rules\n", "rules: rules\nplugins: plugins\nworkers: 0\n")
    script = f"""{PRELUDE}
mkdir -p /etc/systemd/system/hookline.service.d
printf '[Service]\\nWatchdogSec=3\\n' >/etc/systemd/system/hookline.service.d/watchdog.conf
systemctl daemon-reload; systemctl restart hookline.service

$python /root/inside/load.py hung insist & load=$!
await test -s /tmp/load/hung.accepted
pid=$(main_pid)
began=$(date +%s%3N)
kill -STOP $pid
await is_back $pid
figure back "$(( $(date +%s%3N) - began ))"
figure again "$(restarts)"
sleep 1
touch /tmp/load/over; wait $load; rm /tmp/load/over
figure hung "$($python /root/inside/oracle.py hung)"

cat /root/in-the-loop.yaml >/etc/hookline/hookline.yaml
printf 'rules: [{{name: hang, from: shop, on: order, do: [{{hangs: {{}}}}]}}]\\n' >/etc/hookline/rules/rules.yaml
systemctl restart hookline.service
pid=$(main_pid)
began=$(date +%s%3N)
post blocks || true
await is_back $pid
figure unblocked "$(( $(date +%s%3N) - began ))"
await sh -c 'hookline deliveries --json | grep -q delivered'
figure blocked "$(hookline events --json | grep -c '"sender_id": "blocks"')"

cp /root/plain.yaml /etc/hookline/hookline.yaml
cp /root/plain-rules.yaml /etc/hookline/rules/rules.yaml
systemctl restart hookline.service
touch /tmp/sink/hang
post hangs
await grep -q hangs /tmp/sink/arrived
$python -c '
import socket, time
upload = socket.create_connection(("127.0.0.1", 8080))
upload.sendall(b"POST /hooks/shop/an-unguessable-path-1234 HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000\\r\\n\\r\\nhalf")
time.sleep(600)' & upload=$!
await grep -q " 0100007F:1F90 .* 01 " /proc/net/tcp
began=$(date +%s%3N)
systemctl stop hookline.service hookline.socket
figure stopped "$(( $(date +%s%3N) - began ))"
figure result "\\"$(systemctl show -p Result --value hookline.service) $(systemctl show -p ExecMainStatus --value hookline.service)\\""
kill $upload; rm /tmp/sink/hang
began=$(date +%s%3N)
systemctl start hookline.socket hookline.service
await sh -c 'test $(grep -c hangs /tmp/sink/arrived) = 2'
figure resumed "$(( $(date +%s%3N) - began ))"
figure keys "$(grep hangs /tmp/sink/arrived | sort -u | wc -l)"
kill $sink
"""
    inside = files(**{"plugins/hangs.py": HANGS}) | {
        "/root/in-the-loop.yaml": in_the_loop,
        "/root/plain.yaml": CONFIG,
        "/root/plain-rules.yaml": RULES,
    }
    result = systemd.run(script, files=inside, seconds=200).check()
    out, journal = result.out, result.journal
    print(out)  # noqa: T201 - the figures
    assert said(out, "again") >= 1
    verdict = said(out, "hung")
    assert verdict["accepted"] > 50
    for wrong in ("lost", "again with another webhook-id", "again and not marked", "not finished", "dead"):
        assert verdict[wrong] == 0, verdict
    assert journal.count("Watchdog timeout") == 2
    # Who reads the journal sees what held it.
    assert "hangs.py" in journal
    assert said(out, "blocked") == 1
    assert said(out, "stopped") < 45_000
    assert said(out, "result") == "success 0"
    # The same delivery, tried again with the same webhook-id.
    assert said(out, "keys") == 1
