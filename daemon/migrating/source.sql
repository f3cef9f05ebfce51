-- Every row of the SQLite file, in the columns of its PostgreSQL table (../store/postgres/schema_1.sql), in the order of
-- a key: so that where an interrupted move goes on is told by a number.

-- name: texts
SELECT digest, text FROM texts ORDER BY digest;

-- name: rule_sets
SELECT id, version FROM rule_sets ORDER BY id;

-- name: went_live
SELECT id, rule_set_id, at FROM went_live ORDER BY id;

-- name: lanes
SELECT id, name, is_held, reason, failing_since, told FROM lanes ORDER BY id;

-- name: steps
SELECT id, digest, rule, destination, lane_id FROM steps ORDER BY id;

-- name: requests
SELECT id, last_event_id, content_type, client_ip, headers, query, digest, body, document FROM requests ORDER BY id;

-- name: events
SELECT id, request_id, rule_set_id, source, type, sender_id, key, tenant, subject, occurred_at, received_at, pointer,
    matched, is_unrouted, duplicates, conflicts
FROM events ORDER BY id;

-- name: queue
-- What ran has a lease that is over: whoever looks first finds it as after a crash.
SELECT d.id, d.event_id, d.step_id, d.lane_id, d.state, d.due_at, d.attempts, d.crashes, d.replay_of, x.order_key,
    x.previous, x.previous_from, coalesce(x.why, ''), x.part_of, x.parts_of, coalesce(x.is_digest, 0),
    coalesce(x.stands_for, 0), coalesce(x.is_replay, 0), iif(d.state = 1, d.token, NULL), iif(d.state = 1, 0, NULL),
    o.queue, o.place
FROM deliveries AS d LEFT JOIN delivery_extras AS x ON x.delivery_id = d.id
LEFT JOIN ordered AS o ON o.delivery_id = d.id
WHERE d.state IN (0, 1, 7) ORDER BY d.id;

-- name: deliveries
SELECT d.id, d.event_id, d.step_id, d.lane_id, d.state, d.due_at, d.attempts, d.crashes, d.replay_of, x.order_key,
    x.previous, x.previous_from, coalesce(x.why, ''), x.part_of, x.parts_of, coalesce(x.is_digest, 0),
    coalesce(x.stands_for, 0), coalesce(x.is_replay, 0)
FROM deliveries AS d LEFT JOIN delivery_extras AS x ON x.delivery_id = d.id
WHERE d.state NOT IN (0, 1, 7) ORDER BY d.id;

-- name: attempts
SELECT d.event_id, a.delivery_id, a.position, a.number, a.started_at, a.duration, a.outcome, a.status, a.note, a.answer,
    a.decision
FROM attempts AS a CROSS JOIN deliveries AS d ON d.id = a.delivery_id ORDER BY a.delivery_id, a.position;

-- name: dedupe
SELECT digest, event_id, content FROM dedupe ORDER BY digest;

-- name: changed
SELECT memory, value, touched_at, event_id FROM changed ORDER BY memory;

-- name: once
SELECT memory, until_at, first, summary FROM once ORDER BY memory;

-- name: digests
SELECT memory, delivery_id, flush_on_stop, members, size FROM digests ORDER BY memory;

-- name: counters
-- 0: no node counted them.
SELECT name, 0, value FROM counters ORDER BY name;

-- name: source_hours
SELECT source, hour, 0, events, last_id, last_type FROM source_hours ORDER BY source, hour;

-- name: rule_hours
SELECT rule, hour, 0, events, last_id FROM rule_hours ORDER BY rule, hour;

-- name: lane_hours
SELECT lane_id, hour, 0, delivered, failed FROM lane_hours ORDER BY lane_id, hour;

-- name: rules_counted
SELECT since FROM rules_counted ORDER BY since;

-- name: rejections
SELECT source, reason, hour, first_at, last_at, count, detail, client_ip FROM rejections
ORDER BY source, reason, hour;

-- name: audit
SELECT id, at, who, what, subject, count, counts, reason, day FROM audit ORDER BY id;

-- name: facts
-- Those of the file, and of the process that had it, stay behind.
SELECT name, value, at FROM facts WHERE name NOT IN ('backup', 'clock', 'integrity', 'stopped', 'traffic') ORDER BY name;

-- name: deletions
SELECT audit_id, criteria, up_to, after, left FROM deletions ORDER BY audit_id;

-- name: pauses
SELECT source, since, reason FROM pauses ORDER BY source;

-- name: tokens
SELECT name, digest, scope, created_at, expires_at, last_used_at FROM tokens ORDER BY name;

-- name: marks
-- Changes when a daemon opens the file, whatever it does then.
SELECT (SELECT json_group_array(json_array(name, value)) FROM (SELECT name, value FROM counters ORDER BY name)),
    (SELECT json_group_array(json_array(name, at)) FROM (SELECT name, at FROM facts ORDER BY name)),
    (SELECT max(id) FROM events), (SELECT max(id) FROM deliveries), (SELECT max(id) FROM audit),
    (SELECT max(id) FROM went_live), (SELECT count(*) FROM lanes);
