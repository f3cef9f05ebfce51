"""What the tests of the running service put into the sandbox: a configuration, a destination, senders, an oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

INSIDE = Path(__file__).with_name("inside")
CONFIG = """\
version: 1
listen: 127.0.0.1:8080
store: sqlite:hookline.db
rules: rules
sources:
  shop: {type: generic, verify: none, path_token: an-unguessable-path-1234, event: {type: $.event, id: $.id}}
destinations:
  erp:
    forward: {url: "http://127.0.0.1:9000/erp", secret: "${ERP_SECRET}"}
    retry: {schedule: [200ms, 500ms, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s], jitter: 0%}
    timeout: 60s
"""
RULES = "rules:\n  - {name: orders, from: shop, on: order, do: erp}\n"
#: Before each script: `restarts`, `main_pid`, `is_back PID`, `await COMMAND…` (at most 30 s), and the destination at work.
PRELUDE = """
export PATH=/opt/hookline/bin:$PATH
python=/opt/hookline/bin/python
await() { for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $*"; return 1; }
main_pid() { systemctl show -p MainPID --value hookline.service; }
# Runs again, as another process: between two of them there is none, whose number is 0.
is_back() { now=$(main_pid); [ "$now" != 0 ] && [ "$now" != "$1" ] && systemctl is-active hookline.service; }
restarts() { systemctl show -p NRestarts --value hookline.service; }
post() { curl -sS -o /dev/null -w '%{http_code}\\n' -d "{\\"event\\": \\"order\\", \\"id\\": \\"$1\\"}" \
  http://127.0.0.1:8080/hooks/shop/an-unguessable-path-1234; }
figure() { echo "figure $*"; }
$python /root/inside/sink.py & sink=$!
await grep -q :2328 /proc/net/tcp
hookline service install --now >/root/installed 2>&1 || { cat /root/installed; exit 1; }
"""


def files(**more: str | bytes) -> dict[str, str | bytes]:
    """Return the files of a machine with Hookline configured; `more`: what else lies in /etc/hookline, by its path."""
    made: dict[str, str | bytes] = {
        "/etc/hookline/hookline.yaml": CONFIG,
        "/etc/hookline/rules/rules.yaml": RULES,
        "/etc/hookline/credentials/ERP_SECRET": "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ==\n",
    }
    for script in INSIDE.iterdir():
        if script.is_file():
            made[f"/root/inside/{script.name}"] = script.read_bytes()
    return made | {f"/etc/hookline/{name}": content for name, content in more.items()}


def said(out: str, name: str) -> Any:
    """Return what `figure NAME JSON` printed."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"figure {name} ")]
    return json.loads(line.removeprefix(f"figure {name} "))
