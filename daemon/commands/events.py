"""`hookline events`: what came in, and what became of it."""

from __future__ import annotations

import sys
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import click

from hookline.daemon.actions.dry_run import DRY_RUN_NOTE
from hookline.daemon.api.shapes.events import event_content
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.delivery_text import styled_state
from hookline.daemon.commands.group import ListOrShow
from hookline.daemon.commands.opening import again, open_settings, reading
from hookline.daemon.commands.output import ago, fail, print_json, print_table, stamp
from hookline.daemon.config.settings import Settings
from hookline.daemon.ids import decode
from hookline.daemon.log import printable
from hookline.daemon.sources.refusals import refusals
from hookline.daemon.sources.stored_payload import why_unreadable
from hookline.daemon.store.changes import State
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import DAMAGED, DeliveryFilter, EventFilter, EventRow, EventSearch, StoredDelivery
from hookline.plugins.trace import trace_id
from hookline.rules import EventId
from hookline.rules.units import parse_duration

#: Deliveries shown with one event.
_MOST_DELIVERIES = 100


class Since(click.ParamType[datetime]):
    """A duration back from now, or a moment."""

    name = "1h|2026-05-18"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment; aware."""
        try:
            return datetime.now(UTC) - parse_duration(value)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is neither a duration such as 1h or 7d nor a date such as 2026-05-18T12:00", param, ctx
            )
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Id(click.ParamType[str]):
    """An id of ours."""

    def __init__(self, prefix: str) -> None:
        """`prefix` is evt or dlv."""
        self.name = f"{prefix}_…"
        self._prefix = prefix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it, if it is one."""
        try:
            decode(self._prefix, value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


@click.group(cls=ListOrShow, prefix="evt_", invoke_without_command=True)
@config_option
@json_option
@click.option("--source", help="Only of this source.")
@click.option("--type", "type_", help="Only of this event type.")
@click.option("--tenant", help="Only of this tenant.")
@click.option("--since", type=Since(), help="Not older: 1h, 7d, or a date.")
@click.option("--unrouted", is_flag=True, help="Only events that could not be matched yet.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=25, show_default=True)
@click.pass_context
def events(
    ctx: click.Context,
    config_path: Path | None,
    source: str | None,
    type_: str | None,
    tenant: str | None,
    since: datetime | None,
    *,
    as_json: bool,
    unrouted: bool,
    limit: int,
) -> None:
    """List events, newest first. `hookline events EVT` shows one."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = config_path
        return
    where = EventFilter(source=source, type=type_, tenant=tenant, since=since, is_unrouted=unrouted)
    anyio.run(_list, config_path, where, limit, as_json)


@events.command()
@click.argument("event_id", metavar="EVT", type=Id("evt"))
@config_option
@json_option
@click.option("--raw", is_flag=True, help="Print the request's body, byte for byte, and nothing else.")
@click.pass_obj
def show(outer: Path | None, event_id: str, config_path: Path | None, *, as_json: bool, raw: bool) -> None:
    """Show one event with its deliveries."""
    anyio.run(_show, open_settings(config_path or outer), EventId(event_id), as_json, raw)


@events.command()
@click.argument("event_id", type=Id("evt"))
@config_option
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Into this folder, not beside the rules.")
@click.option("--name", help="Of the test.")
@click.option("--redact", multiple=True, metavar="PATH", help="Replace this too: $.data.note, header.NAME, query.NAME.")
@click.option("--keep", multiple=True, metavar="PATH", help="Leave this as it is.")
@click.option("--no-redact", is_flag=True, help="Replace nothing but what --redact names.")
@click.option("--force", is_flag=True, help="Replace a fixture or test of that name.")
@click.pass_obj
def save(
    outer: Path | None,
    event_id: str,
    config_path: Path | None,
    folder: Path | None,
    name: str | None,
    redact: tuple[str, ...],
    keep: tuple[str, ...],
    *,
    no_redact: bool,
    force: bool,
) -> None:
    """Save one event as a fixture and a rule test that passes, with personal data and secrets replaced.

    E-mail addresses, tokens, names of people, telephone numbers, postal addresses, card and account numbers are
    replaced by others of the same shape; what a rule's answer depends on is kept, and named.
    """
    from hookline.daemon.commands.events_save import Wanted, save_event
    from hookline.daemon.rehearsal.event_fixture import Redaction

    wanted = Wanted(
        event_id=EventId(event_id),
        folder=folder,
        name=name,
        redaction=Redaction(redact=redact, keep=keep, is_off=no_redact),
        is_forced=force,
    )
    path = config_path or outer
    anyio.run(save_event, open_settings(path, offline=True), wanted, path)


@events.command()
@click.argument("event_ids", metavar="[EVT…]", nargs=-1, type=Id("evt"))
@config_option
@json_option
@click.option("--tenant", help="All of this tenant.")
@click.option("--source", help="All of this source.")
@click.option("--type", "type_", help="Of these only the ones of this event type.")
@click.option("--since", type=Since(), help="Of these only the ones not older: 1h, 7d, or a date.")
@click.option("--until", type=Since(), help="Of these only the ones older than that: 1h, 7d, or a date.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the audit.")
@click.option("--forget-key", is_flag=True, help="Also forget that they were seen: a repeat is then a new event.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(
    outer: Path | None,
    event_ids: tuple[str, ...],
    config_path: Path | None,
    tenant: str | None,
    source: str | None,
    type_: str | None,
    since: datetime | None,
    until: datetime | None,
    reason: str,
    *,
    as_json: bool,
    forget_key: bool,
    yes: bool,
) -> None:
    """Remove events for good: those named, or all of a tenant or source.

    Their bodies, headers, deliveries and attempts go, and whatever rules remember of them; the audit says that and why
    they went. Deliveries that wait are cancelled, those that run are waited for. Backups keep what they hold.
    """
    from hookline.daemon.commands.events_delete import Meant, delete_events

    meant = Meant(
        events=event_ids,
        tenant=tenant,
        source=source,
        type=type_,
        since=since,
        until=until,
        forgets_key=forget_key,
    )
    path = config_path or outer
    delete_events(open_settings(path, offline=True), meant, reason=reason, yes=yes, as_json=as_json, path=path)


def rules_text(matched: tuple[str, ...]) -> str:
    """Name the rules that matched; the fallback, which has no name, says that none did."""
    return ", ".join(rule or "none: fallback" for rule in matched) or "none"


async def _list(config_path: Path | None, where: EventFilter, limit: int, as_json: bool) -> None:  # noqa: FBT001
    async with reading(open_settings(config_path)) as reader:
        if as_json:
            print_json([event_content(stored) for stored in await reader.events(where, limit=limit)])
            return
        found = await _rows(reader, where, limit)
        if not found:
            click.echo("No events." if where == EventFilter() else "No events like that.", err=True)
            await _tell_of_refusals(reader, where, config_path)
            return
    rows = list(map(_cells, found))
    print_table(rows, ["id", "received", "source", "type", "tenant", "rules that matched", "deliveries"])
    click.echo(f"Why one did not match: {again(f'explain {found[0].id}', config_path)}", err=True)


async def _rows(reader: Reader, where: EventFilter, limit: int) -> list[EventRow]:
    """Return as many events as are wanted: a page of a search ends where it has looked far enough."""
    search = EventSearch(**{one.name: getattr(where, one.name) for one in fields(where)})
    found: list[EventRow] = []
    before: EventId | None = None
    while len(found) < limit:
        page = await reader.event_page(search, limit=limit - len(found), before=before)
        found += page.rows
        before = page.next
        if before is None:
            break
    return found


async def _tell_of_refusals(reader: Reader, where: EventFilter, config_path: Path | None) -> None:
    """Say that a source's requests were refused: that is another matter than a rule that did not match."""
    if where.source is None:
        return
    since = where.since or datetime.min.replace(tzinfo=UTC)
    refused = [one for one in await refusals(reader, where.source, since=since) if one.count_lately]
    if refused:
        count, last = sum(one.count_lately for one in refused), refused[0]
        told = f"{count} of its requests {'was' if count == 1 else 'were'} refused, the last {ago(last.last_at)}"
        click.echo(f"{told} ({last.reason}): {again(f'sources {where.source}', config_path)}", err=True)


def _cells(row: EventRow) -> list[str]:
    again = f" (+{row.duplicates} again)" if row.duplicates else ""
    counts = ", ".join(f"{count} {state.value}" for state, count in row.deliveries.items() if count)
    return [
        row.id,
        ago(row.received_at) + again,
        row.source,
        f"{row.type}  {row.subject}" if row.subject else row.type,
        row.tenant or "",
        "not matched yet" if row.is_unrouted else rules_text(row.matched),
        counts or "none",
    ]


async def _show(settings: Settings, event_id: EventId, as_json: bool, raw: bool) -> None:  # noqa: FBT001
    async with reading(settings) as reader:
        stored = await reader.event(event_id)
        if stored is None:
            fail(f"No event {event_id} in {settings.store}.")
        if raw:
            sys.stdout.buffer.write(stored.body)
            if stored.is_damaged:
                fail(f"{event_id}: {DAMAGED}.")
            return
        deliveries = await reader.deliveries(DeliveryFilter(event_id=event_id), limit=_MOST_DELIVERIES)
    if as_json:
        fields = ("id", "rule", "destination", "state", "why", "part_of")
        made = [{name: getattr(one, name) for name in fields} for one in deliveries]
        print_json({**event_content(stored), "deliveries": made})
        return
    event = stored.event
    click.echo(f"{event.id}  {printable(event.type)} from {event.source}, received {stamp(event.received_at)}")
    again = f", {stored.duplicates} duplicates, {stored.conflicts} of them with another body"
    size = f"{len(stored.body)} bytes, {stored.content_type or 'no content type'}"
    facts = {
        "sender's id": event.sender_id or "none",
        "about": event.subject or "not said",
        "tenant": event.tenant or "none",
        "occurred": stamp(event.occurred_at) if event.occurred_at else "not said",
        "dedupe key": event.key + (again if stored.duplicates else ""),
        "rules": f"{stored.rules_version[:6]}: " + rules_text(stored.matched),
        "trace": trace_id(event.headers) or "none",
        "body": f"{size}: hookline events show {event.id} --raw",
    }
    if stored.is_damaged:
        facts["damaged"] = DAMAGED
    elif event.type == "unreadable":
        facts["unreadable"] = why_unreadable(stored.body, stored.content_type)
    for name, value in facts.items():
        click.echo(f"  {name:12} {printable(value)}")
    for delivery in reversed(deliveries):
        click.echo(f"  -> {delivery.destination}  {styled_state(delivery)}{printable(_how(delivery))}  {delivery.id}")


def _how(delivery: StoredDelivery) -> str:
    """Say of a delivery why it is not sent, or how often it was tried."""
    if delivery.why:
        return f": {delivery.why}"
    if delivery.state is State.COLLECTED:
        return ""
    last = delivery.last_attempt
    times = "once" if delivery.attempts == 1 else f"{delivery.attempts} times"
    return f", tried {times}" + (f", {DRY_RUN_NOTE}" if last is not None and last.note == DRY_RUN_NOTE else "")
