"""`hookline subscribe`: make a source's subscriptions at its vendor, where the vendor has an API for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.opening import again, open_settings
from hookline.daemon.commands.output import EXIT_FINDINGS, EXIT_USAGE, fail, print_json, print_table, styled
from hookline.daemon.commands.source_names import no_source
from hookline.daemon.config.settings import Settings
from hookline.daemon.log import printable
from hookline.rules import Json

if TYPE_CHECKING:
    from hookline.daemon.subscriptions.hiding import HiddenTexts
    from hookline.daemon.subscriptions.port import Api, Outcome, Subscription, Vendor, VendorKind, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the user asked for."""

    source: str
    events: tuple[str, ...]
    is_list: bool
    delete: str | None
    is_dry: bool
    is_sure: bool
    as_json: bool
    config_path: Path | None


@dataclass(slots=True, kw_only=True)
class _Result:
    """What became of it."""

    outcomes: list[Outcome] = field(default_factory=list)
    listed: tuple[Subscription, ...] = ()
    deleted: str | None = None
    requests: list[dict[str, Json]] = field(default_factory=list)
    error: str | None = None


@click.command()
@click.argument("source")
@config_option
@json_option
@click.option("--events", "events", multiple=True, metavar="A,B", help="What to subscribe to: --events deal.created")
@click.option("--list", "is_list", is_flag=True, help="List what there is at the vendor.")
@click.option("--delete", "delete", metavar="ID", help="Delete one by its id.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Show each request, and send none.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
def subscribe(
    source: str,
    config_path: Path | None,
    events: tuple[str, ...],
    delete: str | None,
    *,
    as_json: bool,
    is_list: bool,
    is_dry: bool,
    is_sure: bool,
) -> None:
    """Have the vendor of SOURCE send events here: Agave, Agiled, HubSpot, Pipedrive, Procore.

    The secret that comes back, or is made for it, is kept in a file beside the configuration and never shown whole.
    """
    names = tuple(dict.fromkeys(name.strip() for text in events for name in text.split(",") if name.strip()))
    if bool(names) + is_list + (delete is not None) != 1:
        fail("Say one of --events A,B, --list, --delete ID.", EXIT_USAGE)
    # Its own secret may be just what is still to come, so a secret that is not set is no mistake here.
    settings = open_settings(config_path, offline=True)
    if source not in settings.sources:
        fail(no_source(settings, source), EXIT_USAGE)
    asked = _Asked(
        source=source, events=names, is_list=is_list, delete=delete, is_dry=is_dry, is_sure=is_sure, as_json=as_json,
        config_path=config_path,
    )  # fmt: skip
    kind = _vendor_kind(settings, asked)
    wanted = _read_events(settings, asked, kind)
    result = anyio.run(_run, settings, asked, kind, wanted)
    _print(asked, kind, result)
    if asked.events and not kind.secret_options:
        # What the vendor signs with is not made here, so it may still be missing.
        for problem in settings.warnings:
            if problem.path.startswith(f"sources.{source}."):
                click.echo(f"{problem.path}: {problem.message}; {problem.hint}", err=True)
    if result.error is not None:
        raise SystemExit(EXIT_FINDINGS)


def _vendor_kind(settings: Settings, asked: _Asked) -> VendorKind:
    from hookline.daemon.sources.public_url import own_url, url_below
    from hookline.daemon.subscriptions.vendors import VENDORS

    type_name = settings.sources[asked.source].type
    if type_name not in VENDORS:
        options = settings.sources[asked.source].options
        token = "/<path_token>" if "path_token" in options else ""
        url = own_url(options) or url_below(settings.public_url or "https://<public_url>", asked.source, None) + token
        steps = settings.source_types.get(type_name).steps(asked.source, url)
        told = "".join(f"\n  {number}. {step}" for number, step in enumerate(steps, 1))
        fail(
            f"Subscriptions of type {type_name} are not made through an API here ({', '.join(VENDORS)} are). "
            f"By hand:{told or ' its own pages have a form for it.'}"
        )
    kind = VENDORS[type_name]
    if kind.why_no_list is not None and not asked.events:
        fail(f"{kind.why_no_list}.")
    return kind


def _read_events(settings: Settings, asked: _Asked, kind: VendorKind) -> tuple[Wanted, ...]:
    from hookline.rules.suggestion import suggest

    known = settings.source_types.event_types(settings.sources[asked.source].type)
    wanted, mistakes = [], []
    for text in asked.events:
        try:
            one = kind.parse(text)
        except ValueError as error:
            mistakes.append(printable(str(error)))
            continue
        wanted.append(one)
        if known is not None and one.type is not None and one.type not in known:
            hint = suggest(one.type, known, what="events") or "its event types are in the docs of the source"
            mistakes.append(f'{kind.label} has no event "{printable(text)}"; {hint}')
    if mistakes:
        fail("\n".join([*mistakes, f"Write for instance {kind.events_hint}"]), EXIT_USAGE)
    return tuple(wanted)


async def _run(settings: Settings, asked: _Asked, kind: VendorKind, wanted: Sequence[Wanted]) -> _Result:
    from hookline.daemon.subscriptions.hiding import HiddenTexts
    from hookline.daemon.subscriptions.option_secret import KeepError
    from hookline.daemon.subscriptions.port import VendorError

    hidden = HiddenTexts()
    result = _Result()
    async with AsyncExitStack() as stack:
        try:
            vendor, url = await _connect(settings, asked, kind, hidden, result, stack)
            if asked.is_list:
                result.listed = await vendor.subscriptions()
            elif asked.delete is not None:
                await _delete(vendor, asked, url)
                result.deleted = asked.delete
            else:
                async for outcome in vendor.subscribe(wanted):
                    result.outcomes.append(outcome)
        except (VendorError, KeepError) as error:
            result.error = printable(hidden.masked(str(error)))
    # From here on everything is only shown.
    result.listed = tuple(_masked(one, hidden) for one in result.listed)
    return result


async def _connect(
    settings: Settings, asked: _Asked, kind: VendorKind, hidden: HiddenTexts, result: _Result, stack: AsyncExitStack
) -> tuple[Vendor, str]:
    from hookline.daemon.secrets import Secrets
    from hookline.daemon.subscriptions.account import base_url, read_account
    from hookline.daemon.subscriptions.dry import DryApi
    from hookline.daemon.subscriptions.http import HttpApi
    from hookline.daemon.subscriptions.option_secret import OptionSecret, written_options
    from hookline.daemon.subscriptions.port import Connection
    from hookline.daemon.subscriptions.target import subscription_url

    folder = settings.path.parent
    lookup = Secrets(os.environ, folder=folder).with_variables(settings.vars)
    account = read_account(kind, lookup, hidden, is_dry=asked.is_dry)
    url = subscription_url(settings, asked.source, lookup, hidden)
    base = base_url(kind, account)
    written = written_options(settings, asked.source)
    secrets = {
        option: OptionSecret(
            source=asked.source,
            option=option,
            node=written.get(option),
            lookup=lookup,
            folder=folder,
            hide=(lambda _: None) if option in kind.shown else hidden.add,
            is_dry=asked.is_dry,
        )
        for option in kind.secret_options
    }
    api: Api
    if asked.is_dry:
        api = DryApi(base, hidden=hidden, show=result.requests.append)
    else:
        api = await stack.enter_async_context(HttpApi(kind, base, hidden=hidden))
    vendor = kind.open(
        Connection(
            api=api,
            account=account,
            source=asked.source,
            url=url,
            secrets=secrets,
            options=settings.sources[asked.source].options,
            hidden=hidden,
            confirm=lambda question: asked.is_dry or asked.is_sure or _is_confirmed(hidden.masked(question)),
        )
    )
    return vendor, url


async def _delete(vendor: Vendor, asked: _Asked, url: str) -> None:
    from hookline.daemon.subscriptions.port import VendorError

    subscription = asked.delete or ""
    if not asked.is_dry:
        listed = await vendor.subscriptions()
        found = next((one for one in listed if one.id == subscription), None)
        if found is None:
            ids = ", ".join(one.id for one in listed) or "none"
            raise VendorError(f'there is no "{subscription}" at the vendor; there are: {ids}')
        # One letter amiss must not end what another program lives on.
        if found.url != url and not asked.is_sure and not _is_confirmed(f"{subscription} sends elsewhere. Delete it?"):
            raise VendorError(f"{subscription} is still there: it sends elsewhere; --yes deletes it")
    await vendor.delete(subscription)


def _is_confirmed(question: str) -> bool:
    # Without a terminal there is nobody to ask.
    return sys.stdin.isatty() and click.confirm(question, err=True)


def _masked(one: Subscription, hidden: HiddenTexts) -> Subscription:
    from hookline.daemon.subscriptions.port import Subscription

    url = None if one.url is None else hidden.masked(one.url)
    return Subscription(id=one.id, events=one.events, url=url, status=one.status)


def _missing(asked: _Asked, outcomes: Sequence[Outcome]) -> list[str]:
    done = {event for outcome in outcomes for event in outcome.events}
    return [event for event in asked.events if event not in done]


def _print(asked: _Asked, kind: VendorKind, result: _Result) -> None:
    if asked.as_json:
        print_json(_as_json(asked, result))
    elif asked.is_dry:
        for request in result.requests:
            _print_request(request)
        click.echo("Nothing was sent. Where an answer counts, the vendor's documented one was taken.", err=True)
    elif asked.is_list and result.error is None:
        print_table(
            [(one.id, ", ".join(one.events), one.status or "-", one.url or "-") for one in result.listed],
            ("ID", "EVENTS", "STATUS", "URL"),
        )
    elif result.deleted is not None:
        click.echo(f"{printable(result.deleted)} is deleted.")
    else:
        for outcome in result.outcomes:
            _print_outcome(outcome)
    if result.error is not None:
        _print_failure(asked, result)
    elif asked.events and not asked.is_dry:
        click.echo(f"{kind.label} sends {', '.join(asked.events)} to {asked.source}.", err=True)
        if any(outcome.is_kept for outcome in result.outcomes):
            click.echo("The daemon reads secrets at its start: start it again now.", err=True)


def _print_request(request: dict[str, Json]) -> None:
    click.echo(f"{request['method']} {request['url']}")
    headers = request["headers"]
    for name, value in headers.items() if isinstance(headers, dict) else ():
        click.echo(f"{name}: {value}")
    if "body" in request:
        print_json(request["body"])
    click.echo()


def _print_outcome(outcome: Outcome) -> None:
    state = styled("made", "good") if outcome.is_new else "there already"
    events = f": {', '.join(outcome.events)}" if outcome.events else ""
    note = f" ({outcome.note})" if outcome.note else ""
    click.echo(f"{outcome.what} {printable(outcome.id)} {state}{events}{printable(note)}")


def _print_failure(asked: _Asked, result: _Result) -> None:
    click.echo(result.error, err=True)
    missing = _missing(asked, result.outcomes)
    if result.outcomes and missing:
        made = sum(outcome.is_new for outcome in result.outcomes)
        click.echo(f"{made} made before that, as told above; not made: {', '.join(missing)}.", err=True)
        rest = again(f"subscribe {asked.source} --events {','.join(missing)}", asked.config_path)
        click.echo(f"To go on: {rest}", err=True)


def _as_json(asked: _Asked, result: _Result) -> dict[str, Json]:
    said: dict[str, Json] = {"source": asked.source, "error": result.error}
    if asked.is_dry:
        said["requests"] = [dict(request) for request in result.requests]
    elif asked.is_list:
        said["subscriptions"] = [
            {"id": one.id, "events": [*one.events], "status": one.status, "url": one.url} for one in result.listed
        ]
    elif asked.delete is not None:
        said["deleted"] = result.deleted
    else:
        said["outcomes"] = [
            {"what": one.what, "id": one.id, "events": [*one.events], "is_new": one.is_new, "note": one.note}
            for one in result.outcomes
        ]
        said["missing"] = [*_missing(asked, result.outcomes)]
    return said
