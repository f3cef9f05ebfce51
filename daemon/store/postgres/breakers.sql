-- Circuit breakers that all nodes share; what `breaker_counts` counts is the window of a lane that is not down.

-- name: shut
SELECT id FROM lanes WHERE id = ANY($1::integer[]) AND (is_held OR tries_at IS NOT NULL);

-- name: closed_to
SELECT id, is_held, tries_at FROM lanes WHERE id = ANY($1::integer[]) AND (is_held OR tries_at IS NOT NULL);

-- Who is second finds the row locked, and has no probe.
-- name: lock_half_open
SELECT id FROM lanes WHERE id = ANY($1::integer[]) AND NOT is_held AND tries_at <= $2
ORDER BY id FOR NO KEY UPDATE SKIP LOCKED;

-- A statement of its own: what another node committed between the view and the lock of the one before is seen by this one
-- only.
-- name: half_open
SELECT id FROM lanes
WHERE id = ANY($1::integer[]) AND NOT is_held AND tries_at <= $2 AND NOT EXISTS (
    SELECT FROM queue
    WHERE queue.lane_id = lanes.id AND state = 1 AND token = lanes.probe_token AND lease_until > $2
);

-- name: note_probes
UPDATE lanes SET probe_token = given.token
FROM unnest($1::integer[], $2::bigint[]) AS given (lane_id, token)
WHERE lanes.id = given.lane_id;

-- name: down
SELECT id FROM lanes WHERE id = ANY($1::integer[]) AND tries_at IS NOT NULL;

-- Two nodes that each count the failure which is one too many must see each other's.
-- name: lock_lanes
SELECT id, tries_at, pauses, probe_token FROM lanes WHERE id = ANY($1::integer[]) ORDER BY id FOR NO KEY UPDATE;

-- name: windows
SELECT given.lane_id, sum(answers)::bigint, sum(failures)::bigint
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS given (lane_id, first_step, last_step)
JOIN breaker_counts USING (lane_id)
WHERE step BETWEEN first_step AND last_step
GROUP BY given.lane_id;

-- name: count
INSERT INTO breaker_counts AS known (lane_id, node_id, step, answers, failures)
SELECT given.lane_id, $1, given.step, given.answers, given.failures
FROM unnest($2::integer[], $3::bigint[], $4::integer[], $5::integer[]) AS given (lane_id, step, answers, failures)
ORDER BY given.lane_id, given.step
ON CONFLICT (lane_id, node_id, step) DO UPDATE
SET answers = known.answers + excluded.answers, failures = known.failures + excluded.failures
RETURNING lane_id, xmax = 0;

-- A node's own rows only: nobody waits.
-- name: forget_old
DELETE FROM breaker_counts
USING unnest($2::integer[], $3::bigint[], $4::bigint[]) AS given (lane_id, first_step, last_step)
WHERE breaker_counts.lane_id = given.lane_id AND node_id = $1 AND NOT step BETWEEN first_step AND last_step;

-- name: forget
DELETE FROM breaker_counts WHERE lane_id = ANY($1::integer[]);

-- name: set_breakers
UPDATE lanes SET tries_at = given.tries_at, pauses = given.pauses, probe_token = NULL
FROM unnest($1::integer[], $2::bigint[], $3::integer[]) AS given (lane_id, tries_at, pauses)
WHERE lanes.id = given.lane_id;
