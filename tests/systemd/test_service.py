"""`hookline service` on a machine: installed, started by a connection, reloaded, mended, removed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.systemd.conftest import Result, Systemd

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CONFIG = """\
version: 1
listen: 127.0.0.1:8080
sources:
  github: {type: github, secret: "${GITHUB_SECRET}"}
destinations:
  erp: {forward: {url: "http://127.0.0.1:9000/x", secret: "${ERP_SECRET}"}}
"""
FILES: dict[str, str | bytes] = {
    "/etc/hookline/hookline.yaml": CONFIG,
    "/etc/hookline/rules/a.yaml": "rules:\n  - {name: all, from: github, do: erp}\n",
    "/etc/hookline/credentials/GITHUB_SECRET": "from-a-credential\n",
    "/etc/hookline/credentials/ERP_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw\n",
    # A destination: it keeps what came, with whether it was signed with the secret.
    "/root/sink.py": """\
import base64, hashlib, hmac, http.server, pathlib
key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw")
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        good = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        pathlib.Path("/root/arrived").write_text("signed" if self.headers["webhook-signature"] == good else "unsigned")
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9000), Sink).serve_forever()
""",
}
PRELUDE = """
export PATH=/opt/hookline/bin:$PATH
await() { for _ in $(seq 400); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $*"; return 1; }
send() { # BODY: signed as GitHub does; prints the status
  signature=$(printf %s "$1" | openssl dgst -sha256 -hmac from-a-credential -r | cut -d' ' -f1)
  curl -sS -m 60 -o /dev/null -w '%{http_code}' -H "X-Hub-Signature-256: sha256=$signature" -H 'X-GitHub-Event: push' \\
    -H "X-GitHub-Delivery: $(cat /proc/sys/kernel/random/uuid)" -H 'Content-Type: application/json' -d "$1" \\
    "http://127.0.0.1:${2:-8080}/hooks/github"
}
say() { echo "said $1 $("${@:2}" 2>&1 | tr '\\n' '~')"; }
status() { "$@" >/root/last 2>&1 && echo 0 || echo $?; }
"""


def run(systemd: Systemd, script: str, **files: str) -> tuple[dict[str, str], Result]:
    """Run a script, and return what it said by `say NAME COMMAND…`, lines joined by ~."""
    result = systemd.run(PRELUDE + script, files=FILES | files, seconds=300).check()
    pairs = [line.removeprefix("said ").split(" ", 1) for line in result.out.splitlines() if line.startswith("said ")]
    return {name: text.removesuffix("~") for name, text in pairs}, result


def test_a_connection_starts_it_secrets_are_read_and_its_store_is_seen_by_who_types_a_command(systemd: Systemd) -> None:
    said, result = run(
        systemd,
        """
/opt/hookline/bin/python /root/sink.py 2>/dev/null & sink=$!
await grep -q :2328 /proc/net/tcp
say install status hookline service install
say before status hookline service status
# Only the socket: the first request starts the service, and is answered.
systemctl start hookline.socket
say sent send '{"ref": "refs/heads/main"}'
say active systemctl is-active hookline.service hookline.socket
say line systemctl show -p StatusText --value hookline.service
await test -e /root/arrived
say arrived cat /root/arrived
say events hookline events --json
say owners stat -c '%U %a' /var/lib/private/hookline /var/lib/hookline/hookline.db
say after status hookline service status
worker=/proc/$(pgrep -f '[w]orkers.main' | head -1)
say worker grep -h -e '^[0-9]' -e 'core file' $worker/oom_score_adj $worker/limits
say firewall systemctl show -p IPAddressDeny --value hookline.service
say score sh -c 'systemd-analyze security --threshold=15 --no-pager hookline.service | tail -1; exit 0'
say scored status systemd-analyze security --threshold=15 --no-pager hookline.service
say reload status systemctl reload hookline
echo 'rules: [{name: 3}]' >/etc/hookline/rules/b.yaml
say bad_reload status systemctl reload hookline
say still send '{"ref": "refs/heads/other"}'
rm /etc/hookline/rules/b.yaml
# Looked into while it is stopped, by root: what SQLite then makes must not shut its own user out.
systemctl stop hookline.socket hookline.service
say stopped_events sh -c 'hookline events --json | grep -c evt_'
say left sh -c 'stat -c %U /var/lib/private/hookline/* | sort -u | wc -l'
systemctl start hookline
say again systemctl is-active hookline.service hookline.socket
kill $sink
""",
    )
    assert said["install"] == "0"
    assert (said["before"], said["after"]) == ("1", "0")
    assert said["sent"] == "200"
    assert said["active"] == said["again"] == "active~active"
    assert said["line"].startswith("1 source, 1 rule ")
    assert said["arrived"] == "signed"
    assert [event["source"] for event in events(said["events"])] == ["github"]
    assert [line.split()[1] for line in said["owners"].split("~")] == ["700", "600"]
    assert said["worker"].split("~")[0] == "500"
    assert said["worker"].split()[-3:] == ["0", "0", "bytes"]
    assert "169.254.0.0/16" in said["firewall"]
    assert "does not support BPF" not in result.journal
    assert said["scored"] == "0", said["score"]
    print(said["score"])  # noqa: T201 - a figure
    assert (said["reload"], said["bad_reload"], said["still"]) == ("0", "1", "200")
    assert "rules/b.yaml:1:9: rules[0]" in result.journal
    assert (said["stopped_events"] != "0", said["left"]) == (True, "1")


def events(text: str) -> list[dict[str, Any]]:
    """Return what `hookline events --json` printed."""
    found = json.loads(text.replace("~", "\n"))
    return found if isinstance(found, list) else found["events"]


def test_installing_again_mending_and_removing(systemd: Systemd) -> None:
    said, result = run(
        systemd,
        """
say install status hookline service install --now
pid=$(systemctl show -p MainPID --value hookline)
say twice status hookline service install --now
say twice_said cat /root/last
say same sh -c "[ $pid = \\$(systemctl show -p MainPID --value hookline) ] && echo same"
# Another port: the socket is written anew, and takes the service along.
sed -i 's/8080/8090/' /etc/hookline/hookline.yaml
say moved status hookline service install --now
say there send '{}' 8090
say gone status curl -sS -m 5 http://127.0.0.1:8080/healthz
# Without the socket, and with it again: who holds the port lets go of it.
say bare status hookline service install --no-socket --now
say bare_send send '{}' 8090
say socket status systemctl is-active hookline.socket
say back status hookline service install --now
say back_send send '{}' 8090
say back_active systemctl is-active hookline.service hookline.socket
# A configuration that is bad: it ends with 78 and is not started again, also not by who waits.
cp /etc/hookline/hookline.yaml /root/good.yaml
sed -i 's/^listen:.*/listen: nowhere/' /etc/hookline/hookline.yaml
say refused status hookline service install
say bad status systemctl restart hookline
await systemctl is-failed hookline.service
say bad_code systemctl show -p ExecMainStatus -p NRestarts -p ActiveState hookline.service
say bad_socket systemctl is-active hookline.socket
say bad_why sh -c "systemctl status --no-pager hookline.service | grep -c 'hookline.yaml:[0-9]*:[0-9]*: listen'"
say refuses status curl -sS -m 5 http://127.0.0.1:8090/healthz
cp /root/good.yaml /etc/hookline/hookline.yaml
say mended status systemctl start hookline
say mended_send send '{}' 8090
# A second one beside it, with a user of its own.
mkdir -p /etc/hooks2/rules
sed 's/8090/8095\\nadmin: {listen: "127.0.0.1:8096"}/' /root/good.yaml >/etc/hooks2/hookline.yaml
cp -r /etc/hookline/credentials /etc/hooks2/
say second status hookline service install --name hooks2 --account hooks --now
say second_said cat /root/last
say second_send send '{}' 8095
say second_user sh -c 'ps -o user= -p $(systemctl show -p MainPID --value hooks2); stat -c %U /var/lib/hooks2/hookline.db'
say second_events sh -c 'hookline events -c /etc/hooks2/hookline.yaml --json | grep -c evt_'
say second_reload status systemctl reload hooks2
say removed status hookline service uninstall
say removed_said cat /root/last
say both systemctl is-active hookline.service hookline.socket hooks2.service
say units sh -c 'ls /etc/systemd/system | grep -c "^hookline" '
say kept ls /etc/hookline/hookline.yaml /var/lib/hookline/hookline.db
""",
    )
    assert (said["install"], said["twice"], said["same"]) == ("0", "0", "same"), result.out
    assert "wrote" not in said["twice_said"]
    assert (said["moved"], said["there"]) == ("0", "200")
    assert said["gone"] == said["refuses"] == "7"  # curl: could not connect
    assert (said["bare"], said["bare_send"], said["socket"] != "0") == ("0", "200", True)
    assert (said["back"], said["back_send"], said["back_active"]) == ("0", "200", "active~active")
    assert (said["refused"], said["bad"] != "0") == ("78", True)
    assert sorted(said["bad_code"].split("~")) == ["ActiveState=failed", "ExecMainStatus=78", "NRestarts=0"]
    assert (said["bad_socket"], said["bad_why"]) == ("inactive", "1")
    assert (said["mended"], said["mended_send"]) == ("0", "200")
    assert (said["second"], said["second_send"]) == ("0", "200"), said["second_said"]
    assert said["second_user"] == "hooks~hooks"
    assert (said["second_events"] != "0", said["second_reload"]) == (True, "0")
    assert said["removed"] == "0"
    assert "Kept: /etc/hookline, /var/lib/hookline." in said["removed_said"]
    assert said["both"] == "inactive~inactive~active"
    assert (said["units"], said["kept"].count("~")) == ("0", 1)
