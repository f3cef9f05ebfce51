-- What is asked and written for deliveries that are more than a row: locks, gates, orders. See locks.py and gates.py.

-- name: lock
-- In the order of the sorted rows: OFFSET 0 keeps the planner from taking the sorting apart from the calls.
SELECT count(held) FROM (
    SELECT CASE WHEN is_exclusive THEN pg_advisory_xact_lock(class, key)::text
        ELSE pg_advisory_xact_lock_shared(class, key)::text END AS held
    FROM (
        SELECT class, key, is_exclusive FROM (
            SELECT 1 AS class, lane_id AS key, is_exclusive
            FROM unnest($1::integer[], $2::boolean[]) AS lanes (lane_id, is_exclusive)
            UNION
            SELECT 2, stripe, true FROM unnest($3::integer[]) AS stripes (stripe)
            UNION
            -- The stripe of a number is its last ten bits: see locks.STRIPES.
            SELECT 2, (order_queue & 1023)::integer, true FROM queue
            WHERE id = ANY ($4::bigint[]) AND order_queue IS NOT NULL
        ) AS wanted ORDER BY class, key OFFSET 0
    ) AS sorted OFFSET 0
) AS locks;

-- name: known_values
SELECT memory, value, touched_at, event_id FROM changed WHERE memory = ANY ($1::text[]);

-- name: known_windows
SELECT memory, until_at, first, summary FROM once WHERE memory = ANY ($1::text[]);

-- name: known_digests
-- Those that wait. The row stays locked, so that nobody claims the digest before what is collected now is in it; where
-- somebody claims it just now, this waits, and does not find it.
SELECT g.memory, g.delivery_id, g.flush_on_stop, g.members, g.size
FROM digests AS g JOIN queue AS q ON q.id = g.delivery_id
WHERE g.memory = ANY ($1::text[]) AND q.state = 0 ORDER BY q.id FOR UPDATE OF q;

-- name: keep_values
INSERT INTO changed (memory, value, touched_at, event_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
ON CONFLICT (memory) DO UPDATE SET value = excluded.value, touched_at = excluded.touched_at, event_id = excluded.event_id;

-- name: keep_windows
INSERT INTO once (memory, until_at, first, summary)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
ON CONFLICT (memory) DO UPDATE SET until_at = excluded.until_at, first = excluded.first, summary = excluded.summary;

-- name: keep_digests
INSERT INTO digests (memory, delivery_id, flush_on_stop, members, size)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::boolean[], $4::integer[], $5::bigint[])
ON CONFLICT (memory) DO UPDATE SET delivery_id = excluded.delivery_id, flush_on_stop = excluded.flush_on_stop,
    members = excluded.members, size = excluded.size;

-- name: forget_digests
DELETE FROM digests WHERE memory = ANY ($1::text[]);

-- name: insert_placed
-- What waits or runs.
INSERT INTO queue (
    id, event_id, step_id, lane_id, state, due_at, replay_of, order_key, previous, previous_from, why, part_of, parts_of,
    is_digest, stands_for, is_replay, token, lease_until, node_id, order_queue, place
)
SELECT * FROM unnest(
    $1::bigint[], $2::bigint[], $3::integer[], $4::integer[], $5::smallint[], $6::bigint[], $7::bigint[], $8::text[],
    $9::text[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[], $14::boolean[], $15::integer[], $16::boolean[],
    $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[]
);

-- name: insert_ended
-- What was suppressed or collected never waits.
INSERT INTO deliveries (
    id, event_id, step_id, lane_id, state, due_at, replay_of, order_key, previous, previous_from, why, part_of, parts_of,
    is_digest, stands_for, is_replay, attempts, crashes
)
SELECT *, 0, 0 FROM unnest(
    $1::bigint[], $2::bigint[], $3::integer[], $4::integer[], $5::smallint[], $6::bigint[], $7::bigint[], $8::text[],
    $9::text[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[], $14::boolean[], $15::integer[], $16::boolean[]
);

-- name: count_parts
WITH counted AS (
    SELECT queue.id, given.parts FROM queue JOIN unnest($1::bigint[], $2::integer[]) AS given (id, parts) USING (id)
    ORDER BY queue.id FOR UPDATE OF queue
)
UPDATE queue SET stands_for = stands_for + counted.parts FROM counted WHERE queue.id = counted.id RETURNING queue.id;

-- name: count_parts_of_ended
WITH counted AS (
    SELECT deliveries.event_id, deliveries.id, given.parts
    FROM deliveries JOIN unnest($1::bigint[], $2::integer[]) AS given (id, parts) USING (id)
    ORDER BY deliveries.id FOR UPDATE OF deliveries
)
UPDATE deliveries SET stands_for = stands_for + counted.parts FROM counted
WHERE deliveries.event_id = counted.event_id AND deliveries.id = counted.id;

-- name: move_summaries
-- The ones that were tried have attempts, which stand by the event.
WITH moved AS (
    SELECT queue.id, queue.event_id AS old, given.event_id, queue.attempts + queue.crashes AS tries
    FROM queue JOIN unnest($1::bigint[], $2::bigint[]) AS given (id, event_id) ON given.id = queue.id
    WHERE queue.state = 0 ORDER BY queue.id FOR UPDATE OF queue
)
UPDATE queue SET event_id = moved.event_id FROM moved WHERE queue.id = moved.id
RETURNING queue.id, moved.old, moved.event_id, moved.tries;

-- name: move_attempts
UPDATE attempts SET event_id = $3 WHERE event_id = $1 AND delivery_id = $2;

-- name: make_due
UPDATE queue SET due_at = $2 WHERE id = ANY ($1::bigint[]) AND state = 0;

-- name: last_places
-- By queue_in_order from its end.
SELECT wanted.number, last.place FROM unnest($1::bigint[]) AS wanted (number) CROSS JOIN LATERAL (
    SELECT place FROM queue WHERE order_queue = wanted.number ORDER BY place DESC LIMIT 1
) AS last;

-- name: promote_heads
UPDATE queue SET state = 0, due_at = greatest(due_at, $2) FROM (
    SELECT head.id FROM unnest($1::bigint[]) AS wanted (number) CROSS JOIN LATERAL (
        SELECT id FROM queue WHERE order_queue = wanted.number ORDER BY place LIMIT 1
    ) AS head
) AS heads
WHERE queue.id = heads.id AND queue.state = 7 RETURNING queue.id;
