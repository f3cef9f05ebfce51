-- What the dispatcher asks: claim, renew, free, wait; and what retention removes.

-- name: due
-- By deliveries_pending, in its order: the lanes' backlogs do not matter.
SELECT d.id, d.event_id, d.attempts, d.due_at, s.rule, s.digest, s.destination
FROM deliveries AS d JOIN steps AS s ON s.id = d.step_id
WHERE d.state = 0 AND d.lane_id = (SELECT id FROM lanes WHERE name = ? AND is_held = 0) AND d.due_at <= ?
ORDER BY d.due_at, d.id LIMIT ?;

-- name: claim
UPDATE deliveries SET state = 1, due_at = c.column2, token = c.column3, lease_until = c.column4
FROM (VALUES (?, ?, ?, ?)) AS c WHERE deliveries.id = c.column1;

-- name: renew
UPDATE deliveries SET lease_until = ? WHERE id = ? AND token = ? AND state = 1;

-- name: lost
-- Running, and nobody answers for them: by deliveries_running.
SELECT id, attempts, crashes, due_at FROM deliveries WHERE state = 1 AND lease_until <= ? LIMIT ?;

-- name: waiting
-- One look into deliveries_pending for each lane.
SELECT name, (SELECT min(due_at) FROM deliveries WHERE state = 0 AND lane_id = lanes.id) AS first
FROM lanes WHERE is_held = 0 AND first IS NOT NULL;

-- name: held
SELECT name, reason FROM lanes WHERE is_held = 1;

-- name: unrouted
SELECT id FROM events WHERE is_unrouted = 1 ORDER BY id LIMIT ?;

-- name: old_events
-- A stretch of events past their time, each with how many deliveries it has, and whether it must stay: unrouted, work left to
-- do (pending, running, collected), or a dead letter that is still to be shown. One row, as `running` in sqlite_write.sql.
SELECT json_group_array(json_array(id, request_id, deliveries, must_stay)) FROM (
    SELECT id, request_id, (SELECT count(*) FROM deliveries WHERE event_id = events.id) AS deliveries,
        is_unrouted OR EXISTS (
            SELECT 1 FROM deliveries
            WHERE event_id = events.id AND (state IN (0, 1, 6) OR (state = 3 AND due_at >= ?))
        ) AS must_stay
    FROM events WHERE id > ? AND id < ? ORDER BY id LIMIT ?
);

-- name: deliveries_of
SELECT json_group_array(json_array(id, state)) FROM (SELECT id, state FROM deliveries WHERE event_id = ? LIMIT ?);

-- name: delete_attempts
DELETE FROM attempts WHERE delivery_id IN (VALUES (?));

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

-- name: delete_rejections
DELETE FROM rejections WHERE (source, reason, hour) IN (
    SELECT source, reason, hour FROM rejections WHERE hour < ? LIMIT ?
);
