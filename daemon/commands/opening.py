"""What most commands begin with: the configuration, the store to look into, the daemon to talk to."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from hookline.daemon.admin_token import admin_token_file, read_admin_token
from hookline.daemon.api.client import ANSWER_S, ApiClient, ApiError, ApiReader, NoAnswerError, Verb
from hookline.daemon.backup.ownership import operator
from hookline.daemon.commands.output import EXIT_CONFIG, fail, print_problems
from hookline.daemon.config.load import ConfigError, find_config, load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.store.places import PostgresDatabase, SqliteFile, UnsetStore
from hookline.daemon.store.port import Reader, StoreError
from hookline.daemon.store.sqlite.reader import SqliteReader
from hookline.daemon.version import VERSION

#: The environment's token, before the configured one and the one in the state folder.
TOKEN: Final = "HOOKLINE_TOKEN"  # noqa: S105 - its name
#: A daemon that takes longer to say that it is there is not asked anything else: the store tells as much.
_THERE_S: Final = 1.0
_SOON_S: Final = 5.0


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
    """Look into the store: through the daemon if it runs, else directly. Ends with a word if neither can be."""
    async with looking(settings) as reader:
        if reader is None:
            fail(no_store(settings))
        yield reader


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[Reader | None]:
    """Look into the store as `reading` does; None before the daemon's first start, when there is none."""
    try:
        client = await anyio.to_thread.run_sync(_daemon, settings)
        if client is not None:
            async with _closing(ApiReader(client)) as reader:
                yield reader
            return
        match settings.store:
            case SqliteFile(path=path):
                if not _is_there(path):
                    yield None
                    return
                async with _closing(_file_reader(settings, path)) as reader:
                    yield reader
            case PostgresDatabase() as place:
                # Not needed, and not there, where the store is a file.
                from hookline.daemon.store.postgres.visiting import reader_of

                async with reader_of(place) as reader:
                    yield reader
            case UnsetStore():
                fail(no_store(settings))
    except StoreError as error:
        fail(str(error))


def no_store(settings: Settings) -> str:
    """Say why there is no store to look into, and what to do."""
    if isinstance(settings.store, UnsetStore):
        return (
            f"Where the store is cannot be told: what stands in `store: {settings.store}` is not set here, and no "
            f"daemon answers at {settings.admin.listen}. Set it in the environment, or in "
            f"{settings.path.parent}/credentials."
        )
    return f"No store at {settings.store}: has the daemon run yet? Start it with: hookline run -c {settings.path}"


@asynccontextmanager
async def _closing(reader: Reader) -> AsyncIterator[Reader]:
    try:
        yield reader
    finally:
        await reader.close()


def ask_daemon(settings: Settings, path: str, body: Any, *, timeout: float = 30, verb: Verb = "POST") -> Any:
    """Have the running daemon do something through its admin API, or say why it cannot and exit 1.

    `timeout`: how many seconds its answer may take.
    """
    client = calling(settings, timeout=timeout)
    try:
        return client.ask(verb, path, body)
    except ApiError as error:
        fail(str(error))
    except NoAnswerError as error:
        fail(no_answer(settings, error))
    finally:
        client.close()


def calling(settings: Settings, *, timeout: float) -> ApiClient:
    """Return what asks the running daemon, or say that there is no token for it and exit 1."""
    client = _client(settings, timeout=timeout)
    if client is None:
        fail(_no_token(settings))
    return client


def no_answer(settings: Settings, error: NoAnswerError) -> str:
    """Say that no daemon answers, and how to start it."""
    return (
        f"The daemon does not answer at {settings.admin.listen} ({error}). "
        f"Is it running? hookline run -c {settings.path}"
    )


def hear_daemon(settings: Settings, path: str) -> Any:
    """Return what a running daemon's admin API says; None if none runs, or it does not say."""
    return _said(_client(settings, timeout=_SOON_S), path)


def tell_daemon(settings: Settings, path: str, body: Any) -> bool:
    """Tell a running daemon something; return whether it took it."""
    client = _client(settings, timeout=_SOON_S)
    if client is None:
        return False
    try:
        client.ask("POST", path, body)
    except (ApiError, NoAnswerError):
        return False
    finally:
        client.close()
    return True


def _file_reader(settings: Settings, path: Path) -> SqliteReader:
    if not os.access(path, os.R_OK):
        fail(
            f"{path} is not {operator()}'s to read, and no daemon of version {VERSION} at "
            f"{settings.admin.listen} takes the token: set {TOKEN} (hookline token add), or do it as the store's owner."
        )
    return SqliteReader(path)


def _daemon(settings: Settings) -> ApiClient | None:
    """Return a client of the daemon; None if none runs, it does not know the token, or is of another version."""
    # It keeps its connection for what is asked next.
    client = _client(settings, timeout=_THERE_S)
    if client is None:
        return None
    try:
        said = client.ask("GET", "status")
    except (ApiError, NoAnswerError):
        said = None
    if not isinstance(said, dict) or said.get("version") != VERSION:
        client.close()
        return None
    client.timeout = ANSWER_S
    return client


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        # Of a folder above it: there is something that is not for us.
        return True


def _said(client: ApiClient | None, path: str) -> Any:
    if client is None:
        return None
    try:
        return client.ask("GET", path)
    except (ApiError, NoAnswerError):
        return None
    finally:
        client.close()


def _client(settings: Settings, *, timeout: float) -> ApiClient | None:
    token = os.environ.get(TOKEN) or settings.admin.token or _kept_token(settings)
    if token is None:
        return None
    return ApiClient(settings.admin.listen, token, user=operator(), timeout=timeout)


def _kept_token(settings: Settings) -> str | None:
    try:
        return read_admin_token(settings.state)
    except PermissionError:
        return None


def _no_token(settings: Settings) -> str:
    file = admin_token_file(settings.state)
    if _is_there(file):
        return f"{file} is not {operator()}'s to read: set {TOKEN} (hookline token add)."
    return f"No admin token in {settings.state}: the daemon makes it at its first start."
