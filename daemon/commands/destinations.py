"""`hookline destinations`: how each stands, what waits for it, and one test of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import click

from hookline.daemon.api.shapes.deliveries import delivery_summary, said_of
from hookline.daemon.api.shapes.destinations import destination_shape
from hookline.daemon.commands import config_option, json_option
from hookline.daemon.commands.destination_text import print_destination, print_destinations
from hookline.daemon.commands.group import ListOrShow
from hookline.daemon.commands.hold import hold as hold_command
from hookline.daemon.commands.hold import release as release_command
from hookline.daemon.commands.opening import again, ask_daemon, hear_daemon, looking, open_settings, reading
from hookline.daemon.commands.output import EXIT_FINDINGS, EXIT_USAGE, fail, print_json, styled
from hookline.daemon.config.settings import Settings
from hookline.daemon.destinations.states import destination_states
from hookline.daemon.log import printable
from hookline.daemon.sources.sample_changes import apply_changes
from hookline.daemon.store.changes import DeliveryId, State
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import DeliveryFilter, StoredDelivery
from hookline.rules.suggestion import suggest

#: How long a test is waited for, unless said otherwise.
_TEST_WAIT = timedelta(seconds=30)
_LOOK_S = 0.1
#: Of how many deliveries the next due ones, and the last failures, are picked.
_LOOKED_AT = 1000
_SHOWN = 5


@click.group(cls=ListOrShow, invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def destinations(ctx: click.Context, config_path: Path | None, *, as_json: bool) -> None:
    """List destinations: how each stands, what waits and how long, how many of the last day's attempts succeeded.

    Below them stand actions in place that have something unfinished. `hookline destinations NAME` shows one.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = config_path
        return
    settings = open_settings(config_path, offline=True)
    states, is_live = anyio.run(_states, settings)
    if as_json:
        print_json({"live": is_live, "destinations": states})
        return
    print_destinations(states, settings, config_path)
    if not is_live:
        _tell_of_silence(settings)


@destinations.command()
@click.argument("name")
@config_option
@json_option
@click.pass_obj
def show(outer: Path | None, name: str, config_path: Path | None, *, as_json: bool) -> None:
    """Show one destination: its limits, what is due next, and the last failures with their answers."""
    path = config_path or outer
    settings = open_settings(path, offline=True)
    states, is_live = anyio.run(_states, settings)
    found = [state for state in states if name in (state["destination"], state["lane"])]
    if not found:
        fail(_no_destination(settings, name), EXIT_USAGE)
    waiting, failed = anyio.run(_look_at, settings, found[0])
    if as_json:
        more = {"next_due": list(map(delivery_summary, waiting)), "last_failures": list(map(delivery_summary, failed))}
        print_json({**found[0], **more})
        return
    print_destination(found[0], settings, waiting, failed, path)
    if not is_live:
        _tell_of_silence(settings)


@destinations.command("test")
@click.argument("name")
@click.option("--set", "changes", multiple=True, metavar="OPTION=VALUE", help="What rules give: --set text=hello")
@click.option("--wait", type=click.IntRange(1, 600), default=int(_TEST_WAIT.total_seconds()), show_default=True,
              metavar="SECONDS", help="How long to wait for its end.")  # fmt: skip
@config_option
@json_option
@click.pass_obj
def test_one(
    outer: Path | None, name: str, changes: tuple[str, ...], config_path: Path | None, *, as_json: bool, wait: int
) -> None:
    """Send one harmless delivery to a destination, now, and show the answer; exit code 1 if it failed.

    It goes through the running daemon and is stored like any other, for an event `destination.test` that no rule sees.
    It is tried once.
    """
    path = config_path or outer
    settings = open_settings(path, offline=True)
    if name not in settings.destinations:
        fail(_no_destination(settings, name), EXIT_USAGE)
    options: dict[str, Any] = {}
    try:
        apply_changes(options, changes)
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    sent = ask_daemon(settings, f"destinations/{quote(name, safe='')}/test", {"options": options})
    delivery = anyio.run(_await_end, settings, DeliveryId(sent["delivery"]), timedelta(seconds=wait))
    if as_json:
        print_json(delivery_summary(delivery))
    else:
        _print_test(delivery, path)
    if delivery.state is not State.DELIVERED:
        raise SystemExit(EXIT_FINDINGS)


destinations.add_command(hold_command)
destinations.add_command(release_command)


async def _states(settings: Settings) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """Return how all stand, by the daemon if it runs, else by the store alone; and which it was."""
    told = hear_daemon(settings, "destinations")
    if told is not None:
        return told["destinations"], True
    async with looking(settings) as reader:
        states = await destination_states(settings, reader, now=datetime.now(UTC))
    return [destination_shape(state) for state in states], False


async def _look_at(
    settings: Settings, state: Mapping[str, Any]
) -> tuple[Sequence[StoredDelivery], Sequence[StoredDelivery]]:
    """Return what is due next and what failed last, a few of each."""
    async with looking(settings) as reader:
        if reader is None:
            return (), ()
        waiting = await _of_lane(reader, state, State.PENDING)
        recent = await _of_lane(reader, state, None)
    due = sorted((one for one in waiting if not one.is_behind), key=lambda one: one.due_at)
    failed = [one for one in recent if one.last_attempt is not None and one.last_attempt.outcome != "delivered"]
    return due[:_SHOWN], failed[:_SHOWN]


async def _of_lane(reader: Reader, state: Mapping[str, Any], wanted: State | None) -> list[StoredDelivery]:
    where = DeliveryFilter(destination=state["destination"], rule=state["rule"], state=wanted)
    return [one for one in await reader.deliveries(where, limit=_LOOKED_AT) if one.lane == state["lane"]]


async def _await_end(settings: Settings, delivery_id: DeliveryId, bound: timedelta) -> StoredDelivery:
    """Return the delivery once it has ended, or as it is when the time is over."""
    delivery = None
    async with reading(settings) as reader:
        with anyio.move_on_after(bound.total_seconds()):
            while True:
                delivery = await reader.delivery(delivery_id)
                if delivery is not None and delivery.state not in (State.PENDING, State.RUNNING):
                    break
                await anyio.sleep(_LOOK_S)
    if delivery is None:
        fail(f"No delivery {delivery_id} in {settings.store}: does the daemon that answered use another store?")
    return delivery


def _print_test(delivery: StoredDelivery, config_path: Path | None) -> None:
    name, attempt = delivery.destination, delivery.last_attempt
    said = said_of(attempt)
    if delivery.state is State.DELIVERED:
        click.echo(f"{name}: {styled('delivered', 'good')}  {printable(said)}".rstrip())
    elif attempt is None:
        click.echo(f"{name}: {styled('still waiting', 'warn')}, not tried yet")
    else:
        click.echo(f"{name}: {styled(attempt.outcome, 'bad')}  {printable(said)}")
    if attempt is not None and attempt.answer:
        click.echo(f"  answer: {printable(attempt.answer[:300])}")
    seen = "destinations" if attempt is None else "deliveries"
    click.echo(f"{again(f'{seen} {name if attempt is None else delivery.id}', config_path)}", err=True)
    if attempt is None:
        cancel = again(f"cancel {delivery.id}", config_path)
        click.echo(f"It is sent by itself when the destination is back; to take it back: {cancel}", err=True)


def _no_destination(settings: Settings, name: str) -> str:
    if name in settings.destinations:
        return f"The running daemon does not know {name!r}: {settings.path} is not live. hookline reload says why not"
    hint = suggest(name, settings.destinations, what="destinations")
    return f"No destination {name!r} in {settings.path}" + (f"; {hint}" if hint else "")


def _tell_of_silence(settings: Settings) -> None:
    click.echo(
        f"The daemon does not answer at {settings.admin.listen}; this is what the store knows. "
        f"Start it: hookline run -c {settings.path}",
        err=True,
    )
