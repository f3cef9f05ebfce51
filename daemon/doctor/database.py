"""The PostgreSQL database: whether it keeps what it is given, and the nodes that share it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from typing import Final
from urllib.parse import parse_qs, urlsplit

from hookline.daemon.commands.output import ago, span
from hookline.daemon.doctor.bounded import Failed
from hookline.daemon.doctor.finding import Finding, counted, listed, ok, size_text, warn, wrong
from hookline.daemon.doctor.sight import Sight
from hookline.daemon.store.database_state import DatabaseState
from hookline.daemon.store.places import PostgresDatabase

_OLDEST: Final = 130_000
#: What one node opens at most, with one for whoever types a command.
CONNECTIONS_OF_NODE: Final = 10
_LITTLE_AHEAD: Final = timedelta(seconds=2)
_FAR_AHEAD: Final = timedelta(minutes=1)
_LONG_HELD: Final = timedelta(minutes=10)
_LARGE_SLOT: Final = 1 << 30
#: Dead rows of the queue, as a number and as a multiple of those that live: claims begin to be slow.
_MANY_DEAD: Final = 50_000
_DEAD_SHARE: Final = 2
#: A rolling upgrade takes as long.
_MISSED_AFTER: Final = timedelta(minutes=1)
_RELOAD: Final = "then SELECT pg_reload_conf()"
#: A host that is this machine, or a socket's folder.
_NEAR: Final = re.compile(r"localhost(:|$)|127\.|\[?::1(\]|$)|/|%2[Ff]")


def check_database(sight: Sight, place: PostgresDatabase) -> list[Finding]:
    """Say how the database is."""
    state = sight.database
    if isinstance(state, Failed):
        return [wrong("store", state.why, f"then {sight.again('doctor')}")]
    if state is None:
        return []
    if isinstance(sight.store, Failed):
        return [wrong("store", sight.store.why, "see above"), *judge_database(state)]
    trouble = (sight.running.status or {}).get("trouble")
    if trouble:
        why = trouble.get("why") if isinstance(trouble, dict) else trouble
        return [wrong("store", f"the daemon cannot write: {why}", "it goes on by itself when that is mended")]
    waiting = sum(int(one["waiting"]) for one in sight.store.destinations) if sight.store else 0
    text = f"{place}: PostgreSQL {state.version}"
    if state.schema is None:
        said = ok("store", f"{text}, without tables of ours: the first start makes them", sight.again("run"))
    else:
        said = ok("store", f"{text}, schema {state.schema}, {size_text(state.size)}, {waiting:,} waiting")
    return [said, *judge_network(place, state), *judge_database(state)]


def judge_network(place: PostgresDatabase, state: DatabaseState) -> list[Finding]:
    """Judge the way to the server, where it leaves this machine."""
    parts = urlsplit(place.url)
    asked = parse_qs(parts.query)
    hosts = [*parts.netloc.rpartition("@")[2].split(","), *asked.get("host", [""])[0].split(",")]
    far = [host for host in hosts if host and not _NEAR.match(host)]
    if not far:
        return []
    mended = "`sslmode=verify-full&sslrootcert=…` in `store:`"
    if not state.is_encrypted:
        text = f"the way to {listed(far)} is not encrypted: whoever is on it reads events, and may change them"
        return [warn("network", text, f"ssl = on at the server, and {mended}")]
    if asked.get("sslmode", [""])[0] not in {"verify-ca", "verify-full"}:
        return [warn("network", f"the way to {listed(far)} is encrypted, but who answers is not checked", mended)]
    return [ok("network", f"the way to {listed(far)} is encrypted, and who answers is checked")]


def judge_database(state: DatabaseState) -> list[Finding]:
    """Judge what the server says of itself, and of our tables."""
    return list(
        chain(_fitness(state), _durability(state), _connections(state), _clocks(state), _vacuum(state), _slots(state))
    )


def _fitness(state: DatabaseState) -> Iterator[Finding]:
    if state.number < _OLDEST:
        yield wrong("store", f"PostgreSQL {state.version} is too old", "move to PostgreSQL 13 or newer")
    if state.encoding != "UTF8":
        text = f"its encoding is {state.encoding}, which does not hold every text"
        yield wrong("store", text, "createdb --encoding=UTF8 --template=template0, and let `store:` name that one")
    if state.is_pooled:
        text = "sessions are shared by a pooler, as by pgbouncer in transaction mode: locks and news need their own"
        yield wrong("store", text, "pool_mode = session there, or let `store:` name the server itself")
    if state.lacks:
        yield wrong("store", f"our role {state.role}: {state.lacks}", "let the tables' owner or an administrator do it")


def _durability(state: DatabaseState) -> Iterator[Finding]:
    if not state.fsync:
        text = "fsync is off: a power cut loses what was acknowledged, or all of it"
        yield wrong("durability", text, f"ALTER SYSTEM SET fsync = on, {_RELOAD}")
    if not state.full_page_writes:
        text = "full_page_writes is off: a power cut may damage pages, unless the file system writes them whole (ZFS)"
        yield warn("durability", text, f"ALTER SYSTEM SET full_page_writes = on, {_RELOAD}")
    wanted = state.synchronous_standby_names
    if wanted and state.synchronous_standbys == 0:
        text = f"synchronous_standby_names is {wanted}, and none of them is there: every commit waits for one"
        yield wrong("durability", text, "bring a standby back, or take it out of synchronous_standby_names")
        return
    if wanted and state.synchronous_commit in {"off", "local"}:
        text = f"synchronous_commit is {state.synchronous_commit}: no commit waits for the synchronous standby"
        yield warn("durability", text, f"ALTER SYSTEM SET synchronous_commit = on, {_RELOAD}")
        return
    if not wanted and state.standbys:
        text = f"{counted(state.standbys, 'standby', 'standbys')}, none synchronous: a failover loses the last moments"
        yield warn(
            "durability", text, "synchronous_standby_names, if nothing acknowledged may be lost: docs/postgresql.md"
        )
        return
    if state.fsync and state.full_page_writes:
        who = f"commits wait for {wanted}" if wanted else "one server, which keeps what it committed"
        yield ok("durability", f"fsync on, {who}")


def _connections(state: DatabaseState) -> Iterator[Finding]:
    nodes = max(1, sum(node.is_member for node in state.nodes))
    needed = nodes * CONNECTIONS_OF_NODE + state.connections - state.own_connections
    text = f"{state.connections} of {state.most_connections} connections in use"
    if needed > state.most_connections:
        text += f"; {counted(nodes, 'node')} may need {nodes * CONNECTIONS_OF_NODE} beside what others have"
        yield warn("connections", text, "raise max_connections, or the limit of role or database")
    else:
        yield ok("connections", text)


def _clocks(state: DatabaseState) -> Iterator[Finding]:
    off = abs(state.ahead)
    if off <= _LITTLE_AHEAD + state.exact_to:
        return
    text = f"the database's clock is {span(off)} {'ahead of' if state.ahead > timedelta() else 'behind'} this machine's"
    step = "let a time server set both: timedatectl set-ntp true"
    yield (wrong if off > _FAR_AHEAD else warn)("clock", text, step)


def _vacuum(state: DatabaseState) -> Iterator[Finding]:
    if not state.autovacuum:
        text = "autovacuum is off: the queue's table grows, and claims become slow"
        yield wrong("vacuum", text, f"ALTER SYSTEM SET autovacuum = on (and track_counts), {_RELOAD}")
    held = state.holding
    if held is not None and held.age > _LONG_HELD:
        text = f"{held.what} has a transaction open for {span(held.age)}: what was removed since cannot be vacuumed"
        yield warn("vacuum", text, "end it: SELECT pg_terminate_backend(…), or ROLLBACK PREPARED")
    if state.queue_dead > max(_MANY_DEAD, _DEAD_SHARE * state.queue_rows):
        last = f"vacuumed {ago(state.vacuumed_at, state.now)}" if state.vacuumed_at else "never vacuumed"
        text = f"the queue has {state.queue_dead:,} dead rows for {state.queue_rows:,} live ones, {last}"
        yield warn("vacuum", text, "see what holds it up above; VACUUM queue, and more autovacuum_max_workers")
    if not state.sees_all:
        text = f"our role {state.role} does not see others' transactions, nor whether standbys keep up"
        yield ok("vacuum", text, f"GRANT pg_monitor TO {state.role}, to have them looked at")


def _slots(state: DatabaseState) -> Iterator[Finding]:
    for slot in state.slots:
        if slot.size >= _LARGE_SLOT:
            text = f"nobody reads the replication slot {slot.name}, and {size_text(slot.size)} of WAL are kept for it"
            yield warn("slots", text, f"bring its reader back, or SELECT pg_drop_replication_slot('{slot.name}')")


def check_nodes(sight: Sight) -> list[Finding]:
    """Say which nodes there are, and whether they are alike."""
    state = sight.database
    return judge_nodes(state) if isinstance(state, DatabaseState) and state.schema is not None else []


def judge_nodes(state: DatabaseState) -> list[Finding]:
    """Judge the nodes that share a database."""
    members = [node for node in state.nodes if node.is_member]
    if not members:
        return [ok("nodes", "none runs")]
    found = []
    leader = next((node.name for node in members if node.is_leader), None)
    if leader is None:
        text = "none of them leads: retention, new days' tables and alarms wait"
        found.append(warn("nodes", text, "it settles within seconds; else see the nodes' logs for `leader`"))
    versions, rules = {node.version for node in members}, {node.rules for node in members}
    if len(versions) > 1:
        text = f"different versions: {listed(f'{node.name} {node.version}' for node in members)}"
        found.append(warn("nodes", text, "bring all to the newest"))
    if len(rules) > 1:
        text = f"different rules: {listed(f'{node.name} {node.rules[:12]}' for node in members)}"
        found.append(warn("nodes", text, "bring the same configuration to all, then hookline reload at each"))
    missed = [
        node
        for node in state.nodes
        if not node.is_member and not node.is_leaving and state.now and state.now - node.seen_at > _MISSED_AFTER
    ]
    for node in missed:
        text = f"{node.name} was last seen {ago(node.seen_at, state.now)}, and did not say that it stops"
        found.append(warn("nodes", text, "start it again; after a day it is forgotten"))
    if not found:
        text = f"{counted(len(members), 'node')} of Hookline {members[0].version}, alike; {leader} leads"
        found.append(ok("nodes", text, "hookline nodes"))
    return found
