-- What a bounded search asks (search.py): stretches of rows, newest first, and which of them are wanted. A list of ids
-- is one row, because each row that is fetched costs a round of the interpreter's lock.

-- name: pending
SELECT coalesce(sum(value), 0) FROM counters WHERE name = 'pending';

-- name: dead
SELECT coalesce(sum(value), 0) FROM counters WHERE name = 'dead';

-- name: events
FROM events AS e WHERE e.id >= :low AND e.id < :high

-- name: events_with_bodies
FROM events AS e JOIN requests AS r ON r.id = e.request_id WHERE e.id >= :low AND e.id < :high

-- name: event_end
SELECT e.id

-- name: event_count
SELECT count(*), min(e.id)

-- name: event_ids
SELECT json_group_array(id) FROM (SELECT e.id

-- name: event_sizes
-- Where a document was kept beside the body, both are looked into.
SELECT json_group_array(json_array(id, request_id, size)) FROM (
    SELECT e.id, e.request_id, length(r.body) * (1 + (r.document IS NOT NULL)) AS size

-- name: event_last
ORDER BY e.id DESC LIMIT 1 OFFSET :skip

-- name: event_most
ORDER BY e.id DESC LIMIT :most)

-- name: of_ids
AND e.id IN (SELECT value FROM json_each(:ids))

-- name: of_source
AND e.source = :source

-- name: of_type
AND e.type = :type

-- name: of_glob
AND e.type GLOB :glob

-- name: of_tenant
AND e.tenant = :tenant

-- name: of_sender_id
AND e.sender_id = :sender_id

-- name: of_key
AND e.key = :key

-- name: of_rule
AND e.matched IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(e.matched) AS m WHERE m.value = :rule)

-- name: matched
AND e.matched IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(e.matched) AS m WHERE m.value <> '')

-- name: unmatched
-- By a fallback perhaps.
AND e.is_unrouted = 0
AND (e.matched IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(e.matched) AS m WHERE m.value <> ''))

-- name: unrouted
AND e.is_unrouted = 1

-- name: duplicated
AND e.duplicates > 0

-- name: conflicting
AND e.conflicts > 0

-- name: waiting
AND EXISTS (SELECT 1 FROM deliveries AS d WHERE d.event_id = e.id AND d.state IN (0, 7))

-- name: dead_letters
AND EXISTS (SELECT 1 FROM deliveries AS d WHERE d.event_id = e.id AND d.state = 3)

-- name: waiting_events
-- By deliveries_pending and deliveries_apart.
SELECT json_group_array(event_id) FROM (
    SELECT event_id FROM deliveries WHERE state = 0
    UNION SELECT event_id FROM deliveries WHERE state = 7 AND state >= 3
);

-- name: dead_events
SELECT json_group_array(event_id) FROM (SELECT DISTINCT event_id FROM deliveries WHERE state = 3 AND state >= 3);

-- name: sources
-- One look into the key for each.
WITH RECURSIVE known (source) AS (
    SELECT min(source) FROM source_hours
    UNION ALL
    SELECT (SELECT min(source) FROM source_hours WHERE source > known.source) FROM known WHERE known.source IS NOT NULL
)
SELECT source FROM known WHERE source IS NOT NULL;

-- name: events_of_keys
SELECT json_group_array(event_id) FROM dedupe AS k WHERE k.digest IN (VALUES (?))
    AND EXISTS (SELECT 1 FROM events WHERE events.id = k.event_id);

-- name: hours_of_source
SELECT json_group_array(json_array(hour, last_id)) FROM source_hours WHERE source = ?;

-- name: hours_of_rule
SELECT json_group_array(json_array(hour, last_id)) FROM rule_hours WHERE rule = ?;

-- name: bodies
-- Which of some requests hold one of the forms of a text.
SELECT json_group_array(r.id) FROM requests AS r
WHERE EXISTS (
    SELECT 1 FROM (VALUES (?)) AS form
    WHERE instr(r.body, form.column1) > 0
        OR (r.document IS NOT NULL AND instr(CAST(r.document AS BLOB), form.column1) > 0)
) AND r.id IN (SELECT value FROM json_each(?));

-- name: event_rows
SELECT e.id, e.source, e.type, e.sender_id, e.key, e.tenant, e.subject, e.occurred_at, e.received_at, e.matched,
    e.is_unrouted, e.duplicates, e.conflicts, length(r.body)
FROM events AS e JOIN requests AS r ON r.id = e.request_id
WHERE e.id IN (SELECT value FROM json_each(?)) ORDER BY e.id DESC;

-- name: states
-- CROSS JOIN: in the order of the list, so that what is cut off belongs to its end.
SELECT json_group_array(json_array(event_id, state)) FROM (
    SELECT d.event_id, d.state FROM json_each(?) AS wanted CROSS JOIN deliveries AS d ON d.event_id = wanted.value
    LIMIT ?
);

-- name: deliveries
FROM deliveries AS d WHERE d.id >= :low AND d.id < :high

-- name: delivery_end
SELECT d.id

-- name: delivery_count
SELECT count(*), min(d.id)

-- name: delivery_ids
SELECT json_group_array(id) FROM (SELECT d.id

-- name: delivery_last
ORDER BY d.id DESC LIMIT 1 OFFSET :skip

-- name: delivery_most
ORDER BY d.id DESC LIMIT :most)

-- name: delivery_of_ids
AND d.id IN (SELECT value FROM json_each(:ids))

-- name: delivery_of_event
AND d.event_id = :event_id

-- name: delivery_of_source
AND EXISTS (SELECT 1 FROM events AS e WHERE e.id = d.event_id AND e.source = :source)

-- name: delivery_of_destination
AND d.step_id IN (SELECT id FROM steps WHERE destination = :destination)

-- name: delivery_of_rule
AND d.step_id IN (SELECT id FROM steps WHERE rule = :rule)

-- name: delivery_in_state
-- Pending has two numbers.
AND d.state IN (:state, :same_state)

-- name: delivery_apart
-- The second half is what lets the planner take deliveries_apart.
AND d.state = :state AND d.state >= 3

-- name: delivery_not_replayed
AND NOT EXISTS (SELECT 1 FROM deliveries AS again WHERE again.event_id = d.event_id AND again.replay_of = d.id)

-- name: pending_deliveries
-- The newest of all that wait. Its indexes are walked from their ends, whose LIMIT keeps that order: what is newest stands
-- there mostly, and the rest has no place among the few that are sorted. The plus sign keeps the id from being the way in.
SELECT json_group_array(id) FROM (
    SELECT id FROM (
        SELECT id FROM (
            SELECT id FROM deliveries WHERE state = 0 AND +id >= :low AND +id < :high
            ORDER BY lane_id DESC, due_at DESC LIMIT -1
        )
        UNION ALL SELECT id FROM (
            SELECT id FROM deliveries WHERE state = 7 AND state >= 3 AND id >= :low AND id < :high
            ORDER BY id DESC LIMIT :most
        )
    ) ORDER BY +id DESC LIMIT :most
);

-- name: pending_deliveries_of_destination
-- In the same way, in the lanes of its steps.
SELECT json_group_array(id) FROM (
    SELECT id FROM (
        SELECT id FROM (
            SELECT id FROM deliveries WHERE state = 0 AND +id >= :low AND +id < :high
                AND lane_id IN (SELECT lane_id FROM steps WHERE destination = :destination)
            ORDER BY lane_id DESC, due_at DESC LIMIT -1
        )
        UNION ALL SELECT id FROM (
            SELECT id FROM deliveries WHERE state = 7 AND +id >= :low AND +id < :high
                AND lane_id IN (SELECT lane_id FROM steps WHERE destination = :destination)
            ORDER BY lane_id DESC, id DESC LIMIT -1
        )
    ) ORDER BY +id DESC LIMIT :most
);

-- name: running_deliveries
SELECT json_group_array(id) FROM (
    SELECT id FROM deliveries WHERE state = 1 AND +id >= :low AND +id < :high ORDER BY +id DESC LIMIT :most
);
