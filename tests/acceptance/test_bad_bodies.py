"""Bodies that nobody should send (RELIABILITY 3b, 65 to 90), authentic and through the real daemon.

Each is answered, none with a 5xx; what is authentic is stored, shown and explained; the log stays one line an event.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import http.client
import json
import time
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SECRET = "acceptance-secret-0123456789"


def event(**data: Any) -> bytes:
    return json.dumps({"id": "x", "event": "invoice.paid", "data": data}).encode()


def with_id(number: int, inside: bytes) -> bytes:
    return b'{"id": "row-%d", "event": "invoice.paid", "data": %s}' % (number, inside)


#: Row, what it is, the body, headers beside the usual ones, the status, the event type that is stored (None: nothing).
CORPUS: list[tuple[int, str, bytes, dict[str, str], int, str | None]] = [
    (65, "empty", b"", {}, 200, "unreadable"),
    (66, "null", b"null", {}, 200, "unreadable"),
    (66, "a number", b"42", {}, 200, "unreadable"),
    (66, "a text", b'"x"', {}, 200, "unreadable"),
    (66, "an array", b"[]", {}, 200, "unreadable"),
    (67, "cut off", b'{"id": "row-67", "event": "invoice.paid", "da', {}, 200, "unreadable"),
    (68, "65 deep", with_id(68, b"[" * 65 + b"]" * 65), {}, 200, "unreadable"),
    (68, "2,000 deep", with_id(682, b"[" * 2_000 + b"]" * 2_000), {}, 200, "unreadable"),
    (68, "100,000 deep", with_id(683, b"[" * 100_000 + b"]" * 100_000), {}, 200, "unreadable"),
    (69, "NaN", with_id(69, b"NaN"), {}, 200, "unreadable"),
    (69, "infinity", with_id(692, b"-Infinity"), {}, 200, "unreadable"),
    (70, "a key twice", b'{"id": "row-70", "event": "a", "event": "b", "data": {}}', {}, 200, "unreadable"),
    (71, "2^63", with_id(71, b'{"total": 9223372036854775808}'), {}, 200, "invoice.paid"),
    (71, "5,000 digits", with_id(712, b"9" * 5_000), {}, 200, "unreadable"),
    (72, "1e400", with_id(72, b"1e400"), {}, 200, "unreadable"),
    (73, "a lone surrogate", b'{"id": "row-73\\ud800", "event": "inv\\udfff", "data": "\\ud800"}', {}, 200, "inv\ufffd"),
    (74, "NUL in id, type and value", b'{"id": "a\\u0000", "event": "b\\u0000", "data": "\\u0000"}', {}, 200, "b\ufffd"),
    (75, "a byte order mark", b"\xef\xbb\xbf" + with_id(75, b"{}"), {}, 200, "invoice.paid"),
    (76, "UTF-16", with_id(76, b"{}").decode().encode("utf-16"), {}, 200, "unreadable"),
    (76, "UTF-32", with_id(76, b"{}").decode().encode("utf-32"), {}, 200, "unreadable"),
    (77, "no UTF-8", with_id(77, b'"\xff"'), {}, 200, "unreadable"),
    (78, "overlong", with_id(78, b'"\xc0\xaf"'), {}, 200, "unreadable"),
    (78, "CESU", with_id(782, b'"\xed\xa0\xbd\xed\xb8\x80"'), {}, 200, "unreadable"),
    (79, "many keys", with_id(79, json.dumps(dict.fromkeys(map(str, range(40_000)))).encode()), {}, 200, "invoice.paid"),
    (80, "1 MB of [],", with_id(80, b"[" + b"[]," * 340_000 + b"[]]"), {}, 200, "unreadable"),
    (81, "names of internals", with_id(81, b'{"__proto__": 1, "constructor": 2, "__class__": 3}'), {}, 200, "invoice.paid"),
    (82, "a key of 64 KB", with_id(82, b'{"%s": 1}' % (b"k" * 65_536)), {}, 200, "invoice.paid"),
    (84, "over the limit", with_id(84, b'"%s"' % (b"x" * (1 << 20))), {}, 413, None),
    (85, "gzip", gzip.compress(with_id(85, b"{}")), {"Content-Encoding": "gzip"}, 415, None),
    (85, "brotli", b"x", {"Content-Encoding": "br"}, 415, None),
    (86, "a form", b"payload=%7B%7D", {"Content-Type": "application/x-www-form-urlencoded"}, 200, "unreadable"),
    (87, "multipart", b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}, 415, None),
    (88, "text/plain", with_id(88, b"{}"), {"Content-Type": "text/plain"}, 200, "invoice.paid"),
    (88, "charset=utf-7", with_id(882, b"{}"), {"Content-Type": "application/json; charset=utf-7"}, 200, "invoice.paid"),
    (89, "a homoglyph", '{"id": "row-89", "event": "inv\u043eice.paid", "data": {}}'.encode(), {}, 200, "inv\u043eice.paid"),
    (
        90, "what would forge a line",
        b'{"id": "row-90", "event": "a\\r\\n{\\"event\\":\\"forged\\"}\\u001b[31m\\u202e", "data": {}}', {}, 200,
        'a\r\n{"event":"forged"}\x1b[31m\u202e',
    ),
]  # fmt: skip


def post(port: int, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    stamp = str(int(time.time()))
    mac = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    signed = {
        "X-Agiled-Webhook-Timestamp": stamp,
        "X-Agiled-Webhook-Signature": mac,
        "Content-Type": "application/json",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.request("POST", "/hooks/agiled", body, signed | headers)
    answer = connection.getresponse()
    read = json.loads(answer.read())
    connection.close()
    return answer.status, read


def test_each_has_its_answer_and_none_is_lost(make_daemon: Any, destination: Any) -> None:
    daemon = make_daemon()
    daemon.start()
    stored: dict[str, tuple[str, bytes]] = {}
    for row, what, body, headers, expected, kind in CORPUS:
        status, answer = post(daemon.port, body, headers)
        assert status == expected, (row, what, answer)
        if kind is None:
            assert set(answer) == {"error", "detail"}, (row, what)
        else:
            assert answer["accepted"] == 1, (row, what, answer)
            stored[answer["ids"][0]] = (kind, body)
    daemon.settle()

    listed = {one["id"]: one for one in json.loads(daemon.run("events", "--limit", "1000", "--json").stdout)}
    assert listed.keys() == stored.keys()
    assert {event_id: one["type"] for event_id, one in listed.items()} == {
        event_id: kind for event_id, (kind, _) in stored.items()
    }
    # The longest, and those with what a terminal would obey.
    hardest = sorted(stored, key=lambda event_id: (len(stored[event_id][1]), stored[event_id][0]))
    for event_id in (hardest[-1], *(one for one in hardest if not stored[one][0].isprintable())):
        assert daemon.run_bytes("events", "show", event_id, "--raw").stdout == stored[event_id][1]
        explained = daemon.run("explain", event_id)
        assert explained.returncode == 0, explained.stderr
        assert all(character.isprintable() for line in explained.stdout.splitlines() for character in line)
    # An operator is told why, in the log and of each event.
    deep = next(event_id for event_id, (_, body) in stored.items() if body.count(b"[") == 100_000)
    assert "more than 50,000 values" in daemon.run("events", "show", deep).stdout
    assert "more than 50,000 values" in next(line for line in daemon.log().splitlines() if deep in line)
    # Nothing of it is a fault of ours, and what would forge a line stands inside one.
    lines = [json.loads(line) for line in daemon.log().splitlines()]
    assert not [line for line in lines if line["level"] in {"error", "critical"}], lines
    received = [line for line in lines if line["event"] == "event.received"]
    assert len(received) == len(CORPUS)
    assert not [line for line in lines if line["event"] == "forged"]
