"""Writes docs/openapi.json and docs/api.md from the endpoints: `make docs`. A test compares, so they cannot drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hookline.daemon.api.openapi import document

HEAD = """\
# The admin API

What the dashboard and the command line know and do, programs can: below `/api/v1` on the admin listener (`admin.listen`,
`127.0.0.1:8081` if the configuration says nothing). [openapi.json](openapi.json) describes every request and answer; a running daemon
serves it as `/api/v1/openapi.json`. This page and that file are written by `make docs`.

```
$ hookline token add ci --scope read --expires 90d
hookline_…
$ curl -H "Authorization: Bearer $HOOKLINE_TOKEN" 'http://127.0.0.1:8081/api/v1/events?source=shop&outcome=dead&limit=10'
```

## Tokens

The admin token may do everything: it is `admin.token` of the configuration, or the one that the first start writes into `admin-token`
beside the store. Programs and people get tokens of their own, which `hookline token add` makes, `hookline token` lists and
`hookline token drop` ends. Of a token only the SHA-256 is kept. It is printed once, and good until it is dropped or over.

| scope | may |
|---|---|
| `read` | look at everything: events with their payloads, deliveries, rules, configuration (its secrets masked) |
| `operate` | also replay, cancel, hold, release, pause, test, reload |
| `admin` | also remove events for good, make and drop tokens |

Commands take the token of the environment variable `HOOKLINE_TOKEN`, else the configured one, else the file beside the store.

## Requests

- A token goes into the header `Authorization: Bearer TOKEN`. In an address it is refused: addresses are logged and shared. The
  cookie of somebody who is logged in to the dashboard is good for GET, and for nothing that writes.
- What a POST brings is JSON, `Content-Type: application/json`, 1 MiB at most. An unknown parameter or key is a mistake, not ignored.
- Lists are newest first, in pages: `next` of one is `before` of the page that follows, null where there is none. A search looks at a
  bounded stretch, says in `searched` how far it came, and goes on with `next`, so that none takes long.
- Times are ISO 8601 with an offset; a `+` in an address is written `%2B`.
- A GET of JSON carries an `ETag`; with `If-None-Match` it is answered 304, without a body, while nothing has changed.
- What changes something is noted in the [audit](operations.md), with the token's name; the header `Hookline-User` adds a person's.
- `/metrics` (scope `read`), `/healthz` and `/readyz` (no token) stand beside `/api`.

## Errors

Problem details (RFC 9457), `application/problem+json`: `status`, `title`, and `detail`, which says what is wrong and what to do.

| status | when |
|---|---|
| 400 | a parameter is unknown, stands twice or cannot be read; the body is not JSON |
| 401 | no token, or one that is not good |
| 403 | the token's scope does not allow it; or a page of another site asked |
| 404, 405 | there is no such thing; the path has no such method |
| 409 | it is there already, or cannot be done as things stand |
| 413, 415, 422 | the body is too large, not JSON by its type, or asks for what cannot be |
| 421 | the listener is not called so: behind a proxy, list its name under `admin.hosts` |
| 429 | ten wrong tokens came from there within a minute: only wrong ones wait, for as long as `Retry-After` says |
| 500 | a fault of Hookline; the log has it as `admin.fault` with the number that the answer names |
| 503 | the store cannot do it now; too many read the stream |

## What there is

"""


def openapi() -> str:
    """Return docs/openapi.json."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def page() -> str:
    """Return docs/api.md."""
    return HEAD + "\n".join(_table(tag) for tag in document()["tags"])


def _table(tag: dict[str, Any]) -> str:
    rows = [
        f"| `{method.upper()} {path}` | {operation['x-scope']} | {operation['summary']} |\n"
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
        if operation["tags"] == [tag["name"]]
    ]
    return f"### {tag['name']}\n\n{tag['description']}\n\n| | scope | |\n|---|---|---|\n" + "".join(rows)


if __name__ == "__main__":
    docs = Path(__file__).parents[1] / "docs"
    (docs / "openapi.json").write_text(openapi())
    (docs / "api.md").write_text(page())
