-- Schema 3: how often each rule matched, and when last.

-- Events by rule and hour. Fallbacks, which have no names, are counted together under "".
CREATE TABLE rule_hours (
    rule    ANY     NOT NULL,
    hour    INTEGER NOT NULL,          -- hours since 1970
    events  INTEGER NOT NULL,
    last_id INTEGER NOT NULL,          -- the last event, which may be gone by now
    PRIMARY KEY (rule, hour)
) STRICT, WITHOUT ROWID;

-- One row: since when `rule_hours` knows everything, microseconds since 1970. The first start writes it.
CREATE TABLE rules_counted (since INTEGER NOT NULL) STRICT;

-- DISTINCT: several fallbacks may have matched one event.
INSERT INTO rule_hours (rule, hour, events, last_id)
SELECT m.value, e.received_at / 3600000000, count(DISTINCT e.id), max(e.id)
FROM events AS e, json_each(e.matched) AS m GROUP BY 1, 2;

-- Not the first id's: within a millisecond ids are in no order.
INSERT INTO rules_counted (since)
SELECT since FROM (SELECT min(received_at) AS since FROM events) WHERE since IS NOT NULL;
