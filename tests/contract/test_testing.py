"""The kit for authors: every action keeps the promises, and each broken promise is told with what mends it."""

from __future__ import annotations

import http.client
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hookline.daemon.actions.registry import BUILT_IN
from hookline.plugins.testing import Answer, Check, FakeServer, check_action, checks, delivery, run

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin" / "plugins" / "discord.py"
HEAD = '''"""Post to a URL."""
import asyncio
from pydantic import BaseModel, Field, SecretStr
from hookline.plugins import *

class Options(BaseModel):
    """What a rule may write."""
    url: str = Field(description="Where it is posted")

'''
WELL = '''async def deliver(delivery, options, context):
    """Post nothing."""
    raise_for_status(await context.http.post(options.url))
'''
#: Complete options of every action, and which promise is not meant to hold.
ACTIONS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "command": ({"run": ["cat"]}, ()),
    "email": ({"server": "127.0.0.1:1", "from": "a@x.example", "to": "b@x.example", "subject": "s", "text": "t"}, ()),
    "forward": (lambda url: {"url": url}, ()),
    "log": ({}, ()),
    "slack": (lambda url: {"url": url, "text": "x"}, ()),
}


def suite() -> Iterator[Any]:
    for name, (options, skip) in ACTIONS.items():
        for check in checks(name, options, skip=skip):
            yield pytest.param(check, id=f"{name}: {check}")
    for check in checks(EXAMPLE, lambda url: {"url": url}):
        yield pytest.param(check, id=f"example: {check}")


@pytest.mark.parametrize("check", [*suite()])
def test_every_action_of_ours_keeps_the_promises(check: Check) -> None:
    check()


def test_every_built_in_action_is_checked() -> None:
    # That of apprise is a package of its own, which tests/integration/test_apprise.py runs.
    assert {*ACTIONS, "apprise"} == {*BUILT_IN}


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[str], ModuleType]]:
    """Return a maker of modules out of their text."""
    made: list[str] = []

    def module(text: str) -> ModuleType:
        name = f"under_test_{len(made)}_{abs(hash(request.node.name))}"
        one = sys.modules[name] = ModuleType(name)
        made.append(name)
        one.__file__ = f"{name}.py"
        exec(compile(text, one.__file__, "exec"), one.__dict__)
        return one

    yield module
    for name in made:
        del sys.modules[name]


def to(url: str) -> dict[str, Any]:
    return {"url": url}


def test_a_good_one_passes_whole(make: Callable[[str], ModuleType]) -> None:
    check_action(make(HEAD + WELL), to)
    plain = WELL.replace("async def", "def").replace("await ", "")
    check_action(make(HEAD + plain), to)


BROKEN = {
    "undescribed option": (
        HEAD.replace(' = Field(description="Where it is posted")', "") + WELL,
        "it is described",
        'url of Options is not described: write Field(description="…")',
    ),
    "no docstring": (HEAD.replace('"""Post to a URL."""', "") + WELL, "it is described", "begin the file with a"),
    "bare secret": (
        HEAD + '    api_key: str = Field(default="", description="Ours")\n' + WELL,
        "its secrets are SecretStr",
        "api_key of Options may be a secret: declare it as SecretStr",
    ),
    "returns a number": (HEAD + WELL + "    return 5\n", "it returns a note or nothing", "deliver returned int"),
    "prints": (HEAD + WELL + '    print("hey")\n', "it prints nothing", "it printed 'hey\\n': use context.log"),
    "changes the event": (
        HEAD + WELL + '    if isinstance(delivery.event.payload, dict): delivery.event.payload["x"] = 1\n',
        "it leaves the event as it is",
        "it changed the event",
    ),
    "unforeseen error": (
        HEAD + WELL + '    delivery.event.payload["id"]\n',
        "it takes any event",
        "with the payload None it raised TypeError",
    ),
    "reads no status": (
        HEAD + WELL.replace("raise_for_status(await context.http.post(options.url))", "await context.http.post(options.url)"),
        "it reads every failure as all actions do",
        "404 is permanent, and ended delivered",
    ),
    "drops Retry-After": (
        HEAD
        + WELL.replace(
            "raise_for_status(await context.http.post(options.url))",
            'reply = await context.http.post(options.url)\n    if reply.status == 429: raise TransientError("later")\n'
            "    raise_for_status(reply)",
        ),
        "it passes on how long to wait",
        "Retry-After asked for 7 s, and the attempt says None",
    ),
    "hides what http raises": (
        HEAD
        + WELL.replace("    raise_for", "    try: raise_for").rstrip()
        + '\n    except TransientError as error: raise PermanentError("gone") from error\n',
        "it says so when no answer came",
        "the connection closed after the request, and it ended permanent (gone)",
    ),
    "gives up when nobody listens": (
        HEAD
        + WELL.replace("    raise_for", "    try: raise_for").rstrip()
        + '\n    except TransientError as error: raise PermanentError("gone") from error\n',
        "it is tried again when nobody listens",
        "nobody listened, and it ended permanent (gone)",
    ),
    "swallows cancellation": (
        HEAD + WELL.replace("    raise_for", "    try: raise_for").rstrip() + "\n    except asyncio.CancelledError: pass\n",
        "it lets itself be cancelled",
        "it was cancelled at its deadline and went on: let asyncio.CancelledError pass",
    ),
    "a client of its own": (
        HEAD + "import urllib.request\n" + 'def deliver(delivery, options, context):\n    """Post."""\n'
        '    urllib.request.urlopen(options.url, data=b"x").close()\n',
        "it delivers, through context.http",
        "it asked with a client of its own",
    ),
    "blocks the loop": (
        HEAD + "import urllib.request\n" + 'async def deliver(delivery, options, context):\n    """Post."""\n'
        '    urllib.request.urlopen(options.url, data=b"x").close()\n',
        "it does not block the loop",
        "it blocks the event loop while it waits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_told_with_what_mends_it(name: str, make: Callable[[str], ModuleType]) -> None:
    text, promise, told = BROKEN[name]
    (check,) = [one for one in checks(make(text), to) if one.name == promise]
    with pytest.raises(AssertionError, match=re.escape(told)):
        check()


def test_all_broken_promises_are_told_at_once(make: Callable[[str], ModuleType]) -> None:
    text = HEAD.replace('"""Post to a URL."""', "") + WELL + '    print("hey")\n'
    with pytest.raises(AssertionError) as told:
        check_action(make(text), to)
    assert [line.partition(":")[0] for line in str(told.value).splitlines()] == ["it is described", "it prints nothing"]
    check_action(make(text), to, skip=("it is described", "it prints nothing"))


def test_a_check_that_is_none_is_told(make: Callable[[str], ModuleType]) -> None:
    with pytest.raises(ValueError, match="no check is called 'it is nice'"):
        checks(make(HEAD + WELL), to, skip=("it is nice",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = (", "syntax error"),
        ('"""x"""\nimport no_such_package\n', "it needs no_such_package, which is not installed"),
        ('"""x"""\n', "it has no Options"),
        (HEAD, "it has no deliver"),
        (HEAD + "async def deliver(delivery): ...\n", "deliver cannot be called with three arguments"),
    ],
)
def test_one_that_cannot_be_loaded_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "pager.py").write_text(text)
    with pytest.raises(AssertionError, match=rf"pager\.py:\d+:1: pager: {told}"):
        run(tmp_path / "pager.py", {})


def test_a_file_that_is_not_there_and_an_action_that_is_none() -> None:
    with pytest.raises(AssertionError, match=r"there is no file .*nowhere\.py"):
        run(Path("nowhere.py"), {})
    with pytest.raises(AssertionError, match='there is no action "nowhere"'):
        run("nowhere", {})


def test_a_changed_file_is_loaded_anew(tmp_path: Path) -> None:
    path = tmp_path / "pager.py"
    text = '"""x"""\nfrom pydantic import BaseModel\nclass Options(BaseModel): pass\n'
    for said in ("one", "another one"):
        path.write_text(f"{text}def deliver(delivery, options, context): return {said!r}\n")
        assert run(path, {}).note == said


def test_options_are_rendered_and_checked_as_the_daemon_does(make: Callable[[str], ModuleType]) -> None:
    text = (HEAD + '    count: int = Field(default=1, description="c")\n' + WELL).replace(
        "context.http.post(options.url)", "context.http.post(options.url, json=[options.count])"
    )
    action = make(text)
    with FakeServer() as server:
        ran = run(action, {"url": server.url, "count": "{{ payload.total * 2 }}"}, delivery({"total": 21}))
        assert ran.outcome == "delivered"
        assert server.requests[0].json == [42]
        wrong = run(action, {"url": server.url, "count": "{{ payload.total }}"}, delivery({"total": "many"}))
        assert (wrong.outcome, wrong.note) == (
            "permanent",
            "count: should be a valid integer, unable to parse string as an integer",
        )
        assert len(server.requests) == 1
    with pytest.raises(AssertionError, match=r"hookline check refuses these options: .*has no option .cuont."):
        run(action, {"url": "http://127.0.0.1:1", "cuont": 1})
    with pytest.raises(AssertionError, match="url: is missing"):
        run(action, {})


def test_a_host_that_a_template_computes_is_refused_unless_its_network_is_allowed(
    make: Callable[[str], ModuleType],
) -> None:
    action = make(HEAD + WELL)
    with FakeServer() as server:
        one = delivery({"url": server.url})
        refused = run(action, {"url": "{{ payload.url }}"}, one)
        assert (refused.outcome, server.requests) == ("permanent", [])
        assert "blocked address" in refused.note
        assert run(action, {"url": "{{ payload.url }}"}, one, allow_networks=["127.0.0.0/8"]).outcome == "delivered"


def test_what_was_seen_of_an_attempt(make: Callable[[str], ModuleType]) -> None:
    text = HEAD.replace("url: str", "url: SecretStr") + (
        'async def deliver(delivery, options, context):\n    """Post."""\n'
        "    context.log.info('posting', to=options.url.get_secret_value(), attempt=delivery.attempt)\n"
        "    raise_for_status(await context.http.post(options.url.get_secret_value()))\n    return 'posted'\n"
    )
    answer = Answer(status=503, body=b"busy", headers={"Retry-After": "9"})
    with FakeServer(answer, 200) as server:
        url = f"{server.url}/s3cr3t-path"
        first = run(make(text), {"url": url}, delivery(attempt=3))
        second = run(make(text), {"url": url})
    assert (first.outcome, first.status, first.answer) == ("transient", 503, "busy")
    assert first.retry_after is not None
    assert first.retry_after.total_seconds() == 9
    assert first.log == (("posting", {"to": "***", "attempt": 3}),)
    assert (second.outcome, second.returned, second.note, second.raised) == ("delivered", "posted", "posted", None)


def test_a_digest_has_its_events() -> None:
    one = delivery(events=[{"n": 1}, {"n": 2}], event={"type": "order.paid"})
    assert [(event.payload, event.type) for event in one.events] == [({"n": 1}, "order.paid"), ({"n": 2}, "order.paid")]
    assert one.event == one.events[0]
    assert delivery({"n": 1}).events == ()


def test_the_server_answers_by_its_script_and_remembers() -> None:
    with FakeServer(201, Answer(status=404, body=b"no", headers={"X-Y": "z"})) as server:
        port = int(server.url.rpartition(":")[2])
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        seen = []
        for _ in range(3):
            link.request("PUT", "/a?b=c", b'{"d": 1}', {"X-One": "two"})
            reply = link.getresponse()
            seen.append((reply.status, reply.read(), reply.headers.get("X-Y")))
        link.request(
            "POST", "/chunks", iter([b"ab", b"c"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        link.getresponse().read()
        link.close()
    assert seen == [(201, b"ok", None), (404, b"no", "z"), (404, b"no", "z")]
    first, *_, last = server.requests
    assert (first.method, first.path, first.json, first.headers["x-one"]) == ("PUT", "/a?b=c", {"d": 1}, "two")
    assert last.body == b"abc"


def test_what_one_test_does_to_a_payload_is_not_the_next_ones() -> None:
    changed = delivery().event.payload
    assert isinstance(changed, dict)
    changed["x"] = 1
    assert delivery().event.payload != changed


@pytest.mark.parametrize(
    ("name", "is_told"),
    [
        ("password", True),
        ("smtp_password", True),
        ("api_key", True),
        ("apikey", True),
        ("token", True),
        ("client_secret", True),
        ("authorization", True),
        ("tokens_a_minute", False),
        ("key", False),
    ],
)
def test_a_secret_is_known_by_its_name(make: Callable[[str], ModuleType], name: str, is_told: bool) -> None:
    text = f'    {name}: str = Field(default="", description="Ours")\n'
    (check,) = [one for one in checks(make(HEAD + text + WELL), to) if one.name == "its secrets are SecretStr"]
    if is_told:
        with pytest.raises(AssertionError, match=f"{name} of Options may be a secret"):
            check()
    else:
        check()
