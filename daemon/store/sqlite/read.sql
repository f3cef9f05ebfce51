-- What a reader asks. Where `:name IS NULL OR` stands, a filter that is not given lets all pass.

-- name: event_rows
SELECT e.id, e.source, e.type, e.sender_id, e.key, e.tenant, e.subject, e.occurred_at, e.received_at, e.pointer,
    e.matched, e.is_unrouted, e.duplicates, e.conflicts, s.version, r.content_type, r.client_ip, r.headers, r.query,
    r.body, r.document, r.digest
FROM events AS e JOIN requests AS r ON r.id = e.request_id JOIN rule_sets AS s ON s.id = e.rule_set_id

-- name: one_event
WHERE e.id = :id

-- name: some_events
WHERE e.id >= :from AND e.id < :to
    AND (:source IS NULL OR e.source = :source)
    AND (:type IS NULL OR e.type = :type)
    AND (:tenant IS NULL OR e.tenant = :tenant)

-- name: only_unrouted
AND e.is_unrouted = 1

-- name: newest_events
ORDER BY e.id DESC LIMIT :limit

-- name: delivery_rows
-- The last attempt is the one whose position is one below the sum of both counters.
SELECT d.id, d.event_id, e.source, e.type, s.rule, s.digest, l.name, s.destination, d.state, d.due_at, d.attempts,
    d.crashes, d.replay_of, x.order_key, coalesce(x.why, ''), x.part_of, coalesce(x.is_digest, 0), coalesce(x.stands_for, 0),
    coalesce(x.is_replay, 0) OR d.replay_of IS NOT NULL,
    a.number, a.started_at, a.duration, a.outcome, a.status, a.note, a.answer, a.decision
FROM deliveries AS d JOIN events AS e ON e.id = d.event_id JOIN steps AS s ON s.id = d.step_id
JOIN lanes AS l ON l.id = d.lane_id
LEFT JOIN delivery_extras AS x ON x.delivery_id = d.id
LEFT JOIN attempts AS a ON a.delivery_id = d.id AND a.position = d.attempts + d.crashes - 1

-- name: one_delivery
WHERE d.id = :id

-- name: some_deliveries
WHERE d.id >= :from AND d.id < :to
    AND (:destination IS NULL OR s.destination = :destination)
    AND (:rule IS NULL OR s.rule = :rule)
    AND (:source IS NULL OR e.source = :source)
    AND (NOT :not_replayed OR NOT EXISTS (
        SELECT 1 FROM deliveries AS again WHERE again.event_id = d.event_id AND again.replay_of = d.id
    ))

-- name: only_of_event
AND d.event_id = :event_id

-- name: only_in_state
-- Pending has two numbers.
AND d.state IN (:state, :same_state)

-- name: only_apart
-- The second half is what lets the planner take deliveries_apart.
AND d.state = :state AND d.state >= 3

-- name: newest_deliveries
ORDER BY d.id DESC LIMIT :limit

-- name: some_pending
-- The states written out and the plus signs, which keep the id from being the way in, make the planner take
-- deliveries_pending and deliveries_apart: what waits is few among millions that are done.
WHERE d.id IN (
    SELECT id FROM deliveries WHERE state = 0 AND +id >= :from AND +id < :to
    UNION ALL SELECT id FROM deliveries WHERE state = 7 AND state >= 3 AND +id >= :from AND +id < :to
)
    AND (:destination IS NULL OR s.destination = :destination)
    AND (:rule IS NULL OR s.rule = :rule)
    AND (:source IS NULL OR e.source = :source)
    AND (NOT :not_replayed OR NOT EXISTS (
        SELECT 1 FROM deliveries AS again WHERE again.event_id = d.event_id AND again.replay_of = d.id
    ))
ORDER BY +d.id DESC LIMIT :limit

-- name: some_running
-- In the same way, with deliveries_running.
WHERE d.state = 1 AND +d.id >= :from AND +d.id < :to
    AND (:destination IS NULL OR s.destination = :destination)
    AND (:rule IS NULL OR s.rule = :rule)
    AND (:source IS NULL OR e.source = :source)
    AND (NOT :not_replayed OR NOT EXISTS (
        SELECT 1 FROM deliveries AS again WHERE again.event_id = d.event_id AND again.replay_of = d.id
    ))
ORDER BY +d.id DESC LIMIT :limit

-- name: listed_deliveries
WHERE d.id IN (SELECT value FROM json_each(?)) ORDER BY d.id DESC

-- name: parts_of
WHERE d.id IN (
    SELECT part.delivery_id FROM delivery_extras AS part
    WHERE part.part_of = coalesce((SELECT parts_of FROM delivery_extras WHERE delivery_id = :id), :id)
) ORDER BY d.id LIMIT :limit

-- name: members_of
JOIN deliveries AS d ON d.event_id = e.id JOIN delivery_extras AS part ON part.delivery_id = d.id
WHERE d.state = 6 AND part.part_of = (SELECT parts_of FROM delivery_extras WHERE delivery_id = :id AND is_digest = 1)
ORDER BY d.id LIMIT :limit

-- name: attempts
SELECT number, started_at, duration, outcome, status, note, answer, decision FROM attempts WHERE delivery_id = ? ORDER BY position;

-- name: lanes
-- One look into deliveries_pending for each.
WITH runs AS (
    SELECT lane_id, count(*) AS n FROM deliveries WHERE state = 1 GROUP BY lane_id
)
SELECT l.id, l.name, (SELECT min(due_at) FROM deliveries WHERE state = 0 AND lane_id = l.id) AS first,
    coalesce(runs.n, 0), l.is_held, l.reason, l.failing_since
FROM lanes AS l LEFT JOIN runs ON runs.lane_id = l.id
WHERE first IS NOT NULL OR runs.n > 0 OR l.is_held = 1 OR l.failing_since IS NOT NULL
ORDER BY l.name;

-- name: lane_counts
-- By deliveries_pending and deliveries_behind: lane by lane takes half of what grouping does.
SELECT id, (SELECT count(*) FROM deliveries WHERE state = 0 AND lane_id = lanes.id)
    + (SELECT count(*) FROM deliveries WHERE state = 7 AND lane_id = lanes.id)
FROM lanes;

-- name: lane_activity
-- CROSS JOIN: lane by lane, so that old hours are never looked at.
SELECT l.name, sum(h.delivered), sum(h.failed), max(CASE WHEN h.delivered > 0 THEN h.hour END)
FROM lanes AS l CROSS JOIN lane_hours AS h ON h.lane_id = l.id AND h.hour >= ?
GROUP BY l.id ORDER BY l.name;

-- name: rejections
SELECT source, reason, first_at, last_at, count, detail, client_ip FROM rejections

-- name: only_of_source
WHERE source = :source

-- name: latest_rejections
ORDER BY last_at DESC LIMIT :limit

-- name: activity
-- Beside max(), SQLite takes the last event from the row that holds the maximum.
SELECT source, last_id, last_type, sum(CASE WHEN hour >= ? THEN events ELSE 0 END), max(hour)
FROM source_hours GROUP BY source ORDER BY source;

-- name: rule_activity
SELECT rule, max(last_id), sum(CASE WHEN hour >= ? THEN events ELSE 0 END) FROM rule_hours GROUP BY rule ORDER BY rule;

-- name: rules_counted_since
SELECT since FROM rules_counted;

-- name: text
SELECT text FROM texts WHERE digest = ?;

-- name: last_good_rules
SELECT s.version FROM went_live AS w JOIN rule_sets AS s ON s.id = w.rule_set_id ORDER BY w.id DESC LIMIT 1;

-- name: counters
SELECT name, value FROM counters WHERE name <> 'starts';

-- name: audit
SELECT id, at, who, what, subject, count, counts, reason FROM audit WHERE id < ? AND at >= ? ORDER BY id DESC LIMIT ?;

-- name: facts
SELECT name, value, at FROM facts;

-- name: tally_events
SELECT count(*), min(e.id), max(e.id) FROM events AS e

-- name: tally_deliveries
SELECT d.state, count(*) FROM events AS e JOIN deliveries AS d ON d.event_id = e.id

-- name: of_picked
WHERE e.id >= :from AND e.id < :to
    AND (:source IS NULL OR e.source = :source)
    AND (:type IS NULL OR e.type = :type)
    AND (:tenant IS NULL OR e.tenant = :tenant)

-- name: of_named
WHERE e.id IN (SELECT value FROM json_each(:ids))

-- name: by_state
GROUP BY d.state

-- name: paused
SELECT source, since, reason FROM pauses;

-- name: tokens
SELECT name, digest, scope, created_at, expires_at, last_used_at FROM tokens ORDER BY name;

-- name: deletions
SELECT audit_id FROM deletions ORDER BY audit_id;
