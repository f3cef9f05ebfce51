"""Every built-in action and the plug-in of the examples at work inside the unit's sandboxing."""

from __future__ import annotations

import pytest

from tests.systemd.conftest import Systemd
from tests.systemd.installation import ROOT, TESTS
from tests.systemd.installing import PRELUDE, files, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = """\
version: 1
listen: 127.0.0.1:8080
store: sqlite:hookline.db
rules: rules
plugins: plugins
workers: 2
allow_commands: true
sources:
  shop: {type: generic, verify: none, path_token: an-unguessable-path-1234, event: {type: $.event, id: $.id}}
destinations:
  erp: {forward: {url: "http://127.0.0.1:9000/erp", secret: "${ERP_SECRET}"}}
  safe: {forward: {url: "https://localhost:9443/safe"}}
  chat: {slack: {url: "http://127.0.0.1:9000/slack"}}
  mail: {email: {server: "127.0.0.1:2525", tls: none, from: hookline@example.com, to: ops@example.com}}
  program: {command: {run: [/bin/sh, -c, 'cat | tr -d "\\n" | wc -c']}}
  phone: {apprise: {urls: ["json://127.0.0.1:9000/apprise"]}}
  announcements: {discord: {url: "http://127.0.0.1:9000/discord"}}
"""
STEPS = {
    "erp": "erp", "safe": "safe", "slack": 'chat: {text: "{{ payload.id }}"}',
    "mail": 'mail: {subject: "Order {{ payload.id }}", text: "It is paid."}', "program": "program",
    "apprise": 'phone: {body: "{{ payload.id }}"}', "discord": "announcements", "log": 'log: {message: "seen {{ payload.id }}"}',
}  # fmt: skip
RULES = "rules:\n  - name: all\n    from: shop\n    on: order\n    do:\n" + "".join(
    f"      - {step}\n" for step in STEPS.values()
)


def test_every_action_works_inside(systemd: Systemd) -> None:
    """Also: rules and plug-ins are read and watched by who owns none of them, and workers limit themselves."""
    prelude, install, rest = PRELUDE.partition("hookline service install")
    script = f"""{prelude}
{TESTS}/bin/python /root/inside/mail.py & mail=$!
mkdir /root/tls; cd /root/tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=Test 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr -subj /CN=localhost 2>/dev/null
printf 'subjectAltName=DNS:localhost' >san
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile san -days 30 -out server.pem 2>/dev/null
cat ca.pem >>/etc/ssl/certs/ca-certificates.crt
cp ca.pem "/etc/ssl/certs/$(openssl x509 -hash -noout -in ca.pem).0"
cd /root
$python /root/inside/tls.py & tls=$!
await grep -q :24E3 /proc/net/tcp
await grep -q :09DD /proc/net/tcp
{install}{rest}
post first
settled() {{ test "$(hookline deliveries --json | grep -c '"state": "delivered"')" -ge $1; }}
await settled {len(STEPS)} || {{ hookline deliveries; exit 1; }}
figure delivered "$(hookline deliveries --json | grep -c '"state": "delivered"')"
for path in erp slack discord apprise; do grep -c " /$path" /tmp/sink/arrived | sed "s/^/figure $path /"; done
figure mail "$(grep -c 'Order first' /tmp/sink/mail)"
figure tls "$(grep -c first /tmp/sink/tls)"
hookline deliveries

# Rules and plug-ins are watched inside.
sed -i 's/seen /again /' /etc/hookline/rules/rules.yaml
await sh -c 'journalctl -q -u hookline.service -o cat | grep -q rules.live.*again || test $(journalctl -q -u hookline.service -o cat | grep -c rules.live) -ge 2'
figure reloads "$(journalctl -q -u hookline.service -o cat | grep -c rules.live)"
figure mistakes "$(journalctl -q -u hookline.service -o cat | grep -c reload.refused || true)"

pid=$(main_pid)
for worker in $(pgrep -P $pid); do
  grep -E 'Max (core|data|address|processes)' /proc/$worker/limits
  figure core-$worker "$(awk '/Max core/ {{print $5}}' /proc/$worker/limits)"
  echo "oom of a worker $(cat /proc/$worker/oom_score_adj), of the daemon $(cat /proc/$pid/oom_score_adj)"
done
journalctl -q -u hookline.service -o cat | grep -i -E 'confine|not limited|rlimit|Operation not permitted' || echo 'no complaint'
kill $sink $mail $tls
"""
    plugin = (ROOT / "examples" / "plugin" / "plugins" / "discord.py").read_text()
    inside = files(**{"hookline.yaml": CONFIG, "rules/rules.yaml": RULES, "plugins/discord.py": plugin})
    out = systemd.run(script, files=inside, seconds=200).check().out
    print(out)  # noqa: T201 - the figures
    assert said(out, "delivered") == len(STEPS)
    for name in ("erp", "slack", "discord", "apprise", "mail", "tls"):
        assert said(out, name) == 1, name
    assert said(out, "reloads") >= 2
    assert said(out, "mistakes") == 0
    assert "no complaint" in out
