-- What the dispatcher asks: claim, renew, free, wait; and what retention removes.

-- name: due
-- By deliveries_pending, in its order: neither the lanes' backlogs nor those behind others matter.
SELECT d.id, d.event_id, d.attempts, d.due_at, d.crashes, s.rule, s.digest, s.destination, x.order_key, x.previous,
    x.is_digest, x.parts_of, x.stands_for, x.is_replay OR d.replay_of IS NOT NULL
FROM deliveries AS d JOIN steps AS s ON s.id = d.step_id LEFT JOIN delivery_extras AS x ON x.delivery_id = d.id
WHERE d.state = 0 AND d.lane_id = (SELECT id FROM lanes WHERE name = ? AND is_held = 0) AND d.due_at <= ?
ORDER BY d.due_at, d.id LIMIT ?;

-- name: claim
UPDATE deliveries SET state = 1, due_at = c.column2, token = c.column3, lease_until = c.column4
FROM (VALUES (?, ?, ?, ?)) AS c WHERE deliveries.id = c.column1;

-- name: renew
UPDATE deliveries SET lease_until = ? WHERE id = ? AND token = ? AND state = 1;

-- name: end_leases
UPDATE deliveries SET lease_until = 0 WHERE state = 1;

-- name: lost
-- Running, and nobody answers for them: by deliveries_running.
SELECT d.id, d.event_id, d.attempts, d.due_at, d.crashes, s.rule, s.digest, s.destination, x.order_key, x.previous,
    x.is_digest, x.parts_of, x.stands_for, x.is_replay OR d.replay_of IS NOT NULL,
    d.token, l.name
FROM deliveries AS d JOIN steps AS s ON s.id = d.step_id JOIN lanes AS l ON l.id = d.lane_id
LEFT JOIN delivery_extras AS x ON x.delivery_id = d.id
WHERE d.state = 1 AND d.lease_until <= ? ORDER BY d.lease_until, d.id LIMIT ?;

-- name: waiting
-- One look into deliveries_pending for each lane.
SELECT name, (SELECT min(due_at) FROM deliveries WHERE state = 0 AND lane_id = lanes.id) AS first
FROM lanes WHERE is_held = 0 AND first IS NOT NULL;

-- name: held
SELECT name, reason FROM lanes WHERE is_held = 1;

-- name: failing
SELECT name, failing_since, told FROM lanes WHERE failing_since IS NOT NULL;

-- name: unrouted
-- By events_unrouted_of_source, whose rows stand by source and id.
SELECT id FROM events WHERE is_unrouted = 1 AND source = ? AND id > ? ORDER BY id LIMIT ?;

-- name: unrouted_sources
-- One look into the index for each.
WITH RECURSIVE known (source) AS (
    SELECT min(source) FROM events WHERE is_unrouted = 1
    UNION ALL
    SELECT (SELECT min(source) FROM events WHERE is_unrouted = 1 AND source > known.source)
    FROM known WHERE known.source IS NOT NULL
)
SELECT source FROM known WHERE source IS NOT NULL;

-- name: old_events
-- A stretch of events past their time, each with how many deliveries it has, and whether it must stay: unrouted, work left to
-- do, or a dead letter that is still to be shown; or collected into such a one, or into one that is repeated by such a one.
-- One row, as `running` in write.sql.
SELECT json_group_array(json_array(id, request_id, coalesce(size, 0), deliveries, must_stay)) FROM (
    SELECT id, request_id, (
            SELECT length(body) FROM requests WHERE requests.id = request_id AND last_event_id = events.id
        ) AS size,
        (SELECT count(*) FROM deliveries WHERE event_id = events.id) AS deliveries,
        is_unrouted OR EXISTS (
            SELECT 1 FROM deliveries WHERE event_id = events.id AND (
                state IN (0, 1, 7) OR (state = 3 AND due_at >= ?) OR (state = 6 AND EXISTS (
                    SELECT 1 FROM delivery_extras AS part
                    JOIN delivery_extras AS whole ON whole.parts_of = part.part_of
                    JOIN deliveries AS acts ON acts.id = whole.delivery_id
                    WHERE part.delivery_id = deliveries.id
                        AND (acts.state IN (0, 1, 7) OR (acts.state = 3 AND acts.due_at >= ?))
                ))
            )
        ) AS must_stay
    FROM events WHERE id > ? AND id < ? ORDER BY id LIMIT ?
);

-- name: deliveries_of
SELECT json_group_array(json_array(id, state, tries)) FROM (
    SELECT id, state, attempts + crashes AS tries FROM deliveries WHERE event_id = ? LIMIT ?
);

-- name: delete_attempts
DELETE FROM attempts WHERE delivery_id IN (VALUES (?));

-- name: delete_extras
DELETE FROM delivery_extras WHERE delivery_id IN (VALUES (?));

-- name: delete_deliveries
DELETE FROM deliveries WHERE id IN (VALUES (?));

-- name: delete_events
DELETE FROM events WHERE id IN (VALUES (?));

-- name: delete_requests
-- Those of the given whose events are all gone.
DELETE FROM requests WHERE id IN (VALUES (?)) AND NOT EXISTS (
    SELECT 1 FROM events WHERE events.id BETWEEN requests.id AND requests.last_event_id AND events.request_id = requests.id
);

-- name: end_of_stretch
-- The dedupe table is walked in stretches; an index on event_id, for retention alone, would cost every event.
SELECT digest FROM dedupe WHERE digest > ? ORDER BY digest LIMIT 1 OFFSET ?;

-- name: delete_keys
DELETE FROM dedupe WHERE digest IN (
    SELECT digest FROM dedupe WHERE digest > ? AND digest <= ? AND event_id < ? LIMIT ?
);

-- name: delete_hours
-- Each source's last row stays: it says when the source was last heard of.
DELETE FROM source_hours WHERE (source, hour) IN (
    SELECT source, hour FROM source_hours AS h WHERE hour < ?
        AND EXISTS (SELECT 1 FROM source_hours AS later WHERE later.source = h.source AND later.hour > h.hour)
    LIMIT ?
);

-- name: delete_rule_hours
-- As above: a rule's last row says when it matched last.
DELETE FROM rule_hours WHERE (rule, hour) IN (
    SELECT rule, hour FROM rule_hours AS h WHERE hour < ?
        AND EXISTS (SELECT 1 FROM rule_hours AS later WHERE later.rule = h.rule AND later.hour > h.hour)
    LIMIT ?
);

-- name: delete_lane_hours
-- As above: a lane's last row says when something was tried in it last.
DELETE FROM lane_hours WHERE (lane_id, hour) IN (
    SELECT lane_id, hour FROM lane_hours AS h WHERE hour < ?
        AND EXISTS (SELECT 1 FROM lane_hours AS later WHERE later.lane_id = h.lane_id AND later.hour > h.hour)
    LIMIT ?
);

-- name: delete_windows
-- Those of `once` that are over.
DELETE FROM once WHERE memory IN (SELECT memory FROM once WHERE until_at <= ? LIMIT ?);

-- name: delete_values
-- Those that no `changed` asked for since.
DELETE FROM changed WHERE memory IN (SELECT memory FROM changed WHERE touched_at < ? LIMIT ?);

-- name: delete_rejections
DELETE FROM rejections WHERE (source, reason, hour) IN (
    SELECT source, reason, hour FROM rejections WHERE hour < ? LIMIT ?
);
