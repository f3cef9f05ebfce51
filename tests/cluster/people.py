"""Senders and operators: each request and its answer goes into the history."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.cluster.history import History
from tests.cluster.nodes import Node
from tests.cluster.workload import SECRET

#: A sender waits so long for an answer, in seconds.
_PATIENCE_S = 10.0
#: And tries so long.
_GIVES_UP_S = 100.0


def signed(name: str, kind: str, data: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Return an event's body and its header fields, as Agiled would sign it."""
    body = json.dumps({"id": name, "event": kind, "data": data}).encode()
    stamp = str(int(time.time()))
    mac = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "X-Agiled-Webhook-Timestamp": stamp,
        "X-Agiled-Webhook-Signature": mac,
        "Content-Type": "application/json",
    }
    return body, headers


def post(history: History, who: str, node: Node, name: str, kind: str, data: dict[str, Any]) -> bool:
    """Send an event to a node once; return whether it was answered 200."""
    call = history.begin(who, "post", node=node.name, name=name, kind=kind, data=data, status=None)
    connection = http.client.HTTPConnection(node.host, node.port, timeout=_PATIENCE_S)
    try:
        body, headers = signed(name, kind, data)
        connection.request("POST", "/hooks/agiled", body, headers)
        answer = connection.getresponse()
        said = answer.read()
    except ConnectionRefusedError:
        call.ended("fail")
        return False
    except (OSError, http.client.HTTPException):
        call.ended("info")
        return False
    finally:
        connection.close()
    if answer.status != 200:
        # 503: the store's own answer may have been lost.
        call.ended("info" if answer.status == 503 else "fail", status=answer.status)
        return False
    told = json.loads(said)
    call.ended("ok", status=200, is_accepted=told["accepted"] == 1, event=told["ids"][0])
    return True


def insist(
    history: History, who: str, nodes: Sequence[Node], event: tuple[str, str, dict[str, Any]], chance: random.Random
) -> None:
    """Send an event to one node or another until one has answered 200."""
    end = time.monotonic() + _GIVES_UP_S
    while not post(history, who, chance.choice(nodes), *event):
        assert time.monotonic() < end, f"{event[0]} was never answered 200"
        time.sleep(0.1)


#: What a sender sends of each type, by how many it has sent: what stands under `data`.
_DATA: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "first": lambda sender, number: {"key": f"{sender % 2}-{number // 8}"},
    "bundle": lambda sender, _: {"key": f"{sender % 2}"},
    # Of each key one sender sends one after the other: so the checker knows what was before.
    "news": lambda sender, number: {"key": f"{sender}", "value": (number * 7 // 3) % 4},
    "row": lambda sender, _: {"key": f"{sender}"},
}


@contextmanager
def senders(
    history: History,
    nodes: Sequence[Node],
    kinds: Iterable[str],
    *,
    name: str = "run",
    each: int = 1,
    pause_s: float = 0.05,
) -> Iterator[None]:
    """Have `each` senders for each type send to nodes by chance, one event after the other, until the end.

    Each event is sent until it is answered 200, as senders do; some are sent again after that. What they send begins
    with `name`.
    """
    over = threading.Event()
    numbers = itertools.count()

    def send(kind: str, sender: int) -> None:
        chance = random.Random(sender)
        for number in itertools.count():
            if over.is_set():
                return
            data = _DATA[kind](sender, number) if kind in _DATA else {}
            if "key" in data:
                data["key"] = f"{name}/{data['key']}"
            event = (f"{name}/{kind}-{sender}-{number}", kind, data)
            who = f"sender-{sender}"
            insist(history, who, nodes, event, chance)
            if chance.random() < 0.1 and kind != "news":
                post(history, who, chance.choice(nodes), *event)
            time.sleep(pause_s)

    threads = [
        threading.Thread(target=send, args=(kind, next(numbers)), daemon=True) for kind in kinds for _ in range(each)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "a sender got no 200 within two minutes of the end"


def storm(history: History, nodes: Sequence[Node], count: int, *, name: str) -> None:
    """Send `count` events, each to all nodes at the same moment and three times to each."""
    together = threading.Barrier(3 * len(nodes))

    def send(node: Node, sender: int) -> None:
        for number in range(count):
            together.wait(60)
            post(history, f"storm-{sender}", node, f"{name}/{number}", "plain", {})

    threads = [
        threading.Thread(target=send, args=(node, sender))
        for sender, node in enumerate(node for node in nodes for _ in range(3))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def set_held(history: History, node: Node, lane: str, *, is_held: bool) -> bool:
    """Hold a lane or release it, at one node; return whether that says that it is done."""
    what = "hold" if is_held else "release"
    call = history.begin("operator", what, lane=lane)
    try:
        status, _ = node.ask("POST", f"/destinations/{lane}/{what}", {}, timeout=15)
    except OSError:
        call.ended("info")
        return False
    call.ended("ok" if status == 200 else "info", status=status)
    return status == 200
