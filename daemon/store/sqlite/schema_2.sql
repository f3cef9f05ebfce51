-- Schema 2: what an event is about; documents that are not what the body alone says; what each source received.

ALTER TABLE events ADD COLUMN subject ANY;

-- JSON of what the request's events were read from; NULL, which is the rule: what reading the body again gives.
ALTER TABLE requests ADD COLUMN document ANY;

-- Events by source and hour: a source is asked for its last event without a walk through everybody's.
CREATE TABLE source_hours (
    source    ANY     NOT NULL,
    hour      INTEGER NOT NULL,        -- hours since 1970
    events    INTEGER NOT NULL,
    last_id   INTEGER NOT NULL,        -- the last event, which may be gone by now, and its type
    last_type ANY     NOT NULL,
    PRIMARY KEY (source, hour)
) STRICT, WITHOUT ROWID;

-- Beside max(), SQLite takes `type` from the row that holds the maximum.
INSERT INTO source_hours (source, hour, events, last_id, last_type)
SELECT source, hour, events, last_id, type FROM (
    SELECT source, received_at / 3600000000 AS hour, count(*) AS events, max(id) AS last_id, type FROM events GROUP BY 1, 2
);
