"""The API's document against the API of a real daemon: requests made from it, by schemathesis, are answered as it says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hookline.daemon.api.openapi import document
from tests.integration.living import TOKEN, Living, exchange, living

SCHEMA = schemathesis.openapi.from_dict(document())
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 200 if os.environ.get("HOOKLINE_LONG") else 3


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon in a thread of its own, as the tests here ask it."""

    url: str
    #: By the name of a path's parameter: one that there is.
    known: dict[str, str]
    #: By scope; None: none.
    tokens: dict[str | None, str | None]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(living(tmp_path_factory.mktemp("document"))) as daemon,
    ):
        yield portal.call(_filled, daemon)


async def _filled(daemon: Living) -> Running:
    """Give it something of everything."""
    events = [
        await daemon.send({"event": "order.paid", "id": f"o-{number}", "total": 600 * number, "tenant": "acme"})
        for number in range(4)
    ]
    await daemon.send({"event": "nothing", "id": "\ud800"})
    refused = await exchange(daemon.public, "POST", "/hooks/desk", body=b"{}")
    assert refused.status == 401
    await daemon.settled()
    made = await daemon.ask("/tokens", method="POST", body={"name": "reader", "scope": "read"})
    await daemon.ask("/tokens", method="POST", body={"name": "spare", "scope": "read"})
    delivery = (await daemon.ask("/deliveries")).json["deliveries"][0]["id"]
    version = (await daemon.ask("/status")).json["rules"]
    known = {
        "event": events[0], "delivery": delivery, "source": "shop", "destination": "erp", "name": "spare",
        "action": "forward", "rule": "orders", "version": version, "method": "event",
    }  # fmt: skip
    url = f"http://127.0.0.1:{daemon.admin}/api/v1"
    return Running(url, known, {"admin": TOKEN, "read": made.json["token"], None: None})


#: The first request of each is made without a token, and with one that may only look, as well.
_tried: set[str] = set()


def asked(case: Case[Any], running: Running, scope: str | None) -> Any:
    token = running.tokens[scope]
    # On a copy: a case keeps what its last call was made with.
    again = case.operation.Case(
        method=case.method,
        path_parameters=case.path_parameters,
        query=case.query,
        body=case.body,
        media_type=case.media_type,
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )
    answer = again.call(base_url=running.url)
    again.validate_response(answer, checks=CHECKS)
    return answer


# The stream has no end: its own tests read it.
@SCHEMA.exclude(path="/stream").parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_answers_are_those_of_the_document(case: Case[Any], running: Running) -> None:
    if case.method.lower() != case.operation.method.lower():
        # It tries methods, too, that the document does not have.
        answer = case.call(base_url=running.url, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code in {200, 405}
        assert answer.status_code == 405 or case.method == "OPTIONS"
        return
    if case.path_parameters.get("name") == "reader":
        # It tries names that it saw in answers, and this one is needed.
        case.path_parameters["name"] = "spare"
    asked(case, running, "admin")
    if case.path_parameters:
        case.path_parameters = {name: running.known.get(name, value) for name, value in case.path_parameters.items()}
        asked(case, running, "admin")
    label = case.operation.label
    if label not in _tried:
        _tried.add(label)
        assert asked(case, running, None).status_code == 401
        is_for_readers = case.operation.definition.raw["x-scope"] == "read"
        answer = asked(case, running, "read")
        assert (answer.status_code == 403, answer.status_code == 401) == (not is_for_readers, False), answer.content


def test_the_document_holds_every_scope_and_every_kind_of_refusal() -> None:
    operations = [one for path in document()["paths"].values() for one in path.values()]
    assert {one["x-scope"] for one in operations} == {"read", "operate", "admin"}
    assert len({one["operationId"] for one in operations}) == len(operations)
    for one in operations:
        assert one["summary"].endswith("."), one["operationId"]
        assert {"400", "401", "421", "429", "503"} <= set(one["responses"])
        for parameter in one.get("parameters", ()):
            assert parameter["description"], (one["operationId"], parameter["name"])
