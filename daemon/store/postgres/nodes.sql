-- Who works on this database, and what all of them act by.

-- Its lock puts meetings one after another, and behind whoever raises the revision: what is read after it is at least of
-- this revision.
-- name: lock_cluster
SELECT revision, view, members FROM cluster FOR UPDATE;

-- name: raise_revision
UPDATE cluster SET revision = revision + 1;

-- name: known_node
SELECT slot FROM nodes WHERE id = $1;

-- name: free_slot
SELECT slot FROM generate_series(0, $1::integer - 1) AS slot
WHERE slot NOT IN (SELECT nodes.slot FROM nodes) ORDER BY slot LIMIT 1;

-- name: report
INSERT INTO nodes (
    id, name, version, rules, address, started_at, seen_at, view, revision, is_leader, is_leaving, over, slot
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, version = excluded.version, rules = excluded.rules, address = excluded.address,
    started_at = excluded.started_at, seen_at = excluded.seen_at, view = excluded.view, revision = excluded.revision,
    is_leader = excluded.is_leader, is_leaving = excluded.is_leaving, over = excluded.over;

-- name: nodes
SELECT id, name, version, rules, address, started_at, seen_at, view, revision, is_leader, is_leaving, over, slot
FROM nodes ORDER BY name, id;

-- What a node counts that is gone for good says nothing any more. Its counters stay: they are part of all counts.
-- name: forget_nodes
WITH gone AS (DELETE FROM nodes WHERE seen_at < $1 AND NOT id = ANY($2::bigint[]) RETURNING id)
DELETE FROM breaker_counts USING gone WHERE node_id = gone.id;

-- name: change_view
UPDATE cluster SET view = view + 1, members = $1;

-- name: lanes
SELECT lanes.name, is_held, reason, failing_since, told, tries_at,
    (SELECT node_id FROM queue
     WHERE queue.lane_id = lanes.id AND state = 1 AND token = lanes.probe_token AND lease_until > $1) AS probed_by
FROM lanes WHERE is_held OR failing_since IS NOT NULL OR tries_at IS NOT NULL;

-- name: paused
SELECT source, since, reason FROM pauses;

-- name: strays
SELECT lanes.name, count(*)
FROM queue JOIN lanes ON lanes.id = lane_id
WHERE state = 1 AND lease_until > $1 AND NOT node_id = ANY($2::bigint[])
GROUP BY lanes.name;

-- name: leave
UPDATE nodes SET is_leaving = true WHERE id = $1;

-- name: end_leases
UPDATE queue SET lease_until = 0 WHERE state = 1 AND node_id = $1;
