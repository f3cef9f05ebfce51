-- What `Store.write` and `Store.keep` do. A group `(?, …)` in a statement that is run for many rows is repeated for each
-- (see statements.py).

-- name: insert_keys
-- If as many rows are inserted as were given, all were new, and nothing more need be asked.
INSERT INTO dedupe (digest, event_id, content) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING;

-- name: known_keys
SELECT digest, event_id, content FROM dedupe WHERE digest IN (VALUES (?));

-- name: known_events
SELECT id FROM events WHERE id IN (VALUES (?));

-- name: rearm_keys
-- Keys whose window is over now stand for the new event.
INSERT INTO dedupe (digest, event_id, content) VALUES (?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET event_id = excluded.event_id, content = excluded.content;

-- name: insert_requests
INSERT INTO requests (id, last_event_id, content_type, client_ip, headers, query, digest, body, document)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_events
INSERT INTO events (
    id, request_id, rule_set_id, source, type, sender_id, key, tenant, subject, occurred_at, received_at, pointer,
    matched, is_unrouted
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_to_hours
INSERT INTO source_hours (source, hour, events, last_id, last_type) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (source, hour) DO UPDATE SET events = events + excluded.events, last_id = excluded.last_id,
    last_type = excluded.last_type;

-- name: add_to_rules
INSERT INTO rule_hours (rule, hour, events, last_id) VALUES (?, ?, ?, ?)
ON CONFLICT (rule, hour) DO UPDATE SET events = events + excluded.events, last_id = max(last_id, excluded.last_id);

-- name: count_rules_since
INSERT INTO rules_counted (since) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM rules_counted);

-- name: count_duplicates
UPDATE events SET duplicates = duplicates + d.column2, conflicts = conflicts + d.column3
FROM (VALUES (?, ?, ?)) AS d WHERE events.id = d.column1;

-- name: insert_deliveries
INSERT INTO deliveries (id, event_id, step_id, lane_id, state, due_at, token, lease_until, replay_of)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: known_deliveries
SELECT id FROM deliveries WHERE id IN (VALUES (?));

-- name: add_to_counters
INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value;

-- name: lane
SELECT id FROM lanes WHERE name = ?;

-- name: insert_lane
INSERT INTO lanes (name) VALUES (?);

-- name: step
SELECT id FROM steps WHERE digest = ? AND rule = ? AND destination = ? AND lane_id = ?;

-- name: insert_step
INSERT INTO steps (digest, rule, destination, lane_id) VALUES (?, ?, ?, ?);

-- name: rule_set
SELECT id FROM rule_sets WHERE version = ?;

-- name: insert_rule_set
INSERT INTO rule_sets (version) VALUES (?);

-- name: running
-- The deliveries of a batch of records that run, with their tokens. One row, because each row that is fetched costs a
-- round of the interpreter's lock.
SELECT json_group_array(json_array(
    id, token, attempts + crashes, lane_id, EXISTS (SELECT 1 FROM ordered WHERE delivery_id = deliveries.id)
)) FROM deliveries WHERE id IN (VALUES (?)) AND state = 1;

-- name: end_claims
UPDATE deliveries SET state = r.column2, due_at = r.column3, attempts = attempts + r.column4, crashes = crashes + r.column5,
    token = NULL, lease_until = NULL
FROM (VALUES (?, ?, ?, ?, ?)) AS r WHERE deliveries.id = r.column1;

-- name: insert_attempts
INSERT INTO attempts (delivery_id, position, number, started_at, duration, outcome, status, note, answer, decision)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_to_lanes
INSERT INTO lane_hours (lane_id, hour, delivered, failed) VALUES (?, ?, ?, ?)
ON CONFLICT (lane_id, hour) DO UPDATE SET delivered = delivered + excluded.delivered, failed = failed + excluded.failed;

-- name: matched_before
SELECT matched, is_unrouted FROM events WHERE id = ?;

-- name: route_event
UPDATE events SET rule_set_id = ?, matched = ?, is_unrouted = 0 WHERE id = ?;

-- name: cancel
-- Pending ones, those behind others, and those that wait in a digest.
UPDATE deliveries SET state = 4 WHERE id = ? AND state = ?;

-- name: set_lane
INSERT INTO lanes (name, is_held, reason) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET is_held = excluded.is_held, reason = excluded.reason;

-- name: pause
INSERT INTO pauses (source, since, reason) VALUES (?, ?, ?)
ON CONFLICT (source) DO UPDATE SET reason = excluded.reason;

-- name: resume
DELETE FROM pauses WHERE source = ?;

-- name: keep_token
INSERT INTO tokens (name, digest, scope, created_at, expires_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING;

-- name: token_digest
SELECT digest FROM tokens WHERE name = ?;

-- name: use_token
UPDATE tokens SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE name = ?;

-- name: drop_token
DELETE FROM tokens WHERE name = ?;

-- name: set_failing
UPDATE lanes SET failing_since = coalesce(failing_since, ?), told = ? WHERE id = ?;

-- name: set_well
UPDATE lanes SET failing_since = NULL, told = 0 WHERE id = ?;

-- name: reject
INSERT INTO rejections (source, reason, hour, first_at, last_at, count, detail, client_ip)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (source, reason, hour) DO UPDATE SET last_at = excluded.last_at, count = count + excluded.count,
    detail = excluded.detail, client_ip = excluded.client_ip;

-- name: keep_texts
INSERT INTO texts (digest, text) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING;

-- name: live_rule_set
SELECT rule_set_id FROM went_live ORDER BY id DESC LIMIT 1;

-- name: insert_went_live
INSERT INTO went_live (rule_set_id, at) VALUES (?, ?);
