-- What removes events for good, wherever something of them is kept. See deleting.py and traces.py.

-- name: begin_deletion
INSERT INTO deletions (audit_id, criteria, up_to, after, left)
SELECT ?, ?, coalesce(max(id), 0), 0, 0 FROM events;

-- name: deletion
SELECT criteria, up_to, after, left FROM deletions WHERE audit_id = ?;

-- name: move_on
UPDATE deletions SET after = ?, left = ? WHERE audit_id = ?;

-- name: end_deletion
DELETE FROM deletions WHERE audit_id = ?;

-- name: end_of_events
SELECT id FROM events WHERE id > ? AND id <= ? ORDER BY id LIMIT 1 OFFSET ?;

-- name: to_delete
-- One row, here and below: each row that is fetched costs a round of the interpreter's lock.
SELECT json_group_array(json_array(id, request_id, cost)) FROM (
    SELECT id, request_id, 1 + (SELECT length(body) FROM requests WHERE requests.id = request_id) / 4096
        + (SELECT coalesce(sum(1 + attempts + crashes), 0) FROM deliveries WHERE event_id = events.id) AS cost
    FROM events WHERE id > :after AND id <= :to
        AND (:source IS NULL OR source = :source)
        AND (:type IS NULL OR type = :type)
        AND (:tenant IS NULL OR tenant = :tenant)
    ORDER BY id LIMIT :limit
);

-- name: named_to_delete
SELECT json_group_array(json_array(id, request_id, cost)) FROM (
    SELECT id, request_id, 1 + (SELECT length(body) FROM requests WHERE requests.id = request_id) / 4096
        + (SELECT coalesce(sum(1 + attempts + crashes), 0) FROM deliveries WHERE event_id = events.id) AS cost
    FROM events WHERE id IN (VALUES (?)) ORDER BY id
);

-- name: deliveries_to_delete
SELECT json_group_array(json_array(d.id, d.event_id, d.state, x.part_of, x.parts_of))
FROM deliveries AS d LEFT JOIN delivery_extras AS x ON x.delivery_id = d.id WHERE d.event_id IN (VALUES (?));

-- name: known_own
-- Events about ourselves, by the keys that tell of a delivery.
SELECT json_group_array(json_array(hex(k.digest), k.event_id, e.request_id))
FROM dedupe AS k JOIN events AS e ON e.id = k.event_id WHERE k.digest IN (VALUES (?)) AND e.source = 'hookline';

-- name: acting
-- Those that act for what was collected or suppressed.
SELECT json_group_array(json_array(x.parts_of, d.id, d.event_id, d.state))
FROM delivery_extras AS x JOIN deliveries AS d ON d.id = x.delivery_id WHERE x.parts_of IN (VALUES (?));

-- name: parts_left
SELECT count(*), count(CASE WHEN d.state = 6 THEN 1 END), max(d.id)
FROM delivery_extras AS x JOIN deliveries AS d ON d.id = x.delivery_id WHERE x.part_of = ?;

-- name: move_acting
UPDATE deliveries SET event_id = (SELECT event_id FROM deliveries WHERE id = ?) WHERE id = ?;

-- name: recount_parts
UPDATE delivery_extras SET stands_for = ? WHERE parts_of = ?;

-- name: recount_first
UPDATE delivery_extras SET stands_for = ? WHERE delivery_id = ?;

-- name: recount_digest
UPDATE digests SET members = ? WHERE delivery_id = ?;

-- name: silence_attempts
UPDATE attempts SET note = '', answer = '', decision = 'what it said was removed with an event' WHERE delivery_id IN (VALUES (?));

-- name: forget_summaries
UPDATE once SET summary = NULL WHERE summary IN (VALUES (?));

-- name: forget_values
DELETE FROM changed WHERE event_id IN (VALUES (?));

-- name: forget_previous
UPDATE delivery_extras SET previous = NULL, previous_from = NULL,
    why = CASE WHEN why LIKE 'changed from %' THEN 'changed from what was removed, which is not asked for' ELSE why END
WHERE previous_from IN (VALUES (?));

-- name: forget_types
-- Of a source's last event only the type is kept. The table is short: a row for each source and hour.
UPDATE source_hours SET last_type = '' WHERE last_id IN (VALUES (?));

-- name: keys_of
SELECT id, source, key FROM events WHERE id IN (VALUES (?));

-- name: forget_keys
DELETE FROM dedupe WHERE (digest, event_id) IN (VALUES (?, ?));

-- name: places_in
SELECT request_id, pointer FROM events WHERE id IN (VALUES (?)) AND pointer IS NOT NULL;

-- name: shared_request
SELECT content_type, body, document FROM requests WHERE id = ?;

-- name: rewrite_request
UPDATE requests SET content_type = ?, body = ?, document = ?, digest = ? WHERE id = ?;
