-- What removes events for good, wherever something of them is kept. See deleting.py and traces.py.

-- name: begin_deletion
INSERT INTO deletions (audit_id, criteria, up_to, after, left_over)
SELECT $1, $2, coalesce(max(id), 0), 0, 0 FROM events;

-- name: deletion
-- Locked: two leaders that follow each other may both be at it.
SELECT criteria, up_to, after, left_over FROM deletions WHERE audit_id = $1 FOR UPDATE;

-- name: move_on
UPDATE deletions SET after = $2, left_over = $3 WHERE audit_id = $1;

-- name: end_deletion
DELETE FROM deletions WHERE audit_id = $1;

-- name: keep_retention_out
-- And what would be repeated or routed again: see operate.sql.
SELECT pg_advisory_xact_lock(4, hashtext(current_schema()));

-- name: end_of_events
SELECT id FROM events WHERE id > $1 AND id <= $2 ORDER BY id LIMIT 1 OFFSET $3;

-- name: to_delete
SELECT id, request_id, 1 + (SELECT length(body) FROM requests WHERE requests.id = request_id) / 4096
    + (SELECT coalesce(sum(1 + attempts + crashes), 0)::integer FROM all_deliveries WHERE event_id = events.id) AS cost
FROM events WHERE id > $1 AND id <= $2
    AND ($3::text IS NULL OR source = $3) AND ($4::text IS NULL OR type = $4) AND ($5::text IS NULL OR tenant = $5)
ORDER BY id LIMIT $6;

-- name: named_to_delete
SELECT id, request_id, 1 + (SELECT length(body) FROM requests WHERE requests.id = request_id) / 4096
    + (SELECT coalesce(sum(1 + attempts + crashes), 0)::integer FROM all_deliveries WHERE event_id = events.id) AS cost
FROM events WHERE id = ANY ($1::bigint[]) ORDER BY id;

-- name: orders_and_memories
-- What the deliveries of these events stand in, and what remembers them.
WITH wholes AS (
    SELECT part_of AS id FROM deliveries WHERE event_id = ANY ($1::bigint[]) AND part_of IS NOT NULL
    UNION SELECT parts_of FROM deliveries WHERE event_id = ANY ($1::bigint[]) AND parts_of IS NOT NULL
    UNION SELECT parts_of FROM queue WHERE event_id = ANY ($1::bigint[]) AND parts_of IS NOT NULL
)
SELECT order_queue, NULL AS memory FROM queue WHERE event_id = ANY ($1::bigint[]) AND order_queue IS NOT NULL
UNION ALL SELECT NULL, memory FROM digests WHERE delivery_id IN (SELECT id FROM wholes)
UNION ALL SELECT NULL, memory FROM once
WHERE summary IN (SELECT id FROM all_deliveries WHERE parts_of IN (SELECT id FROM wholes))
UNION ALL SELECT NULL, memory FROM changed WHERE event_id = ANY ($1::bigint[]);

-- name: lock_waiting
-- So that nobody claims or records them meanwhile: those of these events, and those that act for their parts.
SELECT count(*) FROM (
    SELECT id FROM queue WHERE event_id = ANY ($1::bigint[]) OR parts_of IN (
        SELECT part_of FROM deliveries WHERE event_id = ANY ($1::bigint[]) AND part_of IS NOT NULL
    ) ORDER BY id FOR UPDATE
) AS locked;

-- name: deliveries_to_delete
SELECT id, event_id, state, part_of, parts_of FROM all_deliveries WHERE event_id = ANY ($1::bigint[]) ORDER BY id;

-- name: known_own
-- Events about ourselves, by the keys that tell of a delivery.
SELECT k.digest, k.event_id, e.request_id
FROM dedupe AS k JOIN events AS e ON e.id = k.event_id WHERE k.digest = ANY ($1::bytea[]) AND e.source = 'hookline';

-- name: acting
-- Those that act for what was collected or suppressed.
SELECT parts_of, id, event_id, state FROM all_deliveries WHERE parts_of = ANY ($1::bigint[]) ORDER BY id;

-- name: parts_left
SELECT count(*), count(*) FILTER (WHERE state = 6), max(id) FROM deliveries WHERE part_of = $1;

-- name: event_of_part
SELECT event_id FROM deliveries WHERE part_of = $1 AND id = $2;

-- name: move_waiting
UPDATE queue SET event_id = $3 WHERE event_id = $1 AND id = $2;

-- name: move_ended
UPDATE deliveries SET event_id = $3 WHERE event_id = $1 AND id = $2;

-- name: move_attempts
UPDATE attempts SET event_id = $3 WHERE event_id = $1 AND delivery_id = $2;

-- name: recount_waiting
UPDATE queue SET stands_for = $2 WHERE parts_of = $1 OR id = $1;

-- name: recount_ended
UPDATE deliveries SET stands_for = $2 WHERE parts_of = $1 OR id = $1;

-- name: recount_digest
UPDATE digests SET members = $2 WHERE delivery_id = $1;

-- name: silence_attempts
UPDATE attempts SET note = '', answer = '', decision = 'what it said was removed with an event'
WHERE event_id = ANY ($1::bigint[]) AND delivery_id = ANY ($2::bigint[]);

-- name: forget_summaries
UPDATE once SET summary = NULL WHERE summary = ANY ($1::bigint[]);

-- name: forget_values
DELETE FROM changed WHERE event_id = ANY ($1::bigint[]);

-- name: forget_previous_waiting
UPDATE queue SET previous = NULL, previous_from = NULL,
    why = CASE WHEN why LIKE 'changed from %' THEN 'changed from what was removed, which is not asked for' ELSE why END
WHERE previous_from = ANY ($1::bigint[]);

-- name: forget_previous_ended
UPDATE deliveries SET previous = NULL, previous_from = NULL,
    why = CASE WHEN why LIKE 'changed from %' THEN 'changed from what was removed, which is not asked for' ELSE why END
WHERE previous_from = ANY ($1::bigint[]);

-- name: forget_types
-- Of a source's last event only the type is kept. The table is short: a row for each source, hour and node.
UPDATE source_hours SET last_type = '' WHERE last_id = ANY ($1::bigint[]);

-- name: keys_of
SELECT id, source, key FROM events WHERE id = ANY ($1::bigint[]);

-- name: forget_keys
DELETE FROM dedupe USING unnest($1::bytea[], $2::bigint[]) AS given (digest, event_id)
WHERE dedupe.digest = given.digest AND dedupe.event_id = given.event_id RETURNING dedupe.digest;

-- name: places_in
SELECT request_id, pointer FROM events WHERE id = ANY ($1::bigint[]) AND pointer IS NOT NULL;

-- name: shared_request
SELECT content_type, body, document FROM requests WHERE id = $1 FOR UPDATE;

-- name: rewrite_request
UPDATE requests SET content_type = $2, body = $3, document = $4, digest = $5 WHERE id = $1;

-- name: delete_attempts
DELETE FROM attempts WHERE event_id = ANY ($1::bigint[]) AND delivery_id = ANY ($2::bigint[]);

-- name: delete_waiting
DELETE FROM queue WHERE id = ANY ($1::bigint[]) RETURNING order_queue;

-- name: delete_ended
DELETE FROM deliveries WHERE event_id = ANY ($1::bigint[]) AND id = ANY ($2::bigint[]);

-- name: delete_events
DELETE FROM events WHERE id = ANY ($1::bigint[]);

-- name: delete_requests
-- Those of the given whose events are all gone.
DELETE FROM requests WHERE id = ANY ($1::bigint[]) AND NOT EXISTS (
    SELECT 1 FROM events WHERE events.id BETWEEN requests.id AND requests.last_event_id AND events.request_id = requests.id
);
