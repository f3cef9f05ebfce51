-- Schema 4: what makes a delivery wait for others, and what became of it; how each lane fares.
--
-- `deliveries.state` has one more number: 7, pending behind an earlier one of its order. It has no place in
-- deliveries_pending, so a claim costs the same however many stand behind.

-- What most deliveries do not have.
CREATE TABLE delivery_extras (
    delivery_id INTEGER PRIMARY KEY,
    order_key   ANY,                   -- JSON
    previous    ANY,                   -- JSON; what `changed` knew before
    why         ANY     NOT NULL,      -- why it was suppressed
    part_of     INTEGER,               -- the delivery that acts for it
    parts_of    INTEGER,               -- whose parts it acts for: its own, or those of the one that it repeats or sums up
    is_digest   INTEGER NOT NULL,
    stands_for  INTEGER NOT NULL,      -- how many parts there are
    is_replay   INTEGER NOT NULL       -- by the rules of now; a repeated delivery has replay_of
) STRICT;

CREATE INDEX extras_by_whole ON delivery_extras (part_of) WHERE part_of IS NOT NULL;
CREATE INDEX extras_by_parts ON delivery_extras (parts_of) WHERE parts_of IS NOT NULL;

-- Deliveries with an order that have not ended. The one with the lowest place of its queue is the head.
CREATE TABLE ordered (
    delivery_id INTEGER PRIMARY KEY,
    queue       INTEGER NOT NULL,      -- 64 bits of a digest of lane and order
    place       INTEGER NOT NULL,
    lane_id     INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX ordered_by_place ON ordered (queue, place);

-- What `changed`, `once` and `digest` remember, under digests of rule, step and the values of `per`.
CREATE TABLE changed (
    memory     TEXT PRIMARY KEY,
    value      ANY     NOT NULL,       -- JSON
    touched_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX changed_by_touch ON changed (touched_at);

CREATE TABLE once (
    memory   TEXT PRIMARY KEY,
    until_at INTEGER NOT NULL,
    first    INTEGER NOT NULL,         -- the delivery that acted
    summary  INTEGER                   -- the one that will tell of the others
) STRICT, WITHOUT ROWID;

CREATE INDEX once_by_end ON once (until_at);

-- Digests that still take events.
CREATE TABLE digests (
    memory        TEXT PRIMARY KEY,
    delivery_id   INTEGER NOT NULL UNIQUE,
    flush_on_stop INTEGER NOT NULL,
    members       INTEGER NOT NULL,
    size          INTEGER NOT NULL     -- bytes of its members' requests
) STRICT, WITHOUT ROWID;

-- What was made of an attempt, for people.
ALTER TABLE attempts ADD COLUMN decision ANY NOT NULL DEFAULT '';

-- Since when a lane only fails, and how much of its failure budget was told of, in per cent.
ALTER TABLE lanes ADD COLUMN failing_since INTEGER;
ALTER TABLE lanes ADD COLUMN told INTEGER NOT NULL DEFAULT 0;

-- Attempts by lane and hour: that ended delivered, and that did not.
CREATE TABLE lane_hours (
    lane_id   INTEGER NOT NULL,
    hour      INTEGER NOT NULL,        -- hours since 1970
    delivered INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    PRIMARY KEY (lane_id, hour)
) STRICT, WITHOUT ROWID;
