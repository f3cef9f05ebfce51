-- Schema 1. Times are microseconds since 1970, UTC. Ids are the 63-bit numbers behind `evt_…` and `dlv_…`; they
-- rise with time, so new rows land at the end of their tables and ranges of time are ranges of ids.
--
-- ANY columns hold text that comes from outside: text as a rule, and a blob where it holds lone surrogates, which
-- have no UTF-8 (JSON may say "\ud800").

-- "Hook": tells our files from other people's databases.
PRAGMA application_id = 1215262571;

-- A body as received, once, however many events it holds.
CREATE TABLE requests (
    id            INTEGER PRIMARY KEY, -- the lowest id of its stored events
    last_event_id INTEGER NOT NULL,    -- the highest: the request goes when no event in between refers to it
    content_type  ANY  NOT NULL,
    client_ip     ANY  NOT NULL,
    headers       TEXT NOT NULL,       -- JSON
    query         TEXT NOT NULL,       -- JSON
    digest        BLOB NOT NULL,       -- SHA-256 of the body
    body          BLOB NOT NULL
) STRICT;

CREATE TABLE events (
    id          INTEGER PRIMARY KEY,
    request_id  INTEGER NOT NULL,
    rule_set_id INTEGER NOT NULL,
    source      ANY NOT NULL,
    type        ANY NOT NULL,
    sender_id   ANY,
    key         ANY NOT NULL,
    tenant      ANY,
    occurred_at INTEGER,
    received_at INTEGER NOT NULL,
    pointer     TEXT,                  -- JSON array into the parsed body; NULL: the whole body
    matched     TEXT,                  -- JSON array of rules' names; NULL: none
    is_unrouted INTEGER NOT NULL,
    duplicates  INTEGER NOT NULL DEFAULT 0,
    conflicts   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX events_unrouted ON events (is_unrouted) WHERE is_unrouted = 1;

-- Which event a key stands for; outlives the event. A digest of source and key, because the text takes three times the room;
-- the window is counted from the event's id.
CREATE TABLE dedupe (
    digest   BLOB PRIMARY KEY,
    event_id INTEGER NOT NULL,
    content  INTEGER NOT NULL          -- 64 bits of a digest of what came: another one with the same key is a conflict
) STRICT, WITHOUT ROWID;

-- Names that deliveries share, once each.
CREATE TABLE lanes (
    id      INTEGER PRIMARY KEY,
    name    ANY NOT NULL UNIQUE,
    is_held INTEGER NOT NULL DEFAULT 0,
    reason  ANY NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE steps (
    id          INTEGER PRIMARY KEY,
    digest      ANY NOT NULL,          -- of a text
    rule        ANY NOT NULL,
    destination ANY NOT NULL,
    lane_id     INTEGER NOT NULL,
    UNIQUE (digest, rule, destination, lane_id)
) STRICT;

-- State: 0 pending, 1 running, 2 delivered, 3 dead, 4 cancelled, 5 suppressed, 6 collected.
CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY,
    event_id    INTEGER NOT NULL,
    step_id     INTEGER NOT NULL,
    lane_id     INTEGER NOT NULL,      -- the step's, here for the index below
    state       INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,      -- while it runs, when it began; afterwards, when it ended
    token       INTEGER,               -- with its lease: while running
    lease_until INTEGER,
    attempts    INTEGER NOT NULL DEFAULT 0,
    crashes     INTEGER NOT NULL DEFAULT 0,
    replay_of   INTEGER
) STRICT;

-- A claim asks lane by lane, so a million rows of a dead destination cost the others nothing.
CREATE INDEX deliveries_pending ON deliveries (lane_id, due_at) WHERE state = 0;
CREATE INDEX deliveries_running ON deliveries (lease_until) WHERE state = 1;
-- Dead letters and whatever else ended otherwise than delivered: few, and looked for.
CREATE INDEX deliveries_apart ON deliveries (state) WHERE state >= 3;
CREATE INDEX deliveries_by_event ON deliveries (event_id);

CREATE TABLE attempts (
    delivery_id INTEGER NOT NULL,
    position    INTEGER NOT NULL,      -- counts crashes too, which `number` does not
    number      INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    duration    INTEGER NOT NULL,      -- microseconds
    outcome     TEXT    NOT NULL,
    status      INTEGER,
    note        ANY     NOT NULL,
    answer      ANY     NOT NULL,
    PRIMARY KEY (delivery_id, position)
) STRICT, WITHOUT ROWID;

-- Rule files, manifests of rule sets, steps.
CREATE TABLE texts (
    digest ANY  PRIMARY KEY,
    text   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE rule_sets (
    id      INTEGER PRIMARY KEY,
    version ANY NOT NULL UNIQUE
) STRICT;

-- What went live, in order; the last row is the last good set.
CREATE TABLE went_live (
    id          INTEGER PRIMARY KEY,
    rule_set_id INTEGER NOT NULL,
    at          INTEGER NOT NULL
) STRICT;

CREATE TABLE rejections (
    source    ANY     NOT NULL,
    reason    ANY     NOT NULL,
    hour      INTEGER NOT NULL,        -- hours since 1970
    first_at  INTEGER NOT NULL,
    last_at   INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    detail    ANY     NOT NULL,        -- of the last one, as is the address
    client_ip ANY     NOT NULL,
    PRIMARY KEY (source, reason, hour)
) STRICT, WITHOUT ROWID;

-- How many events and deliveries by state stand above, and how many duplicates and rejections there ever were; kept with
-- every change, because counting a million rows takes too long to be asked often.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
