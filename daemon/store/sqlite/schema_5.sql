-- Schema 5: what was done by hand and by retention; what the daemon knows of its own upkeep; deletion for good.

-- Never removed within a year.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,       -- rises with time
    at      INTEGER NOT NULL,
    who     ANY     NOT NULL,
    what    TEXT    NOT NULL,
    subject ANY     NOT NULL,
    count   INTEGER NOT NULL,
    counts  TEXT    NOT NULL,          -- JSON: how many of each kind
    reason  ANY     NOT NULL,
    day     INTEGER                    -- days since 1970: the row sums that day up; NULL: it stands for one deed
) STRICT;

CREATE UNIQUE INDEX audit_of_days ON audit (what, day) WHERE day IS NOT NULL;

CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT    NOT NULL,            -- JSON
    at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Deletions under way; a daemon that was killed goes on with them.
CREATE TABLE deletions (
    audit_id INTEGER PRIMARY KEY,
    criteria TEXT    NOT NULL,         -- JSON
    up_to    INTEGER NOT NULL,         -- the highest event there was when it was asked for
    after    INTEGER NOT NULL,         -- how far this round has come
    left     INTEGER NOT NULL          -- how many events this round had to leave, because deliveries of them ran
) STRICT;

-- Whose value it is, so that it can be deleted with its event; NULL: not known, or nobody's any more.
ALTER TABLE changed ADD COLUMN event_id INTEGER;
ALTER TABLE delivery_extras ADD COLUMN previous_from INTEGER;

CREATE INDEX changed_by_event ON changed (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX extras_by_previous ON delivery_extras (previous_from) WHERE previous_from IS NOT NULL;
CREATE INDEX once_by_summary ON once (summary) WHERE summary IS NOT NULL;
