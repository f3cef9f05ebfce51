"""`email` against a real mail server (aiosmtpd, with STARTTLS and AUTH), and one that plays every refusal."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import json
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiosmtplib
import anyio
import pytest

from hookline.daemon.store.changes import Outcome
from hookline.plugins.smtp_connections import Connection, connections

pytestmark = pytest.mark.anyio

#: What `make pythons` sets up.
OTHERS = sorted(Path(__file__).resolve().parents[2].glob(".pythons/*/bin/python"))
#: Says nothing until the test ends.
STALL = "(stall)"


@pytest.fixture
def post(make_bench: Any, mailbox: Any) -> Any:
    """Return a bench with a destination `mail` at the server."""
    bench = make_bench({"SMTP": "sm7p-password"})
    options = {
        "server": f"localhost:{mailbox.port}", "tls": "starttls", "ca_file": mailbox.certificate, "username": "ops",
        "password": "${SMTP}", "from": "Hookline Ops <ops@example.com>",
    }  # fmt: skip
    bench.destination("mail", "email", options)
    return bench


async def test_a_message_arrives_over_tls_and_with_a_password(post: Any, mailbox: Any, make_delivery: Any) -> None:
    step = post.step(
        {
            "to": ["b@x.example", "Ünï Köde <c@x.example>"],
            "cc": "d@x.example",
            "bcc": "e@x.example",
            "reply_to": "r@x.example",
            "subject": "Invoice {{ payload.number }} → ✓",
            "text": "Total: {{ payload.total }}\n.\nend",
            "html": "<p>{{ payload.name }}</p>",
            "headers": {"X-Order": "{{ payload.number }}"},
            "attachments": [{"name": "request.json", "type": "application/json"}, {"name": "note.txt", "text": "hi"}],
        },
        to="mail",
    )
    result = await post.run(make_delivery({"number": "INV-1", "total": 5, "name": "<script>"}), step)
    assert (result.outcome, result.note) == (Outcome.DELIVERED, "accepted: OK queued")
    envelope, message = mailbox.envelopes[0], mailbox.message()
    assert envelope.mail_from == "ops@example.com"
    assert envelope.rcpt_tos == ["b@x.example", "c@x.example", "d@x.example", "e@x.example"]
    assert message["to"] == "b@x.example, Ünï Köde <c@x.example>"
    assert (message["subject"], message["message-id"]) == ("Invoice INV-1 → ✓", "<dlv_1@example.com>")
    assert (message["x-order"], message["bcc"], message["reply-to"]) == ("INV-1", None, "r@x.example")
    assert message.get_body(("plain",)).get_content() == "Total: 5\r\n.\r\nend\r\n"
    assert message.get_body(("html",)).get_content().strip() == "<p>&lt;script&gt;</p>"
    attached = [(part.get_filename(), part.get_content()) for part in message.iter_attachments()]
    assert attached == [("request.json", b'{ "number": "INV-1",  "total": 5000 }'), ("note.txt", b"hi")]


INJECTIONS = [
    "=?utf-8?q?a=0ABcc:_evil@x?=",
    "=?utf-8?b?YQpCY2M6IGV2aWxAeA==?=",
    "a\r\nBcc: evil@x.example",
    "a\nBcc: evil@x.example\n\nbody",
    "a\u2028Bcc: evil@x.example",
    "a\x00b\x0bBcc: evil@x.example",
    "=?utf-8?q?=0D=0AX-Evil:_1?= =?utf-8?q?=0D=0AX-Evil:_1?=",
    "==??utf-8?q?a=0ABcc:_evil@x?=",
    "x" * 5000,
    "\ud800 =?\ud800?=",
    "é" * 300 + "\r\nBcc: evil@x.example",
]


@pytest.mark.parametrize("text", INJECTIONS)
async def test_no_header_can_be_injected(post: Any, mailbox: Any, make_delivery: Any, text: str) -> None:
    options = {
        "to": "b@x.example",
        "from": "{{ payload.t|replace('<', '') }} <ops@example.com>",
        "subject": "{{ payload.t }}",
        "text": "{{ payload.t }}",
        "headers": {"X-Name": "{{ payload.t }}"},
        "attachments": [{"name": "a.txt", "text": "{{ payload.t }}"}],
    }
    result = await post.run(make_delivery({"t": text}), post.step(options, to="mail"))
    assert result.outcome is Outcome.DELIVERED, result.note
    head = mailbox.envelopes[0].content.partition(b"\r\n\r\n")[0]
    names = sorted(line.split(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in b" \t")
    assert names == sorted(
        [
            b"from",
            b"to",
            b"subject",
            b"date",
            b"message-id",
            b"auto-submitted",
            b"x-name",
            b"mime-version",
            b"content-type",
        ]
    )
    assert mailbox.envelopes[0].rcpt_tos == ["b@x.example"]
    assert len(mailbox.message()["subject"]) <= 200


# `email` of each Python has faults of its own (CVE-2024-6923 and after).
ON_ANOTHER_PYTHON = """
import json, sys
from datetime import UTC, datetime
from hookline.plugins.message import flatten, new_message, read_mailbox
heads = []
for text in json.load(sys.stdin):
    message = new_message(
        sender=read_mailbox(text.replace("<", "").replace(">", "") + " <ops@x.example>"),
        recipients={"To": [read_mailbox("b@x.example")]}, subject=text, message_id="dlv_1",
        now=datetime.now(UTC), headers={"X-Name": text},
    )
    message.set_content(text.encode("utf-8", "replace").decode())
    lines = flatten(message).partition(b"\\r\\n\\r\\n")[0].split(b"\\r\\n")
    heads.append(sorted(line.partition(b":")[0].decode().lower() for line in lines if line[:1] not in b" \\t"))
json.dump(heads, sys.stdout)
"""


@pytest.mark.parametrize("python", OTHERS, ids=lambda path: path.parts[-3])
def test_no_header_can_be_injected_on_other_pythons(python: Path) -> None:
    ended = subprocess.run(
        [python, "-I", "-c", ON_ANOTHER_PYTHON],
        input=json.dumps(INJECTIONS),
        capture_output=True,
        text=True,
        check=True,
    )
    own = {"from", "to", "subject", "date", "message-id", "auto-submitted", "x-name", "mime-version", "content-type"}
    heads = json.loads(ended.stdout)
    assert len(heads) == len(INJECTIONS)
    assert [
        head for head in heads if set(head) - {"content-transfer-encoding"} != own or len(set(head)) < len(head)
    ] == []


@pytest.mark.parametrize(
    ("to", "outcome", "note"),
    [
        ("ada@team.example", Outcome.DELIVERED, "accepted"),
        ("Ada <ADA@Team.example>", Outcome.DELIVERED, "accepted"),
        ("boss@corp.example", Outcome.DELIVERED, "accepted"),
        ("evil@x.example", Outcome.PERMANENT, "evil@x.example is not among allow_recipients"),
        ("ada@team.example, evil@x.example", Outcome.PERMANENT, "is not one e-mail address; write several as a list"),
        ("ada@team.example>\r\nRCPT TO:<evil@x.example", Outcome.PERMANENT, "is not one e-mail address"),
        ("ada@team.example> SIZE=1", Outcome.PERMANENT, "is not one e-mail address"),
        ("evil@x.example@team.example", Outcome.PERMANENT, "is not one e-mail address"),
        ("é@team.example", Outcome.PERMANENT, "is not one e-mail address"),
        ("", Outcome.PERMANENT, "is not one e-mail address"),
    ],
)
async def test_computed_recipients_must_be_allowed(
    post: Any, mailbox: Any, make_delivery: Any, to: str, outcome: Outcome, note: str
) -> None:
    post.destinations["mail"].options["allow_recipients"] = ["@team.example", "boss@corp.example"]
    step = post.step({"to": "{{ payload.to }}", "text": "x"}, to="mail")
    assert await post.runner.validate([step]) == ()
    result = await post.run(make_delivery({"to": to}), step)
    assert result.outcome is outcome, result.note
    assert note in result.note
    assert len(mailbox.envelopes) == (outcome is Outcome.DELIVERED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"to": "{{ payload.to }}", "text": "x"},
            "a template computes to: list who may receive under allow_recipients",
        ),
        ({"to": "a@x.example", "cc": ["{{ payload.c }}"], "text": "x"}, "a template computes cc"),
        ({"to": "a@x.example, b@x.example", "text": "x"}, "write several as a list"),
        ({"to": "a@x.example"}, "write text or html"),
        ({"to": "a@x.example", "text": "x", "headers": {"Bcc": "e@x.example"}}, "the header 'Bcc' cannot be set here"),
        ({"to": "a@x.example", "text": "x", "server": "evil.example"}, "a rule cannot change where a destination goes"),
        ({"to": "a@x.example", "text": "x", "tls": "none"}, "a rule cannot change where a destination goes"),
        ({"to": "a@x.example", "text": "x", "password": "p"}, "a rule cannot change a destination's credential"),
        (
            {"to": "a@x.example", "text": "x", "allow_recipients": ["@x"]},
            "a rule cannot change where a destination goes",
        ),
    ],
)
async def test_mistakes_are_said_at_load(post: Any, options: dict[str, Any], message: str) -> None:
    problems = await post.runner.validate([post.step(options, to="mail")])
    assert any(message in str(problem) for problem in problems), problems


async def test_some_refused_recipients_are_named(post: Any, mailbox: Any, make_delivery: Any) -> None:
    mailbox.refused["b@x.example"] = "550 no such user"
    step = post.step({"to": ["a@x.example", "b@x.example"], "text": "x"}, to="mail")
    result = await post.run(make_delivery(), step)
    assert (result.outcome, result.note) == (
        Outcome.DELIVERED,
        "accepted: OK queued; refused: b@x.example: 550 no such user",
    )


@pytest.mark.parametrize(
    ("answers", "outcome", "seconds"),
    [
        (["550 no", "550 no"], Outcome.PERMANENT, None),
        (["550 no", "450 greylisted"], Outcome.TRANSIENT, 300),
    ],
)
async def test_all_refused(
    post: Any, mailbox: Any, make_delivery: Any, answers: list[str], outcome: Outcome, seconds: float | None
) -> None:
    mailbox.refused = dict(zip(["a@x.example", "b@x.example"], answers, strict=True))
    step = post.step({"to": ["a@x.example", "b@x.example"], "text": "x"}, to="mail")
    result = await post.run(make_delivery(), step)
    assert (result.outcome, result.retry_after and result.retry_after.total_seconds()) == (outcome, seconds)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("452 full", Outcome.TRANSIENT), ("554 spam", Outcome.PERMANENT), ("421 closing", Outcome.TRANSIENT)],
)
async def test_answers_to_the_message(
    post: Any, mailbox: Any, make_delivery: Any, answer: str, outcome: Outcome
) -> None:
    mailbox.data_answer = answer
    result = await post.run(make_delivery(), post.step({"to": "a@x.example", "text": "x"}, to="mail"))
    assert result.outcome is outcome
    assert answer in result.note


async def test_a_wrong_password_is_said_and_not_shown(post: Any, mailbox: Any, make_delivery: Any) -> None:
    post.destinations["mail"].options["password"] = "wr0ng-password"
    result = await post.run(make_delivery(), post.step({"to": "a@x.example", "text": "x"}, to="mail"))
    assert result.outcome is Outcome.PERMANENT
    assert result.note.startswith("localhost refused: 535")
    assert "wr0ng" not in result.note
    assert mailbox.envelopes == []


async def test_an_unknown_certificate_is_not_trusted(post: Any, mailbox: Any, make_delivery: Any) -> None:
    del post.destinations["mail"].options["ca_file"]
    result = await post.run(make_delivery(), post.step({"to": "a@x.example", "text": "x"}, to="mail"))
    assert result.outcome is Outcome.TRANSIENT
    assert "certificate" in result.note.lower()
    assert mailbox.envelopes == []


@dataclass
class Script:
    """A mail server that plays a part: what it answers to which command, and what it was told."""

    port: int = 0
    #: By command: an answer, None to hang up instead, or STALL. `greeting` and `END` (after the text) are two more.
    answers: dict[str, str | None] = field(default_factory=dict)
    #: What it heard, command by command, over all connections.
    heard: list[str] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    connections: int = 0
    #: Set to have the next connection, or the open ones, cut.
    open: list[asyncio.StreamWriter] = field(default_factory=list)
    #: Set when a command is being left without an answer.
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.append(writer)
        if await self._say(writer, self.answers.get("greeting", "220 hi")):
            while line := (await reader.readline()).decode("latin-1").rstrip("\r\n"):
                self.heard.append(line)
                if not await self._answer(line, reader, writer):
                    break
        self.open.remove(writer)
        writer.close()

    async def _answer(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        verb = line.split(" ", maxsplit=1)[0].upper()
        usual = {"EHLO": "250-x\r\n250 SIZE 1000000", "DATA": "354 go", "QUIT": "221 bye"}
        answer = self.answers.get(line, self.answers.get(verb, usual.get(verb, "250 ok")))
        if not await self._say(writer, answer) or verb == "QUIT":
            return False
        if verb == "DATA" and answer == "354 go":
            self.texts.append(await reader.readuntil(b"\r\n.\r\n"))
            return await self._say(writer, self.answers.get("END", "250 taken"))
        return True

    async def _say(self, writer: asyncio.StreamWriter, answer: str | None) -> bool:
        if answer == STALL:
            self.stalled.set()
            await self.go_on.wait()
        elif answer is not None:
            writer.write(f"{answer}\r\n".encode())
            return True
        return False

    def told(self, verb: str) -> int:
        """How often it was told a command."""
        return sum(line.upper().startswith(verb) for line in self.heard)


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    """Return a mail server on loopback that answers as it is told; what it is not told gets 250."""
    made = Script()
    talking: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await made.talk(reader, writer)
        talking.discard(task)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    for task in [*talking]:
        task.cancel()
    await asyncio.gather(*talking, return_exceptions=True)


@pytest.fixture
def mail(make_bench: Any, script: Script) -> Any:
    """Return a bench with a destination `mail` at the scripted server."""
    bench = make_bench()
    options = {"server": f"127.0.0.1:{script.port}", "from": "a@x.example", "to": "b@x.example", "text": "x"}
    bench.destination("mail", "email", options)
    return bench


THREE = {"to": ["a@x.example", "b@x.example", "c@x.example"]}
ONE_REFUSED = "accepted: taken; refused: b@x.example: 550 no such user"


@pytest.mark.parametrize(
    ("answers", "options", "outcome", "note"),
    [
        ({}, {}, Outcome.DELIVERED, "accepted: taken"),
        ({"greeting": "421 busy"}, {}, Outcome.TRANSIENT, "127.0.0.1 asks to come back: 421 busy"),
        ({"greeting": "554 go away"}, {}, Outcome.PERMANENT, "127.0.0.1 refused: 554 go away"),
        ({"greeting": "SSH-2.0"}, {}, Outcome.TRANSIENT, "127.0.0.1 does not speak SMTP"),
        ({"greeting": None}, {}, Outcome.TRANSIENT, "no mail session with 127.0.0.1"),
        ({"greeting": STALL}, {}, Outcome.TRANSIENT, "did not answer within 0.9 s, and the message was not sent"),
        ({"EHLO": "502 no", "HELO": "250 old"}, {}, Outcome.DELIVERED, "accepted: taken"),
        ({"MAIL": "451 greylisted"}, {}, Outcome.TRANSIENT, "asks to come back: 451 greylisted"),
        ({"MAIL": "550 never"}, {}, Outcome.PERMANENT, "127.0.0.1 refused: 550 never"),
        ({"MAIL": None}, {}, Outcome.TRANSIENT, "no mail session with 127.0.0.1"),
        ({"MAIL": STALL}, {}, Outcome.TRANSIENT, "and the message was not sent"),
        ({"RCPT": "450 greylisted"}, {}, Outcome.TRANSIENT, "no recipient was taken: b@x.example: 450 greylisted"),
        ({"RCPT": "550 no such user"}, {}, Outcome.PERMANENT, "no recipient was taken: b@x.example: 550 no such"),
        ({"RCPT TO:<b@x.example>": "550 no such user"}, THREE, Outcome.DELIVERED, ONE_REFUSED),
        ({"RCPT TO:<b@x.example>": "421 closing"}, THREE, Outcome.TRANSIENT, "asks to come back: 421 closing"),
        ({"RCPT TO:<c@x.example>": None}, THREE, Outcome.TRANSIENT, "no mail session with 127.0.0.1"),
        ({"DATA": "451 later"}, {}, Outcome.TRANSIENT, "asks to come back: 451 later"),
        ({"DATA": "554 no"}, {}, Outcome.PERMANENT, "127.0.0.1 refused: 554 no"),
        ({"DATA": None}, {}, Outcome.TRANSIENT, "no mail session with 127.0.0.1"),
        ({"DATA": STALL}, {}, Outcome.TRANSIENT, "and the message was not sent"),
        ({"END": "451 full"}, {}, Outcome.TRANSIENT, "asks to come back: 451 full"),
        ({"END": "554 spam"}, {}, Outcome.PERMANENT, "127.0.0.1 refused: 554 spam"),
        ({"END": STALL}, {}, Outcome.UNKNOWN, "the message was handed over and no answer came"),
        ({"END": None}, {}, Outcome.UNKNOWN, "the message was handed over and no answer came"),
        ({}, {"tls": "starttls"}, Outcome.TRANSIENT, "STARTTLS"),
        ({}, {"tls": "tls"}, Outcome.TRANSIENT, "no mail session with 127.0.0.1"),
        ({}, {"username": "ops", "password": "p"}, Outcome.TRANSIENT, "AUTH"),
        (
            {"EHLO": "250-x\r\n250 AUTH PLAIN", "AUTH": "535 wrong"},
            {"username": "ops", "password": "p"},
            Outcome.PERMANENT,
            "127.0.0.1 refused: 535 wrong",
        ),
        (
            {"EHLO": "250-x\r\n250 AUTH PLAIN", "AUTH": "454 later"},
            {"username": "ops", "password": "p"},
            Outcome.TRANSIENT,
            "asks to come back: 454 later",
        ),
    ],
)
async def test_how_a_session_may_end(
    mail: Any,
    script: Script,
    make_delivery: Any,
    answers: dict[str, str | None],
    options: dict[str, Any],
    outcome: Outcome,
    note: str,
) -> None:
    script.answers = answers
    mail.destinations["mail"].options.update(options)
    result = await mail.run(make_delivery(), mail.step(to="mail"), limit=1 if STALL in answers.values() else 10)
    assert (result.outcome, note in result.note) == (outcome, True), result
    greylisted = any((answer or "")[:3] in {"450", "451"} for answer in answers.values())
    assert result.retry_after == (timedelta(minutes=5) if greylisted else None)
    # Without the encryption or the name that was asked for nothing is said to the server.
    assert not (options.keys() & {"tls", "username"} and script.told("MAIL"))
    # What is not known to have failed was sent whole, and nothing else was.
    assert bool(script.texts) == (outcome in {Outcome.DELIVERED, Outcome.UNKNOWN} or "END" in answers)


async def test_nobody_listens(mail: Any, make_delivery: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        mail.destinations["mail"].options["server"] = f"127.0.0.1:{taken.getsockname()[1]}"
        result = await mail.run(make_delivery(), mail.step(to="mail"))
    assert result.outcome is Outcome.TRANSIENT
    assert result.note.startswith("cannot connect to 127.0.0.1")


async def test_every_attempt_has_the_same_message_id(mail: Any, script: Script, make_delivery: Any) -> None:
    script.answers = {"END": None}
    first = await mail.run(make_delivery(), mail.step(to="mail"))
    script.answers = {}
    second = await mail.run(make_delivery(attempt=2), mail.step(to="mail"))
    assert (first.outcome, second.outcome) == (Outcome.UNKNOWN, Outcome.DELIVERED)
    assert [text.count(b"Message-ID: <dlv_1@x.example>\r\n") for text in script.texts] == [1, 1]


async def test_lines_of_a_period_arrive(mail: Any, script: Script, make_delivery: Any) -> None:
    text = ".\n..a\n.\r\nQUIT\r\nMAIL FROM:<evil@x.example>\rend"
    result = await mail.run(make_delivery({"t": text}), mail.step({"text": "{{ payload.t }}"}, to="mail"))
    assert result.outcome is Outcome.DELIVERED
    assert script.texts[0].endswith(b"\r\n\r\n..\r\n...a\r\n..\r\nQUIT\r\nMAIL FROM:<evil@x.example>\r\nend\r\n.\r\n")
    assert (script.told("MAIL"), script.told("QUIT")) == (1, 0)


async def test_a_connection_is_used_again(mail: Any, script: Script, make_delivery: Any) -> None:
    for number in range(3):
        result = await mail.run(make_delivery(id=f"dlv_{number}"), mail.step(to="mail"))
        assert result.outcome is Outcome.DELIVERED
    assert (script.connections, script.told("MAIL"), script.told("RSET")) == (1, 3, 2)


@pytest.mark.parametrize("answers", [{"RCPT": "550 no"}, {"MAIL": "451 later"}, {"END": "554 spam"}])
async def test_a_refused_message_leaves_a_connection_that_is_fit(
    mail: Any, script: Script, make_delivery: Any, answers: dict[str, str | None]
) -> None:
    script.answers = answers
    assert (await mail.run(make_delivery(), mail.step(to="mail"))).outcome is not Outcome.DELIVERED
    script.answers = {}
    assert (await mail.run(make_delivery(), mail.step(to="mail"))).outcome is Outcome.DELIVERED
    assert script.connections == 1
    assert script.heard.index("RSET") < len(script.heard) - script.heard[::-1].index("DATA")


@pytest.mark.parametrize("how", ["hung up", "421", "silent"])
async def test_a_connection_that_broke_while_kept_is_replaced_within_the_attempt(
    mail: Any, script: Script, make_delivery: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("hookline.plugins.smtp_connections._CHECK_SECONDS", 0.05)
    assert (await mail.run(make_delivery(), mail.step(to="mail"))).outcome is Outcome.DELIVERED
    if how == "hung up":
        script.open[0].transport.abort()
    else:
        script.answers = {"RSET": "421 idle" if how == "421" else STALL}
    assert (await mail.run(make_delivery(), mail.step(to="mail"))).outcome is Outcome.DELIVERED
    assert (script.connections, len(script.texts)) == (2, 2)


async def test_connections_that_are_as_old_as_a_broken_one_are_not_tried(
    mail: Any, script: Script, make_delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.plugins.smtp_connections._CHECK_SECONDS", 0.05)
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(mail.run, make_delivery(id=f"dlv_{number}"), mail.step(to="mail"))
    script.answers = {"RSET": STALL}
    assert (await mail.run(make_delivery(), mail.step(to="mail"))).outcome is Outcome.DELIVERED
    assert (script.connections, script.told("RSET")) == (4, 1)


async def test_several_at_once_have_connections_of_their_own(mail: Any, script: Script, make_delivery: Any) -> None:
    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(mail.run, make_delivery(id=f"dlv_{number}"), mail.step(to="mail"))
    assert (script.connections, len(script.texts)) == (6, 6)
    ids = {text.partition(b"Message-ID: <")[2].partition(b"@")[0] for text in script.texts}
    assert ids == {f"dlv_{number}".encode() for number in range(6)}
    # Four are kept, the two others take their leave.
    await mail.run(make_delivery(), mail.step(to="mail"))
    assert (script.connections, script.told("QUIT")) == (6, 2)


async def test_a_connection_is_given_up_after_a_time(
    mail: Any, script: Script, make_delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.plugins.smtp_connections.IDLE_SECONDS", 0.0)
    await mail.run(make_delivery(), mail.step(to="mail"))
    while script.open:  # noqa: ASYNC110 - the server sees it go
        await asyncio.sleep(0.001)
    assert script.told("QUIT") == 1


async def test_a_connection_is_given_up_after_many_messages(
    mail: Any, script: Script, make_delivery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.plugins.smtp_connections.MAX_MESSAGES", 2)
    for _ in range(3):
        await mail.run(make_delivery(), mail.step(to="mail"))
    assert (script.connections, script.told("MAIL")) == (2, 3)


async def test_a_connection_that_said_what_is_not_smtp_is_not_used_again(
    mail: Any, script: Script, make_delivery: Any
) -> None:
    script.answers = {"MAIL": "nonsense"}
    result = await mail.run(make_delivery(), mail.step(to="mail"))
    assert (result.outcome, "does not speak SMTP" in result.note) == (Outcome.TRANSIENT, True)
    script.answers = {}
    assert (await mail.run(make_delivery(), mail.step(to="mail"))).outcome is Outcome.DELIVERED
    assert script.connections == 2


def test_what_is_kept_ends_with_the_event_loop() -> None:
    async def keep(listener: socket.socket) -> tuple[aiosmtplib.SMTP, socket.socket]:
        smtp = aiosmtplib.SMTP(hostname="127.0.0.1", port=listener.getsockname()[1], start_tls=False)
        async with anyio.create_task_group() as group:
            group.start_soon(smtp.connect)
            peer, _ = await asyncio.get_running_loop().sock_accept(listener)
            peer.send(b"220 hi\r\n")
        kept = await connections()
        kept.give_back("server", Connection(smtp), is_reusable=True)
        for _ in range(5):  # turns of the loop, in which nothing happens to it
            await asyncio.sleep(0)
        assert await connections() is kept
        assert smtp.is_connected
        return smtp, peer

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        smtp, peer = asyncio.run(keep(listener))
    with peer:
        peer.settimeout(10)
        assert not smtp.is_connected
        with contextlib.suppress(ConnectionResetError):
            assert peer.recv(1) == b""


@pytest.mark.parametrize("name", ["username", "password", "tls", "ca_file"])
async def test_a_connection_serves_only_the_same_server_and_person(
    mail: Any, script: Script, make_delivery: Any, certificate: tuple[str, str], name: str
) -> None:
    script.answers = {"EHLO": "250-x\r\n250 AUTH PLAIN", "AUTH": "235 you are"}
    options = mail.destinations["mail"].options
    options |= {"username": "ops", "password": "one"}
    await mail.run(make_delivery(), mail.step(to="mail"))
    other = {"username": "dev", "password": "two", "tls": "none", "ca_file": certificate[0]}[name]
    mail.destination("other", "email", {**options, name: other})
    await mail.run(make_delivery(), mail.step(to="other"))
    assert (script.connections, script.told("AUTH")) == (2, 2)


async def test_a_computed_server_gets_no_connection_that_was_dialed_for_a_written_one(
    mail: Any, script: Script, make_delivery: Any
) -> None:
    assert (await mail.run(make_delivery(), mail.step(to="mail"))).outcome is Outcome.DELIVERED
    options = {**mail.destinations["mail"].options, "server": "{{ payload.s }}"}
    result = await mail.run(make_delivery({"s": f"127.0.0.1:{script.port}"}), mail.step(options, action="email"))
    assert result.outcome is Outcome.PERMANENT
    assert "blocked address" in result.note
    assert len(script.texts) == 1


async def test_a_cancelled_attempt_leaves_no_half_used_connection(
    mail: Any, script: Script, make_delivery: Any
) -> None:
    script.answers = {"END": STALL}
    async with anyio.create_task_group() as group:
        group.start_soon(mail.run, make_delivery(), mail.step(to="mail"))
        await script.stalled.wait()
        group.cancel_scope.cancel()
    script.answers = {}
    assert (await mail.run(make_delivery(), mail.step(to="mail"))).outcome is Outcome.DELIVERED
    assert (script.connections, script.told("RSET")) == (2, 0)


async def test_a_replay_is_marked(mail: Any, script: Script, make_delivery: Any) -> None:
    await mail.run(make_delivery(is_replay=True), mail.step(to="mail"))
    await mail.run(make_delivery(), mail.step(to="mail"))
    assert [text.count(b"X-Hookline-Replay: true\r\n") for text in script.texts] == [1, 0]


async def test_a_rule_cannot_mark_a_replay(mail: Any) -> None:
    problems = await mail.runner.validate([mail.step({"headers": {"x-hookline-replay": "false"}}, to="mail")])
    assert "Hookline sets it itself" in str(problems[0])


async def test_a_digest_is_one_message_of_all_its_events(mail: Any, script: Script, make_delivery: Any) -> None:
    events = tuple(make_delivery({"n": number}).event for number in (1, 2))
    step = mail.step(
        {
            "html": "{% for one in events %}<p>{{ one.payload.n }}</p>{% endfor %}",
            "attachments": [{"name": "all.json"}],
        },
        to="mail",
    )
    result = await mail.run(make_delivery(event={}, events=events), step)
    assert result.outcome is Outcome.DELIVERED, result.note
    message = email.message_from_bytes(script.texts[0], policy=email.policy.default)
    assert message["subject"] == "2 events"
    assert message.get_body(("html",)).get_content().strip() == "<p>1</p><p>2</p>"  # type: ignore[union-attr]
    assert [part.get_content() for part in message.iter_attachments()] == [b'{"events":[{"n":1},{"n":2}]}']


async def test_computed_servers_must_be_public(bench: Any, make_delivery: Any) -> None:
    options = {"server": "{{ payload.s }}", "from": "a@x.example", "to": "b@x.example", "text": "x"}
    result = await bench.run(make_delivery({"s": "127.0.0.1:25"}), bench.step(options, action="email"))
    assert result.outcome is Outcome.PERMANENT
    assert "blocked address" in result.note
