-- What a reader asks (asking.py). A list of ids is a value of the question, so that the planner sees which partitions
-- hold them.

-- name: event_rows
SELECT e.id, e.source, e.type, e.sender_id, e.key, e.tenant, e.subject, e.occurred_at, e.received_at, e.pointer,
    e.matched, e.is_unrouted, e.duplicates, e.conflicts, s.version, e.request_id
FROM events AS e JOIN rule_sets AS s ON s.id = e.rule_set_id

-- name: these_events
WHERE e.id = ANY(:ids) ORDER BY e.id DESC

-- name: some_events
WHERE e.id >= :low AND e.id < :high

-- name: newest_events
ORDER BY e.id DESC LIMIT :limit

-- name: request_rows
SELECT id, content_type, client_ip, headers, query, body, document, digest FROM requests WHERE id = ANY(:ids)

-- name: delivery_rows
-- The last attempt is the one whose position is one below the sum of both counters. That the events are named for each
-- table keeps the planner from looking into every partition.
SELECT d.id, d.event_id, e.source, e.type, s.rule, s.digest, l.name, s.destination, d.state, d.due_at, d.attempts,
    d.crashes, d.replay_of, d.order_key, d.why, d.part_of, d.is_digest, d.stands_for,
    d.is_replay OR d.replay_of IS NOT NULL,
    a.number, a.started_at, a.duration, a.outcome, a.status, a.note, a.answer, a.decision
FROM all_deliveries AS d JOIN events AS e ON e.id = d.event_id JOIN steps AS s ON s.id = d.step_id
JOIN lanes AS l ON l.id = d.lane_id
LEFT JOIN attempts AS a ON a.event_id = d.event_id AND a.event_id = ANY(:events) AND a.delivery_id = d.id
    AND a.position = d.attempts + d.crashes - 1
WHERE d.id = ANY(:ids) AND d.event_id = ANY(:events) AND e.id = ANY(:events)
ORDER BY d.id DESC

-- name: unfinished
SELECT id, event_id, is_digest, parts_of FROM queue WHERE id = :id

-- name: ended
SELECT id, event_id, is_digest, parts_of FROM deliveries WHERE id = :id

-- name: near
AND event_id >= :low AND event_id < :high

-- name: parts_of
-- Whoever is part of another is collected or suppressed, and so has ended.
SELECT id, event_id FROM deliveries WHERE part_of = :whole

-- name: only_collected
AND state = 6

-- name: first_parts
ORDER BY id LIMIT :limit

-- name: attempts
SELECT number, started_at, duration, outcome, status, note, answer, decision FROM attempts
WHERE event_id = :event_id AND delivery_id = :id ORDER BY position

-- name: lanes
-- One look into queue_pending for each.
WITH runs AS (
    SELECT lane_id, count(*) AS n FROM queue WHERE state = 1 GROUP BY lane_id
)
SELECT l.id, l.name, first.due_at, coalesce(runs.n, 0), l.is_held, l.reason, l.failing_since
FROM lanes AS l
LEFT JOIN runs ON runs.lane_id = l.id
LEFT JOIN LATERAL (
    SELECT due_at FROM queue WHERE state = 0 AND lane_id = l.id ORDER BY due_at LIMIT 1
) AS first ON true
WHERE first.due_at IS NOT NULL OR runs.n > 0 OR l.is_held OR l.failing_since IS NOT NULL
ORDER BY l.name

-- name: lane_counts
-- By queue_pending and queue_behind.
SELECT id, (SELECT count(*) FROM queue WHERE state = 0 AND lane_id = lanes.id)
    + (SELECT count(*) FROM queue WHERE state = 7 AND lane_id = lanes.id)
FROM lanes

-- name: lane_activity
SELECT l.name, sum(h.delivered)::bigint, sum(h.failed)::bigint, max(h.hour) FILTER (WHERE h.delivered > 0)
FROM lanes AS l JOIN lane_hours AS h ON h.lane_id = l.id AND h.hour >= :hour
GROUP BY l.id, l.name ORDER BY l.name

-- name: rejections
SELECT source, reason, first_at, last_at, count, detail, client_ip FROM rejections

-- name: rejections_of_source
WHERE source = :source

-- name: latest_rejections
ORDER BY last_at DESC LIMIT :limit

-- name: activity
-- The last event is that of the node that stored one last.
SELECT last.source, last.last_id, last.last_type, sums.events
FROM (
    SELECT DISTINCT ON (source) source, last_id, last_type FROM source_hours ORDER BY source, hour DESC, last_id DESC
) AS last
JOIN (
    SELECT source, coalesce(sum(events) FILTER (WHERE hour >= :hour), 0)::bigint AS events
    FROM source_hours GROUP BY source
) AS sums ON sums.source = last.source
ORDER BY last.source

-- name: rule_activity
SELECT rule, max(last_id), coalesce(sum(events) FILTER (WHERE hour >= :hour), 0)::bigint
FROM rule_hours GROUP BY rule ORDER BY rule

-- name: rules_counted_since
SELECT min(since) FROM rules_counted

-- name: text
SELECT text FROM texts WHERE digest = :digest

-- name: last_good_rules
SELECT s.version FROM went_live AS w JOIN rule_sets AS s ON s.id = w.rule_set_id ORDER BY w.id DESC LIMIT 1

-- name: counters
SELECT name, sum(value)::bigint FROM counters WHERE name <> 'starts' GROUP BY name

-- name: audit
SELECT id, at, who, what, subject, count, counts, reason FROM audit
WHERE id < :before AND at >= :since ORDER BY id DESC LIMIT :limit

-- name: facts
SELECT name, value, at FROM facts ORDER BY name

-- name: tally_events
SELECT count(*), min(e.id), max(e.id) FROM events AS e

-- name: tally_deliveries
SELECT d.state, count(*) FROM events AS e JOIN all_deliveries AS d ON d.event_id = e.id

-- name: of_named
WHERE e.id = ANY(:ids)

-- name: by_state
GROUP BY d.state

-- name: paused
SELECT source, since, reason FROM pauses

-- name: tokens
SELECT name, digest, scope, created_at, expires_at, last_used_at FROM tokens ORDER BY name

-- name: deletions
SELECT audit_id FROM deletions ORDER BY audit_id
