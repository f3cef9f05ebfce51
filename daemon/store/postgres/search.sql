-- What a bounded search asks (walk.py): `looked`, which rows are wanted, `looked_from`, where the rows lie, and
-- `events_looked_at` or `deliveries_looked_at`.

-- name: looked
-- Newest first: the rows that are wanted, each with how many were looked at up to there, and the last that was looked
-- at. They come one by one until there are enough. The LIMIT inside is a fence: of no more rows than that anything is
-- asked, and in no other order.
SELECT id, other, place, is_wanted FROM (
    SELECT id, other, is_wanted, row_number() OVER w AS place, lead(id) OVER w IS NULL AS is_last
    FROM (SELECT id, other, (true

-- name: looked_from
) AS is_wanted FROM (

-- name: events_looked_at
ORDER BY id DESC LIMIT :most) AS e) AS asked WINDOW w AS (ORDER BY id DESC)
) AS numbered WHERE is_wanted OR is_last ORDER BY id DESC LIMIT :wanted

-- name: deliveries_looked_at
ORDER BY id DESC LIMIT :most) AS d) AS asked WINDOW w AS (ORDER BY id DESC)
) AS numbered WHERE is_wanted OR is_last ORDER BY id DESC LIMIT :wanted

-- name: events
SELECT e.*, e.request_id AS other FROM events AS e WHERE e.id >= :low AND e.id < :high

-- name: unrouted_events
-- By events_unrouted, or events_unrouted_by_id.
SELECT e.*, e.request_id AS other FROM events AS e WHERE e.id >= :low AND e.id < :high AND e.is_unrouted

-- name: listed_events
SELECT e.*, e.request_id AS other FROM events AS e WHERE e.id = ANY(:ids) AND e.id >= :low AND e.id < :high

-- name: waiting_events
-- Along queue_of_event. OFFSET 0, here and below, keeps the planner from reading all there is once instead of a row's few
-- each time.
SELECT e.*, e.request_id AS other FROM (
    SELECT DISTINCT event_id FROM queue WHERE state IN (0, 7) AND event_id >= :low AND event_id < :high
    ORDER BY event_id DESC LIMIT :most
) AS w CROSS JOIN LATERAL (SELECT * FROM events WHERE id = w.event_id OFFSET 0) AS e WHERE e.id = w.event_id

-- name: dead_events
-- Along deliveries_dead.
SELECT e.*, e.request_id AS other FROM (
    SELECT DISTINCT event_id FROM deliveries WHERE state = 3 AND event_id >= :low AND event_id < :high
    ORDER BY event_id DESC LIMIT :most
) AS w CROSS JOIN LATERAL (SELECT * FROM events WHERE id = w.event_id OFFSET 0) AS e WHERE e.id = w.event_id

-- name: of_source
AND e.source = :source

-- name: of_type
AND e.type = :type

-- name: of_glob
AND e.type ~ :glob

-- name: of_tenant
AND e.tenant = :tenant

-- name: of_sender_id
AND e.sender_id = :sender_id

-- name: of_key
AND e.key = :key

-- name: of_rule
AND :rule = ANY(e.matched)

-- name: matched
AND array_remove(e.matched, '') <> '{}'

-- name: unmatched
-- By a fallback perhaps.
AND NOT e.is_unrouted AND coalesce(array_remove(e.matched, '') = '{}', true)

-- name: unrouted
AND e.is_unrouted

-- name: duplicated
AND e.duplicates > 0

-- name: conflicting
AND e.conflicts > 0

-- name: waiting
AND EXISTS (SELECT 1 FROM queue AS q WHERE q.event_id = e.id AND q.state IN (0, 7) OFFSET 0)

-- name: dead
AND EXISTS (SELECT 1 FROM deliveries AS d WHERE d.event_id = e.id AND d.state = 3 OFFSET 0)

-- name: sources
-- One look into the key for each.
WITH RECURSIVE known (source) AS (
    (SELECT source FROM source_hours ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (SELECT h.source FROM source_hours AS h WHERE h.source > known.source ORDER BY h.source LIMIT 1)
    FROM known WHERE known.source IS NOT NULL
)
SELECT source FROM known WHERE source IS NOT NULL

-- name: events_of_keys
SELECT event_id FROM dedupe WHERE digest = ANY(:digests)

-- name: known_events
SELECT id FROM events WHERE id = ANY(:ids)

-- name: hours_of_source
SELECT hour, max(last_id) FROM source_hours WHERE source = :source GROUP BY hour

-- name: hours_of_rule
SELECT hour, max(last_id) FROM rule_hours WHERE rule = :rule GROUP BY hour

-- name: body_sizes
-- Where a document was kept beside the body, both are looked into.
SELECT id, octet_length(body)::bigint * (1 + (document IS NOT NULL)::integer) FROM requests WHERE id = ANY(:ids)

-- name: bodies
-- Which of some requests hold one of the forms of a text.
SELECT id FROM requests WHERE id = ANY(:ids) AND (
    EXISTS (SELECT 1 FROM unnest(:forms::bytea[]) AS f (form) WHERE position(f.form IN body) > 0)
    OR document IS NOT NULL
    AND EXISTS (SELECT 1 FROM unnest(:written::text[]) AS f (form) WHERE strpos(document, f.form) > 0)
)

-- name: event_columns
SELECT id, source, type, sender_id, key, tenant, subject, occurred_at, received_at, matched, is_unrouted, duplicates,
    conflicts
FROM events WHERE id = ANY(:ids) ORDER BY id DESC

-- name: lengths
SELECT id, octet_length(body) FROM requests WHERE id = ANY(:ids)

-- name: states
-- Newest event first, so that what is cut off belongs to the end of the page.
SELECT event_id, state, count(*) FROM (
    SELECT event_id, state FROM all_deliveries WHERE event_id = ANY(:ids) ORDER BY event_id DESC LIMIT :most
) AS d GROUP BY event_id, state

-- name: deliveries
SELECT d.*, d.event_id AS other FROM all_deliveries AS d WHERE d.id >= :low AND d.id < :high

-- name: deliveries_of_event
SELECT d.*, d.event_id AS other FROM all_deliveries AS d
WHERE d.event_id = :event_id AND d.id >= :low AND d.id < :high

-- name: pending_deliveries
SELECT d.*, d.event_id AS other FROM queue AS d WHERE d.state IN (0, 7) AND d.id >= :low AND d.id < :high

-- name: pending_deliveries_in_lanes
-- Few; OFFSET 0 keeps the planner from walking over all that wait.
SELECT d.*, d.event_id AS other FROM (
    SELECT * FROM queue WHERE state = 0 AND lane_id = ANY(:lanes)
    UNION ALL SELECT * FROM queue WHERE state = 7 AND lane_id = ANY(:lanes) OFFSET 0
) AS d WHERE d.id >= :low AND d.id < :high

-- name: running_deliveries
-- In the same way, by queue_running.
SELECT d.*, d.event_id AS other FROM (
    SELECT * FROM queue WHERE state = 1 OFFSET 0
) AS d WHERE d.id >= :low AND d.id < :high

-- name: ended_deliveries
SELECT d.*, d.event_id AS other FROM deliveries AS d WHERE d.id >= :low AND d.id < :high

-- name: deliveries_apart
-- By the index of that name.
SELECT d.*, d.event_id AS other FROM deliveries AS d
WHERE d.state = :state AND d.id >= :low AND d.id < :high

-- name: delivery_of_source
AND EXISTS (SELECT 1 FROM events AS e WHERE e.id = d.event_id AND e.source = :source OFFSET 0)

-- name: delivery_of_destination
AND d.step_id IN (SELECT id FROM steps WHERE destination = :destination)

-- name: delivery_of_rule
AND d.step_id IN (SELECT id FROM steps WHERE rule = :rule)

-- name: delivery_in_state
-- Pending has two numbers.
AND d.state = ANY(:states)

-- name: delivery_not_replayed
AND NOT EXISTS (
    SELECT 1 FROM all_deliveries AS again WHERE again.event_id = d.event_id AND again.replay_of = d.id OFFSET 0
)

-- name: lanes_of_destination
SELECT DISTINCT lane_id FROM steps WHERE destination = :destination

-- name: how_many_wait
-- No more than that are counted.
SELECT count(*) FROM (
    (SELECT 1 FROM queue WHERE state = 0 AND lane_id = ANY(:lanes) LIMIT :most)
    UNION ALL (SELECT 1 FROM queue WHERE state = 7 AND lane_id = ANY(:lanes) LIMIT :most)
) AS waiting
