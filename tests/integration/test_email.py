"""`email` against a real mail server (aiosmtpd, with STARTTLS and AUTH), and one that plays every refusal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hookline.daemon.store.changes import Outcome

pytestmark = pytest.mark.anyio


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


@pytest.fixture
async def script(make_bench: Any) -> AsyncIterator[Any]:
    """Return a maker of a server that answers each command from a script; what is not in it gets 250."""
    servers: list[asyncio.Server] = []
    seen: list[str] = []

    async def make(**answers: str | None) -> tuple[Any, list[str]]:
        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f"{answers.get('greeting', '220 hi')}\r\n".encode())
            while line := (await reader.readline()).decode("latin-1"):
                verb = line[:4].strip().upper()
                seen.append(verb)
                answer = answers.get(verb, {"EHLO": "250-x\r\n250 SIZE 1000000", "DATA": "354 go"}.get(verb, "250 ok"))
                if verb == "DATA" and answer == "354 go":
                    writer.write(b"354 go\r\n")
                    while (await reader.readline()) not in {b".\r\n", b""}:
                        pass
                    answer = answers.get("END", "250 taken")
                if answer is None:
                    break
                writer.write(f"{answer}\r\n".encode())

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await converse(reader, writer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        servers.append(server)
        bench = make_bench()
        port = server.sockets[0].getsockname()[1]
        bench.destination(
            "mail", "email", {"server": f"127.0.0.1:{port}", "from": "a@x.example", "to": "b@x.example", "text": "x"}
        )
        return bench, seen

    yield make
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("answers", "options", "outcome", "note"),
    [
        ({}, {}, Outcome.DELIVERED, "accepted: taken"),
        ({"greeting": "421 busy"}, {}, Outcome.TRANSIENT, "421 busy"),
        ({"greeting": "554 go away"}, {}, Outcome.PERMANENT, "554 go away"),
        ({"greeting": "SSH-2.0"}, {}, Outcome.TRANSIENT, ""),
        ({"MAIL": "451 later"}, {}, Outcome.TRANSIENT, "451 later"),
        ({"MAIL": "550 never"}, {}, Outcome.PERMANENT, "550 never"),
        ({"MAIL": None}, {}, Outcome.TRANSIENT, ""),
        ({"DATA": None}, {}, Outcome.UNKNOWN, "no answer came"),
        ({"END": None}, {}, Outcome.UNKNOWN, "no answer came"),
        ({}, {"tls": "starttls"}, Outcome.TRANSIENT, "STARTTLS"),
        ({}, {"tls": "tls"}, Outcome.TRANSIENT, ""),
    ],
)
async def test_sessions_that_end_early(
    script: Any, make_delivery: Any, answers: dict[str, Any], options: dict[str, Any], outcome: Outcome, note: str
) -> None:
    bench, seen = await script(**answers)
    bench.destinations["mail"].options.update(options)
    result = await bench.run(make_delivery(), bench.step(to="mail"))
    assert result.outcome is outcome, result.note
    assert note in result.note
    assert result.note
    # Without the encryption that was asked for nothing is said to the server.
    assert not (options and "MAIL" in seen)


async def test_computed_servers_must_be_public(bench: Any, make_delivery: Any) -> None:
    options = {"server": "{{ payload.s }}", "from": "a@x.example", "to": "b@x.example", "text": "x"}
    result = await bench.run(make_delivery({"s": "127.0.0.1:25"}), bench.step(options, action="email"))
    assert result.outcome is Outcome.PERMANENT
    assert "blocked address" in result.note
