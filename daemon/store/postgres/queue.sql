-- What the dispatcher asks: claim, renew, lost, waiting. See queue.py.

-- name: claim
-- Lane by lane from the beginning of queue_pending: neither backlogs, nor what stands behind others, nor held lanes matter.
-- What another node claims at this moment, or a digest into which somebody collects, is passed over.
WITH due AS MATERIALIZED (
    SELECT first.id, first.due_at, row_number() OVER (ORDER BY first.due_at, first.id) AS position
    FROM unnest($1::integer[], $2::integer[]) AS room (lane_id, places)
    CROSS JOIN LATERAL (
        SELECT id, due_at FROM queue WHERE state = 0 AND lane_id = room.lane_id AND due_at <= $3
        ORDER BY due_at, id LIMIT room.places FOR UPDATE SKIP LOCKED
    ) AS first
), claims AS MATERIALIZED (
    SELECT due.id, due.position, given.token
    FROM due JOIN unnest($4::bigint[]) WITH ORDINALITY AS given (token, position) USING (position)
)
UPDATE queue SET state = 1, due_at = $3, token = claims.token, lease_until = $5, node_id = $6
FROM claims, steps
-- By an array: a planner that has a guess for the LIMIT above, as since PostgreSQL 17, would read the whole table.
WHERE queue.id = ANY (ARRAY (SELECT id FROM claims)) AND queue.id = claims.id AND steps.id = queue.step_id
RETURNING claims.position, queue.id, queue.event_id, queue.attempts, queue.crashes, queue.token, queue.lane_id, steps.rule,
    steps.digest, steps.destination, queue.order_key, queue.previous, queue.is_digest, queue.parts_of, queue.stands_for,
    queue.is_replay OR queue.replay_of IS NOT NULL AS is_replay;

-- name: take_back
-- By queue_running.
UPDATE queue SET state = 0, due_at = $1, token = NULL, lease_until = NULL, node_id = NULL
WHERE state = 1 AND token = ANY ($2::bigint[]);

-- name: close_digests
DELETE FROM digests WHERE delivery_id = ANY ($1::bigint[]);

-- name: renew
-- Locked in the order of their ids, as records are.
WITH good AS (
    SELECT queue.id FROM queue JOIN unnest($1::bigint[], $2::bigint[]) AS given (id, token) USING (id, token)
    WHERE queue.state = 1 ORDER BY queue.id FOR UPDATE OF queue
)
UPDATE queue SET lease_until = $3 FROM good WHERE queue.id = good.id RETURNING queue.id;

-- name: lost
-- Running, and nobody answers for them: by queue_running.
SELECT queue.id, queue.event_id, queue.attempts, queue.crashes, queue.token, lanes.name AS lane, steps.rule, steps.digest,
    steps.destination, queue.order_key, queue.previous, queue.is_digest, queue.parts_of, queue.stands_for,
    queue.is_replay OR queue.replay_of IS NOT NULL AS is_replay
FROM queue JOIN steps ON steps.id = queue.step_id JOIN lanes ON lanes.id = queue.lane_id
WHERE queue.state = 1 AND queue.lease_until <= $1 ORDER BY queue.lease_until, queue.id LIMIT $2;

-- name: waiting
-- One look into queue_pending for each lane.
SELECT lanes.name, first.due_at FROM lanes CROSS JOIN LATERAL (
    SELECT due_at FROM queue WHERE state = 0 AND lane_id = lanes.id ORDER BY due_at, id LIMIT 1
) AS first
WHERE NOT lanes.is_held;

-- name: held
SELECT name, reason FROM lanes WHERE is_held;

-- name: failing
SELECT name, failing_since, told FROM lanes WHERE failing_since IS NOT NULL;

-- name: unrouted
-- By events_unrouted: one look for each source, and then its first rows.
WITH RECURSIVE known (source) AS (
    (SELECT source FROM events WHERE is_unrouted ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (SELECT source FROM events WHERE is_unrouted AND source > known.source ORDER BY source LIMIT 1)
    FROM known WHERE known.source IS NOT NULL
)
SELECT first.id FROM known CROSS JOIN LATERAL (
    SELECT id FROM events WHERE is_unrouted AND source = known.source AND id > $1 ORDER BY id LIMIT $2
) AS first
WHERE known.source <> ALL ($3::text[]) AND ($4::text IS NULL OR known.source = $4) ORDER BY first.id LIMIT $2;
