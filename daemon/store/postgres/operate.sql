-- Changes that come one at a time. See operate.py and access.py.

-- name: share_retention
-- Nothing is repeated or routed again while retention looks whether it may go: see prune.sql.
SELECT pg_advisory_xact_lock_shared(4, hashtext(current_schema()));

-- name: orders_and_memories
-- What the deliveries stand in, or would if they were repeated.
SELECT queue.order_queue, NULL AS lane, NULL AS order_key, NULL AS memory
FROM queue WHERE id = ANY ($1::bigint[]) AND order_queue IS NOT NULL
UNION ALL
SELECT NULL, lanes.name, deliveries.order_key, NULL
FROM deliveries JOIN lanes ON lanes.id = deliveries.lane_id
WHERE deliveries.id = ANY ($1::bigint[]) AND deliveries.order_key IS NOT NULL
UNION ALL
SELECT NULL, NULL, NULL, memory FROM digests WHERE delivery_id = ANY (
    SELECT unnest($1::bigint[]) UNION ALL SELECT parts_of FROM queue WHERE id = ANY ($1::bigint[]) AND parts_of IS NOT NULL
    UNION ALL SELECT coalesce(part_of, parts_of) FROM deliveries WHERE id = ANY ($1::bigint[])
);

-- name: matched_before
SELECT matched, is_unrouted FROM events WHERE id = $1 FOR UPDATE;

-- name: route_event
UPDATE events SET rule_set_id = $2, matched = $3::text::text[], is_unrouted = false WHERE id = $1;

-- name: deliveries_of_event
SELECT id FROM all_deliveries WHERE event_id = $1;

-- name: body_size
SELECT length(body) FROM requests WHERE id = (SELECT request_id FROM events WHERE id = $1);

-- name: is_known
SELECT EXISTS (SELECT 1 FROM all_deliveries WHERE id = $1);

-- name: to_replay
SELECT d.event_id, d.step_id, d.lane_id, l.name AS lane, d.order_key, d.previous, d.previous_from, d.parts_of, d.is_digest,
    d.stands_for
FROM all_deliveries AS d JOIN lanes AS l ON l.id = d.lane_id WHERE d.id = $1;

-- name: close_digests
DELETE FROM digests WHERE delivery_id = ANY ($1::bigint[]);

-- name: cancel_waiting
-- Pending ones and those behind others.
WITH gone AS (
    DELETE FROM queue WHERE id = $1 AND state IN (0, 7) RETURNING *
), moved AS (
    INSERT INTO deliveries (
        id, event_id, step_id, lane_id, state, due_at, attempts, crashes, replay_of, order_key, previous, previous_from,
        why, part_of, parts_of, is_digest, stands_for, is_replay
    )
    SELECT id, event_id, step_id, lane_id, 4, due_at, attempts, crashes, replay_of, order_key, previous, previous_from,
        why, part_of, parts_of, is_digest, stands_for, is_replay
    FROM gone
)
SELECT order_queue FROM gone;

-- name: cancel_collected
-- Those that wait in a digest that is open. Cancelled, it is no part of it.
WITH found AS (
    SELECT d.event_id, d.id, g.delivery_id AS digest, g.members
    FROM deliveries AS d JOIN digests AS g ON g.delivery_id = d.part_of
    WHERE d.id = $1 AND d.state = 6 FOR UPDATE OF d
)
UPDATE deliveries SET state = 4, part_of = NULL FROM found
WHERE deliveries.event_id = found.event_id AND deliveries.id = found.id
RETURNING found.digest, found.members;

-- name: leave_digest
UPDATE digests SET members = members - 1 WHERE delivery_id = $1;

-- name: leave_whole
UPDATE queue SET stands_for = stands_for - 1 WHERE id = $1;

-- name: set_lane
-- What was so already is not told again.
UPDATE lanes SET is_held = $2, reason = $3 WHERE id = $1 AND (is_held, reason) IS DISTINCT FROM ($2, $3) RETURNING id;

-- name: set_failing
-- Of a budget that another node told more of, less is not told again.
UPDATE lanes SET told = CASE WHEN failing_since IS NULL THEN $3 ELSE greatest(told, $3) END,
    failing_since = coalesce(failing_since, $2)
WHERE id = $1 AND (failing_since IS NULL OR told < $3) RETURNING id;

-- name: set_well
UPDATE lanes SET failing_since = NULL, told = 0 WHERE id = $1 AND failing_since IS NOT NULL RETURNING id;

-- name: flush_digests
WITH open AS (
    SELECT queue.id FROM queue JOIN digests ON digests.delivery_id = queue.id
    WHERE digests.flush_on_stop AND queue.state = 0 AND queue.due_at > $1 ORDER BY queue.id FOR UPDATE OF queue
)
UPDATE queue SET due_at = $1 FROM open WHERE queue.id = open.id RETURNING queue.id;

-- name: reject
INSERT INTO rejections (source, reason, hour, first_at, last_at, count, detail, client_ip)
VALUES ($1, $2, $3, $4, $4, $5, $6, $7)
ON CONFLICT (source, reason, hour) DO UPDATE SET last_at = excluded.last_at, count = rejections.count + excluded.count,
    detail = excluded.detail, client_ip = excluded.client_ip;

-- name: pause
INSERT INTO pauses (source, since, reason) VALUES ($1, $2, $3)
ON CONFLICT (source) DO UPDATE SET reason = excluded.reason;

-- name: resume
DELETE FROM pauses WHERE source = $1;

-- name: keep_token
INSERT INTO tokens (name, digest, scope, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name) DO NOTHING;

-- name: token_digest
SELECT digest FROM tokens WHERE name = $1;

-- name: use_token
-- To the hour: the others of that hour write nothing.
UPDATE tokens SET last_used_at = $2 WHERE name = $1 AND coalesce(last_used_at, 0) < $2;

-- name: drop_token
DELETE FROM tokens WHERE name = $1 RETURNING name;
