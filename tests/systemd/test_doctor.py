"""`hookline doctor` on an installed service: as root, as somebody who may see nothing, and when the unit is not well."""

from __future__ import annotations

from typing import Any

import pytest

from tests.systemd.installing import PRELUDE, files, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def of(findings: list[dict[str, str]], name: str) -> list[dict[str, str]]:
    return [finding for finding in findings if finding["name"] == name]


def wrong(findings: list[dict[str, str]]) -> list[dict[str, str]]:
    return [finding for finding in findings if finding["level"] == "wrong"]


def test_an_installed_service_is_seen_by_root_and_told_apart_by_others(systemd: Any) -> None:
    script = f"""{PRELUDE}
look() {{ name=$1; shift; figure $name "$("$@" hookline doctor --json | tr -d '\\n')"; }}
post 1 >/dev/null
look root env
look nobody setpriv --reuid=65534 --regid=65534 --clear-groups
echo '# by hand' >> /etc/systemd/system/hookline.service
chmod 644 /etc/hookline/credentials/ERP_SECRET
systemctl stop hookline.socket hookline.service
look stopped env
kill $sink
"""
    out = systemd.run(script, files=files(), seconds=200).check().out
    root = said(out, "root")
    assert wrong(root) == []
    (service,) = of(root, "service")
    assert service["level"] == "ok", service
    assert service["text"].startswith("hookline.service active, notify, watchdog 30s, socket, security score 1.")
    assert of(root, "daemon")[0]["level"] == "ok"
    # The secret is one that systemd gave to the service, and root's shell has not.
    assert [finding["text"] for finding in of(root, "secrets")] == [
        "1 is set: ERP_SECRET",
        "1 secret in /etc/hookline/hookline.yaml, which others can read",
    ]
    assert of(root, "permissions")[0]["level"] == "ok"
    assert of(root, "store")[0]["text"].startswith("/var/lib/hookline/hookline.db: sqlite")
    nobody = said(out, "nobody")
    assert wrong(nobody) == []
    for name in ("daemon", "store", "permissions", "secrets"):
        (first, *_) = of(nobody, name)
        assert (first["level"], first["fix"]) == ("warn", "sudo hookline doctor"), first
    stopped = said(out, "stopped")
    assert of(stopped, "daemon") == [
        {
            "level": "wrong", "name": "daemon", "text": "not running: senders get no answer",
            "fix": "sudo systemctl start hookline.service",
        }
    ]  # fmt: skip
    texts = [finding["text"] for finding in of(stopped, "service")]
    assert "hookline.service is installed and not started" in texts
    assert any("hookline.service was edited" in text for text in texts)
    assert any("can be read by others" in finding["text"] for finding in wrong(of(stopped, "permissions")))
