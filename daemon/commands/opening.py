"""What most commands begin with: the configuration, the store to look into, the daemon to talk to."""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hookline.daemon.admin_token import read_admin_token
from hookline.daemon.asked import USER_HEADER
from hookline.daemon.backup.ownership import operator
from hookline.daemon.commands.output import EXIT_CONFIG, fail, print_problems
from hookline.daemon.config.load import ConfigError, find_config, load_settings
from hookline.daemon.config.settings import Address, Settings
from hookline.daemon.store.port import Reader, StoreError
from hookline.daemon.store.sqlite_reader import SqliteReader


def again(command: str, config_path: Path | None) -> str:
    """Write a command for people to type next, on the configuration that they named."""
    return f"hookline {command} -c {config_path}" if config_path else f"hookline {command}"


def open_settings(config_path: Path | None, *, offline: bool = False) -> Settings:
    """Read the configuration, or print everything that is wrong with it and exit 78."""
    try:
        path = find_config(config_path, os.environ)
        return load_settings(path, environ=os.environ, offline=offline)
    except ConfigError as error:
        print_problems(error.problems, error.sources, stream=sys.stderr)
        count = sum(problem.severity == "error" for problem in error.problems)
        fail(f"{count} {'mistake' if count == 1 else 'mistakes'} in the configuration.", EXIT_CONFIG)


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Reader]:
    """Open the store to look into it; the daemon may be running or not."""
    if not settings.store.exists():
        fail(f"No store at {settings.store}: has the daemon run yet? Start it with: hookline run -c {settings.path}")
    reader = SqliteReader(settings.store)
    try:
        yield reader
    except StoreError as error:
        fail(str(error))
    finally:
        await reader.close()


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[Reader | None]:
    """Open the store to look into it; None before the daemon's first start, when there is none."""
    if not settings.store.exists():
        yield None
        return
    async with reading(settings) as reader:
        yield reader


def ask_daemon(settings: Settings, path: str, body: Any, *, timeout: float = 30) -> Any:
    """Have the running daemon do something through its admin API, or say why it cannot and exit 1.

    `timeout`: how many seconds its answer may take.
    """
    token = settings.admin.token or read_admin_token(settings.store)
    if token is None:
        fail(f"No admin token beside {settings.store}: the daemon makes it at its first start.")
    address = settings.admin.listen
    try:
        with _call(address, path, token, json.dumps(body).encode(), timeout=timeout) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        told = json.load(error) if "json" in error.headers.get("Content-Type", "") else {}
        fail(f"{told.get('title', error.reason)}: {told.get('detail', f'status {error.code}')}")
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        fail(f"The daemon does not answer at {address} ({reason}). Is it running? hookline run -c {settings.path}")


def hear_daemon(settings: Settings, path: str) -> Any:
    """Return what a running daemon's admin API says; None if none runs, or it does not say."""
    token = settings.admin.token or read_admin_token(settings.store)
    if token is None:
        return None
    try:
        with _call(settings.admin.listen, path, token, None, timeout=5) as reply:
            return json.load(reply)
    except (OSError, http.client.HTTPException, ValueError):
        return None


def tell_daemon(settings: Settings, path: str, body: Any) -> bool:
    """Tell a running daemon something; return whether it took it."""
    token = settings.admin.token or read_admin_token(settings.store)
    if token is None:
        return False
    try:
        with _call(settings.admin.listen, path, token, json.dumps(body).encode(), timeout=5):
            return True
    except (OSError, http.client.HTTPException):
        return False


def _call(address: Address, path: str, token: str, data: bytes | None, *, timeout: float) -> Any:
    # What a header cannot hold is not a name's important part.
    name = operator().encode("ascii", "replace").decode()
    host = f"[{address.host}]" if address.host and ":" in address.host else address.host
    request = urllib.request.Request(
        f"http://{host}:{address.port}/api/v1/{path}",
        data=data,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json", USER_HEADER: name},
    )
    # No proxy: the token is for the daemon alone.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout)
