-- Schema 6: what the admin API is asked by, and with: paused sources, tokens; unrouted events by source.

-- Sources that are paused; one that is not has no row.
CREATE TABLE pauses (
    source ANY     PRIMARY KEY,
    since  INTEGER NOT NULL,
    reason ANY     NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    name         ANY     PRIMARY KEY,
    digest       TEXT    NOT NULL,     -- SHA-256 of the token, in hexadecimal digits
    scope        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,              -- NULL: never
    last_used_at INTEGER               -- a full hour; NULL: never
) STRICT, WITHOUT ROWID;

-- How many stand behind others in a lane is counted from here.
CREATE INDEX deliveries_behind ON deliveries (lane_id) WHERE state = 7;

-- A paused source leaves many: the others' are found past them.
CREATE INDEX events_unrouted_of_source ON events (source) WHERE is_unrouted = 1;
